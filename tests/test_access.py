"""Who asks, and whether they may: `cache_revalidate.access`."""

import logging
import math
import time
from dataclasses import FrozenInstanceError

import pytest

from cache_revalidate import (
    EVERYONE,
    ConfigurationError,
    Connection,
    Grant,
    Refused,
    Revalidator,
    Viewer,
    allow_everyone,
)
from cache_revalidate.access import asked_viewer, checked_grant, checked_viewer, grant_of, viewer_of

CONNECTION = Connection({"type": "http", "headers": [(b"x-key", b"a"), (b"x-key", b"b")], "user": "me"})


def test_a_connection_shows_headers_and_user() -> None:
    """Repeated headers are joined, and the user is what an authentication middleware has put there."""
    assert CONNECTION.headers == {"x-key": "a, b"}
    assert CONNECTION.headers["x-key"] == "a, b"
    assert CONNECTION.user == "me"
    assert Connection({"headers": []}).user is None


async def test_a_function_and_a_coroutine_may_answer() -> None:
    """`authorize` may be a plain function, called directly, or async."""

    def plain(connection: Connection, tenant: str) -> Viewer | None:
        return f"{connection.user}@{tenant}"

    async def deferred(connection: Connection, tenant: str) -> Viewer | None:
        return plain(connection, tenant)

    assert await viewer_of(plain, CONNECTION, "1") == "me@1"
    assert await viewer_of(deferred, CONNECTION, "1") == "me@1"
    assert await viewer_of(allow_everyone, CONNECTION, "1") is EVERYONE


@pytest.mark.parametrize("viewer", ["me", EVERYONE])
async def test_a_grant_may_be_returned_for_a_viewer(viewer: Viewer) -> None:
    """Where a viewer alone is asked for, a grant counts as its viewer, from a function and from a coroutine."""
    grant = Grant(viewer, expires_at=time.time() + 60)

    def plain(connection: Connection, tenant: str) -> Grant:
        return grant

    async def deferred(connection: Connection, tenant: str) -> Viewer | Grant | None:
        return grant

    assert asked_viewer(plain, CONNECTION, "1") == viewer
    assert await viewer_of(plain, CONNECTION, "1") == viewer
    assert await viewer_of(deferred, CONNECTION, "1") == viewer
    assert await grant_of(plain, CONNECTION, "1") == grant
    assert await grant_of(deferred, CONNECTION, "1") == grant


async def test_a_plain_viewer_is_granted_without_end() -> None:
    """Where a grant is asked for, a viewer alone has no time that is over."""
    assert await grant_of(allow_everyone, CONNECTION, "1") == Grant(EVERYONE, math.inf)
    assert checked_grant("me") == Grant("me", math.inf)


def test_a_grant_stays_as_it_was_made() -> None:
    """A grant can't be lengthened, and has room for nothing else."""
    grant = Grant("me", 1.0)
    with pytest.raises(FrozenInstanceError):
        grant.expires_at = 2.0  # type: ignore[misc]
    assert not hasattr(grant, "__dict__")


def test_a_grant_that_is_over_is_refused_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """A token's expiry comes to pass for anyone: that refuses, and nothing is logged."""
    for expires_at in (time.time() - 1, 0, -1.0):
        with pytest.raises(Refused):
            checked_viewer(Grant("me", expires_at))
    assert not caplog.records


@pytest.mark.parametrize(
    "expires_at", [None, "2000000000", True, math.nan, math.inf, -math.inf, 10**400, object()], ids=repr
)
def test_a_time_that_is_none_is_refused_and_logged(expires_at: object, caplog: pytest.LogCaptureFixture) -> None:
    """A grant until a time that is no finite number refuses, and the log says how a grant is made."""
    with pytest.raises(Refused):
        checked_viewer(Grant("me", expires_at))  # type: ignore[arg-type]
    assert "expires_at, in seconds" in caplog.text


@pytest.mark.parametrize("viewer", [None, "", 7, Grant("me", 2e9)], ids=repr)
def test_a_grant_to_nobody_is_refused_and_logged(viewer: object, caplog: pytest.LogCaptureFixture) -> None:
    """A grant whose viewer is none refuses, and the log says how a grant is made."""
    with pytest.raises(Refused):
        checked_viewer(Grant(viewer, time.time() + 60))  # type: ignore[arg-type]
    assert "A Grant has a viewer" in caplog.text


def test_viewers_that_show_the_same_are_told_apart() -> None:
    """A string that hides what it holds, as a secret does, is taken for what it holds."""

    class Masked(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "***"

    revalidator = Revalidator(["label"])
    tags = [revalidator.tag(checked_viewer(Masked(name))) for name in ("ann", "bob")]
    assert tags == [revalidator.tag("ann"), revalidator.tag("bob")]
    assert str(checked_viewer(Grant(Masked("ann"), time.time() + 60))) == "ann"


@pytest.mark.parametrize("answer", [None, False])
def test_nobody_is_refused_quietly(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    """None and False refuse, and nothing is logged of it."""
    with pytest.raises(Refused):
        checked_viewer(answer)
    assert not caplog.records


@pytest.mark.parametrize("answer", [True, "", 7, object(), b"me"])
def test_what_is_no_viewer_is_refused_and_logged(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that is neither a viewer nor a refusal refuses, and the log says what to return."""
    with pytest.raises(Refused):
        checked_viewer(answer)
    assert "Return a string" in caplog.text


async def test_an_exception_is_a_refusal_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in `authorize` refuses the caller, and its traceback is logged."""

    def broken(connection: Connection, tenant: str) -> Viewer | None:
        raise KeyError("user")

    with caplog.at_level(logging.ERROR), pytest.raises(Refused):
        await viewer_of(broken, CONNECTION, "1")
    assert "KeyError" in caplog.text
    caplog.clear()
    with pytest.raises(Refused):
        await grant_of(broken, CONNECTION, "1")
    assert "KeyError" in caplog.text


@pytest.mark.parametrize("challenge", ["", " ", "Bearer\r\nSet-Cookie: a=b", 'Basic realm="Büro"'])
def test_a_challenge_is_a_headers_value(challenge: str) -> None:
    """A challenge that no server would send is refused where it is made, and so refuses the caller all the same."""
    with pytest.raises(ConfigurationError, match="WWW-Authenticate"):
        Refused(challenge)


async def test_refused_passes_with_its_challenge(caplog: pytest.LogCaptureFixture) -> None:
    """`Refused` is an answer, not a fault: it passes unlogged and keeps its challenge."""

    def signed_out(connection: Connection, tenant: str) -> Viewer | None:
        raise Refused("Bearer")

    for ask in (viewer_of, grant_of):
        with pytest.raises(Refused) as refused:
            await ask(signed_out, CONNECTION, "1")
        assert refused.value.challenge == "Bearer"
    assert not caplog.records
