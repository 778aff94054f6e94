"""Who asks, and whether they may: `cache_revalidate.access`."""

import logging

import pytest

from cache_revalidate import EVERYONE, ConfigurationError, Connection, Refused, Revalidator, Viewer, allow_everyone
from cache_revalidate.access import checked_viewer, viewer_of

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


def test_viewers_that_show_the_same_are_told_apart() -> None:
    """A string that hides what it holds, as a secret does, is taken for what it holds."""

    class Masked(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "***"

    revalidator = Revalidator(["label"])
    tags = [revalidator.tag(checked_viewer(Masked(name))) for name in ("ann", "bob")]
    assert tags == [revalidator.tag("ann"), revalidator.tag("bob")]


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


@pytest.mark.parametrize("challenge", ["", " ", "Bearer\r\nSet-Cookie: a=b", 'Basic realm="Büro"'])
def test_a_challenge_is_a_headers_value(challenge: str) -> None:
    """A challenge that no server would send is refused where it is made, and so refuses the caller all the same."""
    with pytest.raises(ConfigurationError, match="WWW-Authenticate"):
        Refused(challenge)


async def test_refused_passes_with_its_challenge(caplog: pytest.LogCaptureFixture) -> None:
    """`Refused` is an answer, not a fault: it passes unlogged and keeps its challenge."""

    def signed_out(connection: Connection, tenant: str) -> Viewer | None:
        raise Refused("Bearer")

    with pytest.raises(Refused) as refused:
        await viewer_of(signed_out, CONNECTION, "1")
    assert refused.value.challenge == "Bearer"
    assert not caplog.records
