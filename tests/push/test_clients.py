"""The test clients themselves: what they would miss, no test that stands on them could find."""

import pytest

from tests.push.sse_client import EventStream

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
FIRST = (
    b"event: account.cache_invalidated\n"
    b'id: *tag="t1", inbox="1", label="2"\n'
    b'data: {"account_id":1,"cache_keys":{"inbox":"1","label":"2"},"tag":"t1","full":true,'
    b'"models":["inbox","label"],"jitter_ms":0}\n\n'
)
LATER = (
    b"event: account.cache_invalidated\n"
    b'id: *tag="t1", inbox="1", label="3"\n'
    b'data: {"account_id":1,"cache_keys":{"label":"3"},"tag":"t1","jitter_ms":70}\n\n'
)
HEARTBEAT = b'event: heartbeat\ndata: {"live":false}\n\n'


def chunk(data: bytes) -> bytes:
    """Return a chunk of a chunked response."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_stream_is_read_however_it_is_cut(step: int) -> None:
    """A client ends with the same map whether the response comes byte by byte or all at once."""
    text = b"retry: 2740\n\n" + FIRST + HEARTBEAT + LATER
    response = HEAD + b"".join(chunk(text[at : at + 50]) for at in range(0, len(text), 50)) + chunk(b"")
    stream = EventStream()
    for at in range(0, len(response), step):
        stream.data_received(response[at : at + step])
    assert (stream.status, stream.retry, stream.live, stream.ended) == (200, 2740, False, True)
    assert stream.tokens == {"inbox": "1", "label": "3"}
    assert stream.shown() == stream.tokens
    assert (stream.view.events, stream.view.fulls, stream.view.jitter) == (2, 1, 70)


def test_a_refusal_is_kept() -> None:
    """What is no stream of events is kept as it came."""
    stream = EventStream()
    stream.data_received(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\n{}")
    assert (stream.status, stream.body) == (403, b"{}")
