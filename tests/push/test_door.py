"""Who may be told of which tenant: `cache_revalidate.push.door`."""

import math
import time
from typing import Any

import pytest

from cache_revalidate import EVERYONE, Grant, InvalidTenantError, Refused, Tickets
from cache_revalidate.push.door import Door, query_value
from cache_revalidate.tenants import canonical_tenant

SECRET = "s" * 32


async def ann(tenant: str) -> Grant:
    """Let ann in."""
    return Grant("ann", math.inf)


def door(convert: Any = int) -> Door:
    """Return a door of a path whose tenant is a number."""
    return Door(
        tenant=lambda: "1", tenant_of=lambda account: convert(str(account)), canonical=canonical_tenant, ask=ann
    )


@pytest.mark.parametrize(
    ("account", "tenant"), [(1, "1"), ("1", "1"), ("01", "1"), (0, "0"), (10**100, "1" + "0" * 100)]
)
def test_accounts_are_made_canonical(account: object, tenant: str) -> None:
    """A number, and a string that the path would take, name the tenant that the path would."""
    assert door().named(account) == tenant


@pytest.mark.parametrize("account", [True, False, None, 1.5, [], {}, "", "x", "1.5", -1, "-1", 10**200, "9" * 5_000])
def test_other_accounts_name_nothing(account: object) -> None:
    """What can be no tenant is refused as such, and never converted."""
    with pytest.raises(InvalidTenantError):
        door().named(account)


def scope(query: bytes) -> dict[str, Any]:
    """Return a scope with a query."""
    return {"type": "http", "query_string": query, "headers": []}


async def test_a_ticket_opens_its_tenant_alone() -> None:
    """Who shows a ticket is who it was issued to, for its tenant; and nothing can be asked of him again."""
    tickets = Tickets(SECRET)
    expires_at = time.time() + 60
    ticket = tickets.issue("1", Grant("bob", expires_at))
    opened = door().with_ticket(tickets, scope(f"ticket={ticket}".encode()))
    assert await opened.ask("1") == Grant("bob", expires_at)
    assert not opened.lasts
    with pytest.raises(Refused):
        await opened.ask("2")


async def test_a_bad_ticket_opens_nothing() -> None:
    """Who shows a ticket that is none is refused, whoever else he may be."""
    for query in (b"ticket=", b"ticket=x", b"ticket=%ff%fe", b"ticket=" + b"a" * 5_000):
        with pytest.raises(Refused):
            await door().with_ticket(Tickets(SECRET), scope(query)).ask("1")


async def test_without_tickets_there_are_none() -> None:
    """Where no tickets are issued, or none is shown, the door is the app's."""
    ticket = Tickets(SECRET).issue("1", Grant(EVERYONE, math.inf))
    for given, query in ((None, f"ticket={ticket}".encode()), (Tickets(SECRET), b"known=x"), (Tickets(SECRET), b"")):
        same = door().with_ticket(given, scope(query))
        assert (await same.ask("1")).viewer == "ann"
        assert same.lasts


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (b"", None),
        (b"known=a", "a"),
        (b"known=a&known=b", "a"),
        (b"known=", ""),
        (b"known", ""),
        (b"known=%E9%22+%3D", 'é" ='),
        (b"other=1", None),
        (b"&" * 40_000, None),
        (b"known=" + b"x" * 40_000, None),
    ],
)
def test_a_query_has_values(query: bytes, value: str | None) -> None:
    """The first value of a name counts; of a query longer than any that is meant nothing is read."""
    assert query_value(scope(query), "known") == value
