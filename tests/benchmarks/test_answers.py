"""The check that contestants give the same answers."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from benchmarks.answers import AnswerError, Client, Kind, check, sign_in
from benchmarks.contestants.desk import ROWS

ETAG = '"rows"'
RIGHT = json.dumps(ROWS).encode()
SIGNED_IN = {"authorization": "Bearer ann"}

Answering = Callable[[Mapping[str, str]], tuple[int, dict[str, str], bytes]]


def honest(headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Answer as a contestant should."""
    if "authorization" not in headers:
        return 403, {}, b""
    if headers.get("if-none-match") == ETAG:
        return 304, {"etag": ETAG}, b""
    return 200, {"etag": ETAG}, RIGHT


def always_not_modified(headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Answer 304 to any ETag."""
    return (304, {"etag": ETAG}, b"") if "if-none-match" in headers else honest(headers)


def other_rows(headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Answer less than the fifty rows."""
    status, fields, body = honest(headers)
    return status, fields, json.dumps(ROWS[:1]).encode() if body else body


def without_etag(headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Answer no ETag."""
    status, _, body = honest(headers)
    return status, {}, body


def never_not_modified(headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Answer the rows always."""
    return honest({name: value for name, value in headers.items() if name != "if-none-match"})


def to_anyone(headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Answer those who are not signed in, too."""
    return honest({**headers, **SIGNED_IN})


@contextmanager
def serving(answering: Answering) -> Iterator[Client]:
    """Serve answers on a loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, fields, body = answering(headers)
            self.send_response(status)
            for name, value in {**fields, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Client(server.server_port)
        finally:
            server.shutdown()
            thread.join()


def test_an_honest_contestant_passes() -> None:
    """It is to be measured with the ETag that it gave."""
    with serving(honest) as client:
        asked = check(client, "validates", SIGNED_IN, guarded=True)
    assert asked == {**SIGNED_IN, "if-none-match": ETAG}


@pytest.mark.parametrize(
    ("answering", "kind", "complaint"),
    [
        (always_not_modified, "validates", "the answer was 304, not 200"),
        (other_rows, "validates", "did not have the fifty rows"),
        (without_etag, "validates", "without an ETag"),
        (never_not_modified, "validates", "the answer was 200, not 304"),
        (to_anyone, "validates", "who is not signed in got 304"),
        (honest, "fixed", "the answer was 200, not 304"),
        (other_rows, "rows", "did not have the fifty rows"),
    ],
)
def test_a_cheating_contestant_is_caught(answering: Answering, kind: Kind, complaint: str) -> None:
    """Who answers otherwise than the others must is not measured."""
    with serving(answering) as client, pytest.raises(AnswerError, match=complaint):
        check(client, kind, SIGNED_IN, guarded=True)


@pytest.mark.parametrize(
    ("answer", "headers"),
    [
        ((200, {}, b'{"authorization": "Bearer x"}'), {"authorization": "Bearer x"}),
        ((200, {"set-cookie": "session=x; Path=/; HttpOnly"}, b"{}"), {"cookie": "session=x"}),
    ],
)
def test_signing_in(answer: tuple[int, dict[str, str], bytes], headers: dict[str, str]) -> None:
    """The headers of who has signed in are those that the app hands out."""
    with serving(lambda _: answer) as client:
        assert sign_in(client, "/sign_in", {}) == headers
