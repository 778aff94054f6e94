"""Signed tickets: what is issued is opened, and nothing else is."""

import base64
import hmac
import logging
import math
import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_revalidate import EVERYONE, ConfigurationError, Grant, Refused, Tickets
from cache_revalidate.tickets import LEEWAY, MAX_TICKET_LENGTH

SECRET, OTHER = "an-old-secret-of-the-machines-of-tests", "another-secret-of-the-machines-of-tests"
NOW = 1_790_000_000.0
GRANT = Grant("user-7", NOW + 3600)

TENANTS = st.from_regex(r"[A-Za-z0-9._:@~-]{1,128}", fullmatch=True)
VIEWERS = st.one_of(
    st.just(EVERYONE),
    st.sampled_from(["everyone", "EVERYONE", "\x00", "\ud800"]),
    st.text(st.characters(), min_size=1, max_size=100),
)
GRANTS = st.builds(
    Grant, VIEWERS, st.one_of(st.just(math.inf), st.floats(NOW + 1, 1e300), st.integers(2 * 10**9, 2**53))
)


@dataclass
class Clock:
    """A clock that a test sets."""

    now: float = NOW

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def tickets(*secrets: str, lifetime: float = 30.0, now: float = NOW) -> Tickets:
    """Return what a machine issues and opens."""
    return Tickets(secrets or [SECRET], lifetime, time=Clock(now))


def raw(ticket: str) -> bytes:
    """Return the bytes that a ticket is the text of."""
    return base64.urlsafe_b64decode(ticket + "=" * (-len(ticket) % 4))


def text(signed: bytes) -> str:
    """Return bytes as the text of a ticket."""
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()


@given(TENANTS, GRANTS)
def test_what_is_issued_is_opened(tenant: str, grant: Grant) -> None:
    """A ticket gives back the viewer and the time that it was issued for, and is safe in a URL."""
    ticket = tickets().issue(tenant, grant)
    assert tickets().opened(ticket, tenant) == grant
    assert set(ticket) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert len(ticket) <= MAX_TICKET_LENGTH


def test_everyone_is_not_a_viewer_of_that_name() -> None:
    """`EVERYONE` comes back as itself, and a viewer who is called everyone as a string."""
    for viewer in (EVERYONE, "everyone", "EVERYONE"):
        opened = tickets().opened(tickets().issue("1", Grant(viewer, NOW + 60)), "1")
        assert opened.viewer is EVERYONE if viewer is EVERYONE else opened.viewer == viewer


@given(TENANTS, GRANTS, st.data())
def test_any_flipped_bit_is_refused(tenant: str, grant: Grant, data: st.DataObject) -> None:
    """A ticket in which one bit is another one opens nothing, wherever that is."""
    signed = bytearray(raw(tickets().issue(tenant, grant)))
    signed[data.draw(st.integers(0, len(signed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Refused):
        tickets().opened(text(bytes(signed)), tenant)


@given(TENANTS, GRANTS, st.data())
def test_any_other_character_is_refused(tenant: str, grant: Grant, data: st.DataObject) -> None:
    """A ticket has one spelling: with one character replaced, added or left out it opens nothing."""
    ticket = tickets().issue(tenant, grant)
    place = data.draw(st.integers(0, len(ticket) - 1))
    other = data.draw(st.one_of(st.sampled_from("AZaz09-_=+/ \n"), st.characters(), st.just("")))
    end = data.draw(st.sampled_from([place, place + 1]))
    altered = ticket[:place] + other + ticket[end:]
    if altered != ticket:
        with pytest.raises(Refused):
            tickets().opened(altered, tenant)


@given(st.one_of(st.text(st.characters()), st.binary().map(text), st.binary(min_size=30, max_size=200).map(text)))
def test_garbage_is_refused(ticket: str) -> None:
    """Text that nobody has issued opens nothing."""
    with pytest.raises(Refused):
        tickets().opened(ticket, "1")


@given(TENANTS, TENANTS)
def test_another_tenant_is_refused(tenant: str, other: str) -> None:
    """A ticket is for one tenant, whole and exactly."""
    for wrong in {other, tenant + "0", tenant[:-1], tenant.swapcase()} - {tenant}:
        with pytest.raises(Refused):
            tickets().opened(tickets().issue(tenant, GRANT), wrong)


def test_tenant_and_viewer_do_not_run_into_each_other() -> None:
    """What is at the end of a tenant can't pass for the beginning of a viewer."""
    with pytest.raises(Refused):
        tickets().opened(tickets().issue("1", Grant("2x", NOW + 60)), "12")


def test_a_ticket_ends() -> None:
    """A ticket is taken as often as it is shown, for its lifetime and the leeway, and then no more."""
    clock = Clock()
    machine = Tickets(SECRET, 10, time=clock)
    ticket = machine.issue("1", GRANT)
    for clock.now in (NOW, NOW + 9.9, NOW + 10 + LEEWAY - 0.1):
        assert machine.opened(ticket, "1") == GRANT
    for clock.now in (NOW + 10 + LEEWAY, NOW + 1e6, math.inf, math.nan):
        with pytest.raises(Refused):
            machine.opened(ticket, "1")


def test_clocks_may_differ_by_the_leeway_only() -> None:
    """A machine whose clock is behind takes no ticket for longer than any is good."""
    ticket = tickets().issue("1", GRANT)
    assert tickets(now=NOW - LEEWAY).opened(ticket, "1") == GRANT
    for behind in (LEEWAY + 0.1, 1e6, 1e9):
        with pytest.raises(Refused):
            tickets(now=NOW - behind).opened(ticket, "1")


def test_a_ticket_ends_with_its_grant() -> None:
    """A grant that ends before its ticket ends it, with no leeway; one that is over gets none."""
    ticket = tickets().issue("1", Grant("user-7", NOW + 3))
    assert tickets(now=NOW + 2.9).opened(ticket, "1").expires_at == NOW + 3
    with pytest.raises(Refused):
        tickets(now=NOW + 3).opened(ticket, "1")
    for over in (NOW, NOW - 1, math.nan, -math.inf):
        with pytest.raises(Refused):
            tickets().issue("1", Grant("user-7", over))


def test_secrets_are_changed_without_a_gap() -> None:
    """The first secret signs and all verify, so that machines may be given a new one in turn."""
    old, both, turned, new = tickets(SECRET), tickets(SECRET, OTHER), tickets(OTHER, SECRET), tickets(OTHER)
    assert old.opened(both.issue("1", GRANT), "1") == GRANT
    assert both.opened(turned.issue("1", GRANT), "1") == GRANT
    assert new.opened(turned.issue("1", GRANT), "1") == GRANT
    for issuer, reader in ((old, new), (new, old), (both, new), (turned, old)):
        with pytest.raises(Refused):
            reader.opened(issuer.issue("1", GRANT), "1")


def test_another_use_of_the_secret_is_no_ticket() -> None:
    """What an app has signed with the same secret, be it a ticket's very bytes, opens nothing."""
    message = raw(tickets().issue("1", GRANT))[:-32]
    signed = message + hmac.digest(SECRET.encode(), message, "sha256")
    with pytest.raises(Refused):
        tickets().opened(text(signed), "1")


def test_another_version_is_refused() -> None:
    """A ticket of another version, well signed as it may be, is not guessed at."""
    message = raw(tickets().issue("1", GRANT))[:-32]
    key = hmac.digest(SECRET.encode(), b"cache_revalidate.tickets", "sha256")
    for version, outcome in ((1, GRANT), (0, None), (2, None)):
        again = bytes([version]) + message[1:]
        ticket = text(again + hmac.digest(key, again, "sha256"))
        if outcome is None:
            with pytest.raises(Refused):
                tickets().opened(ticket, "1")
        else:
            assert tickets().opened(ticket, "1") == outcome
    short = struct.pack(">B", 1)
    with pytest.raises(Refused):
        tickets().opened(text(short + hmac.digest(key, short, "sha256")), "1")


def test_a_viewer_too_long_for_a_url_is_refused_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A ticket too long for a URL is neither issued, and the log says what to return, nor read."""
    with pytest.raises(Refused):
        tickets().issue("1", Grant("x" * MAX_TICKET_LENGTH, NOW + 60))
    assert "a user's id" in caplog.text
    with pytest.raises(Refused):
        tickets().opened("A" * (MAX_TICKET_LENGTH + 1), "1")


def test_a_refusal_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever was wrong, the refusal is the same, has no cause, and is not logged."""
    ticket = tickets().issue("1", GRANT)
    wrong = [(tickets(), ticket, "2"), (tickets(now=NOW + 60), ticket, "1"), (tickets(OTHER), ticket, "1")]
    wrong += [(tickets(), "", "1"), (tickets(), "ü", "1"), (tickets(), "A", "1"), (tickets(), ticket[:-1], "1")]
    with caplog.at_level(logging.DEBUG):
        for machine, shown, tenant in wrong:
            with pytest.raises(Refused) as refused:
                machine.opened(shown, tenant)
            assert (str(refused.value), refused.value.challenge) == (str(Refused()), None)
            assert refused.value.__cause__ is None
            assert refused.value.__context__ is None or refused.value.__suppress_context__
    assert not caplog.records


@pytest.mark.parametrize(
    ("secrets", "mend"),
    [
        ("x" * 31, "secrets.token_urlsafe"),
        (["x" * 32, "x" * 31], "31 characters"),
        ([], "secrets.token_urlsafe"),
        (b"x" * 32, "is a bytes"),
        ([b"x" * 32], "list of strings"),
        (None, "is a NoneType"),
        ({"x" * 32}, "list of strings"),
    ],
    ids=str,
)
def test_secrets_that_could_not_work_are_refused(secrets: list[str], mend: str) -> None:
    """A secret that can be guessed, or that is none, is refused when tickets are set up, and is not shown."""
    with pytest.raises(ConfigurationError, match=mend) as error:
        Tickets(secrets)
    assert "xxx" not in str(error.value)


@pytest.mark.parametrize("lifetime", [0, -1.0, math.inf, math.nan, True, "30", None])
def test_a_lifetime_is_a_number_of_seconds(lifetime: float) -> None:
    """A lifetime that is no positive number is refused when tickets are set up."""
    with pytest.raises(ConfigurationError, match="how many seconds"):
        Tickets(SECRET, lifetime)


def test_one_secret_may_be_given_alone() -> None:
    """A string is one secret, not several of one character."""
    alone = Tickets(SECRET, time=Clock())
    assert alone.opened(tickets(SECRET).issue("1", GRANT), "1") == GRANT
    assert alone.lifetime == 30.0
    assert SECRET not in repr(alone)
