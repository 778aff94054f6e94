"""What push says and is told: `cache_revalidate.push.wire`."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_revalidate.push.wire import (
    NOTHING_KNOWN,
    Encoder,
    Known,
    account_id,
    known_of_field,
    known_of_json,
    socket_message,
    sse_event,
    tokens_field,
)
from cache_revalidate.tenants import checked_tenant

MODELS = ["inbox", "label", "tag", "team"]

tokens = st.from_regex(r"[0-8][0-9]{19}", fullmatch=True)
some_tokens = st.dictionaries(st.sampled_from(MODELS), tokens)
all_tokens = st.fixed_dictionaries(dict.fromkeys(MODELS, tokens))
tags = st.text("0123456789abcdef", min_size=24, max_size=24)
tenants = st.one_of(
    st.integers(0, 10**20).map(str), st.from_regex(r"[A-Za-z0-9._:@~-]{1,40}", fullmatch=True), st.just("007")
).map(checked_tenant)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30) | tokens,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*MODELS, "cache_keys", "tag"]) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(some_tokens, tags)
def test_what_is_told_comes_back(held: dict[str, str], tag: str) -> None:
    """The field that a client is given shows, when it is given back, what it was made of."""
    assert known_of_field(tokens_field(held, tag).encode(), MODELS) == Known(held, tag)


@given(some_tokens, tags)
def test_json_that_is_told_comes_back(held: dict[str, str], tag: str) -> None:
    """So does what a WebSocket's client has put together."""
    assert known_of_json({"cache_keys": held, "tag": tag}, MODELS) == Known(held, tag)


@given(st.binary() | st.text().map(str.encode) | some_tokens.map(lambda held: tokens_field(held, 'a"').encode()))
def test_a_field_of_anything_is_no_error(field: bytes) -> None:
    """Whatever a field holds, what it shows are tokens of models, and a tag."""
    check(known_of_field(field, MODELS))


@given(jsons)
def test_json_of_anything_is_no_error(shown: object) -> None:
    """Whatever a message holds, what it shows are tokens of models, and a tag."""
    check(known_of_json(shown, MODELS))


def check(known: Known) -> None:
    """Check that these are tokens of models, and a tag."""
    assert set(known.tokens) <= set(MODELS)
    assert all(len(token) == 20 and token.isdigit() for token in known.tokens.values())
    assert known.tag is None or len(known.tag) <= 64


@pytest.mark.parametrize("shown", [None, [], "x", {"cache_keys": []}, {"tag": "abc"}, {"cache_keys": {"other": "1"}}])
def test_what_is_not_understood_shows_nothing(shown: object) -> None:
    """What has another form, or is of other models, counts as nothing."""
    assert known_of_json(shown, MODELS) == NOTHING_KNOWN


def test_a_tag_that_is_none_is_not_kept() -> None:
    """What is longer than any tag, or no string, does not take up memory until the client is told something."""
    token = "1" * 20
    for tag in ("x" * 65, 7, None, ["x"]):
        assert known_of_json({"cache_keys": {"label": token}, "tag": tag}, MODELS) == Known({"label": token}, None)
    assert known_of_field(tokens_field({"label": token}, "x" * 65).encode(), MODELS) == Known({"label": token}, None)


@given(all_tokens, some_tokens, tags, st.booleans(), tenants)
def test_first_tells_what_differs(
    current: dict[str, str], shown: dict[str, str], tag: str, knows_tag: bool, tenant: str
) -> None:
    """The first update has all whose token is another, be it larger or smaller; all, if the tag is another."""
    update = Encoder("event", tenant, MODELS).first(current, tag, Known(shown, tag if knows_tag else "other"), 7)
    data = json.loads(update.json)
    is_full = not knows_tag or not shown
    expected = {model: token for model, token in current.items() if is_full or shown.get(model) != token}
    assert data == {
        "account_id": account_id(tenant),
        "cache_keys": expected,
        "tag": tag,
        "full": is_full,
        "models": MODELS,
        "jitter_ms": 7,
    }


@given(all_tokens, some_tokens, tags, st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1), tenants)
def test_three_forms_of_one_update(
    current: dict[str, str], news: dict[str, str], tag: str, event: str, tenant: str
) -> None:
    """The same data goes over both transports, with the event's name, and the stream's id shows all that is held."""
    update = Encoder(event, tenant, MODELS).later(news, current, tag, 0)
    data = json.loads(update.json)
    assert data == {"account_id": account_id(tenant), "cache_keys": news, "tag": tag, "jitter_ms": 0}
    assert json.loads(update.text) == {"event": event, "data": data}
    name, identity, content, *end = update.sse.decode().split("\n")
    assert name == f"event: {event}"
    assert known_of_field(identity.removeprefix("id: ").encode(), MODELS) == Known(current, tag)
    assert content == f"data: {update.json}"
    assert end == ["", ""]


@pytest.mark.parametrize(
    ("tenant", "named"),
    [("1", 1), ("0", 0), ("007", "007"), ("9" * 15, 10**15 - 1), ("9" * 16, "9" * 16), ("desk", "desk"), ("-1", "-1")],
)
def test_an_account_is_a_number_where_it_is_one(tenant: str, named: int | str) -> None:
    """A tenant is named by a JSON number if every reader takes that for the same, and it leads back to the tenant."""
    assert account_id(tenant) == named
    assert str(account_id(tenant)) == tenant


def test_other_events() -> None:
    """What has no tokens has no id, so that the client's last one stays."""
    assert sse_event("heartbeat", {"live": True}) == b'event: heartbeat\ndata: {"live":true}\n\n'
    assert socket_message("heartbeat", {"live": False}) == '{"event":"heartbeat","data":{"live":false}}'
