"""What the middleware refuses when it is made, and when two declarations meet."""

from typing import Any
from unittest.mock import Mock

import pytest

from cache_revalidate import (
    CachePolicy,
    CacheRevalidateMiddleware,
    ConfigurationError,
    Hub,
    Revalidator,
    UnknownModelError,
    allow_everyone,
)
from cache_revalidate.middleware import OutgoingMiddleware
from cache_revalidate.types import Receive, Scope, Send
from tests.middleware.conftest import LABELS, PATTERN, Desk, client_of


@pytest.mark.parametrize(
    ("options", "error", "mend"),
    [
        ({"authorize": None}, ConfigurationError, "authorize=cache_revalidate.allow_everyone"),
        ({"authorize": "ann"}, ConfigurationError, "not a function"),
        ({"revalidator": None}, ConfigurationError, "pass the Revalidator"),
        ({"routes": {PATTERN: ["lable"]}}, UnknownModelError, "inbox, label, team"),
        ({"routes": {PATTERN: []}}, ConfigurationError, "at least one model"),
        ({"routes": {"/labels": ["label"]}}, ConfigurationError, "needs the parameter"),
        ({"routes": {"/w/{account_id}": ["label"]}}, ConfigurationError, "canonical="),
        ({"routes": {PATTERN: ["label"]}, "keys_path": PATTERN}, ConfigurationError, "both"),
        ({"keys_path": None}, ConfigurationError, "nothing to do"),
        ({"keys_path": "/keys"}, ConfigurationError, "needs the parameter"),
        ({"vary": "Cookie"}, ConfigurationError, "list of header names"),
        ({"vary": ["a b"]}, ConfigurationError, "not the name of a header"),
        ({"vary": None}, ConfigurationError, "list of header names"),
        ({"keys_cache_control": "max-age=10"}, ConfigurationError, "pass CacheControl"),
        ({"keys_path": 7}, ConfigurationError, "begin with a slash"),
        ({"routes": [PATTERN]}, ConfigurationError, "mapping of path patterns"),
        ({"routes": {PATTERN: None}}, ConfigurationError, "not a list of names"),
        ({"routes": {PATTERN: [["label"]]}}, UnknownModelError, "not names"),
    ],
)
def test_what_could_not_work_is_refused(
    desk: Desk, revalidator: Revalidator, options: dict[str, Any], error: type[Exception], mend: str
) -> None:
    """A wrong option is an error when the middleware is made, and the message names the mend."""
    defaults: dict[str, Any] = {"revalidator": revalidator, "authorize": allow_everyone}
    with pytest.raises(error, match=mend):
        CacheRevalidateMiddleware(desk, **defaults | options)


def test_leaving_authorize_out_is_refused(desk: Desk, revalidator: Revalidator) -> None:
    """Who forgets `authorize` is told how to allow everyone."""
    with pytest.raises(ConfigurationError, match="allow_everyone"):
        CacheRevalidateMiddleware(desk, revalidator=revalidator)


def test_a_policys_cache_control_is_checked() -> None:
    """A `Cache-Control` given as text is refused when the policy is made, not when the first answer leaves."""
    with pytest.raises(ConfigurationError, match="pass CacheControl"):
        CachePolicy("label", cache_control="max-age=10")  # type: ignore[arg-type]


async def test_a_single_model_may_stand_alone(desk: Desk, revalidator: Revalidator) -> None:
    """A policy of one model takes its bare name."""
    app = CacheRevalidateMiddleware(
        desk, revalidator=revalidator, authorize=allow_everyone, routes={PATTERN: CachePolicy("label")}
    )
    async with client_of(app) as client:
        assert (await client.get(LABELS)).headers["cache-keys"].startswith("label=")


def test_two_middlewares_around_one_app_are_refused(desk: Desk, revalidator: Revalidator) -> None:
    """A second middleware with the same patterns, however deep below, is an error when it is made."""
    inner = CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=allow_everyone)
    between = OutgoingMiddleware(inner, revalidator=revalidator)
    with pytest.raises(ConfigurationError, match=r"cache_keys: add it once"):
        CacheRevalidateMiddleware(between, revalidator=revalidator, authorize=allow_everyone)
    CacheRevalidateMiddleware(
        between, revalidator=revalidator, authorize=allow_everyone, keys_path=None, routes={PATTERN: ["label"]}
    )


def test_an_app_that_holds_apps_without_end_is_wrapped(revalidator: Revalidator) -> None:
    """The search for a second middleware ends, also below an object that answers to `app` each time."""
    CacheRevalidateMiddleware(Mock(), revalidator=revalidator, authorize=allow_everyone)


@pytest.mark.parametrize("same", [True, False])
async def test_two_middlewares_that_match_one_request_are_an_error(
    desk: Desk, revalidator: Revalidator, same: bool
) -> None:
    """Where only the request shows that two tables match it, the error says who the two are."""
    other = revalidator if same else Revalidator(["label"])
    inner = CacheRevalidateMiddleware(
        desk, revalidator=other, authorize=allow_everyone, routes={PATTERN: ["label"]}, keys_path=None
    )

    async def hidden(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)

    app = CacheRevalidateMiddleware(
        hidden, revalidator=revalidator, authorize=allow_everyone, routes={PATTERN: ["label"]}
    )
    async with client_of(app) as client:
        with pytest.raises(ConfigurationError, match=r"declared twice, by the middleware's route table"):
            await client.get(LABELS)


async def test_a_route_table_inside_the_plugins_middleware_shares_its_exchange(
    desk: Desk, revalidator: Revalidator
) -> None:
    """A route table below the plugins' middleware marks each answer once."""
    app = OutgoingMiddleware(
        CacheRevalidateMiddleware(desk, revalidator=revalidator, authorize=allow_everyone, routes={PATTERN: ["label"]}),
        revalidator=revalidator,
    )
    async with client_of(app) as client:
        answer = await client.get(LABELS)
        assert answer.headers.get_list("vary") == ["Authorization, Cookie"]
        assert len(answer.headers.get_list("etag")) == 1

        async def bump() -> None:
            await revalidator.bump(1, "label")

        desk.before_answer = bump
        assert len((await client.post(LABELS)).headers.get_list("cache-keys")) == 1


async def test_the_plugins_middleware_leaves_other_protocols_alone(revalidator: Revalidator) -> None:
    """A WebSocket passes the plugins' middleware untouched."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scope: Scope = {"type": "websocket"}
    await OutgoingMiddleware(app, revalidator=revalidator)(scope, None, None)  # type: ignore[arg-type]
    assert seen[0] is scope


def test_a_hub_without_a_path_is_refused(revalidator: Revalidator) -> None:
    """A hub of one's own is not left out silently, where there is no keys endpoint below which it would push."""
    with pytest.raises(ConfigurationError, match="no keys_path"):
        CacheRevalidateMiddleware(
            Mock(),
            revalidator=revalidator,
            authorize=allow_everyone,
            routes={"/accounts/{account_id:int}/labels": ["label"]},
            keys_path=None,
            push=Hub(revalidator),
        )
