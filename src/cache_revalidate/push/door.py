"""Who may be told of which tenant: asked when a connection is opened, and again while it lasts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from cache_revalidate.exceptions import InvalidTenantError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cache_revalidate.access import Grant
    from cache_revalidate.tickets import Tickets
    from cache_revalidate.types import Scope

_LONGEST_QUERY: Final = 32 * 1024


@dataclass(frozen=True, slots=True)
class Door:
    """How to find out who asks, on one connection. Its functions raise `Refused`, or `InvalidTenantError`."""

    tenant: Callable[[], str] | None
    """Returns the canonical tenant that the path names; None where it names none."""

    tenant_of: Callable[[object], object]
    """Makes a tenant's value of what a message names, a number or a string; raises an error if it can't."""

    canonical: Callable[[object], str]
    """Makes a canonical tenant of such a value."""

    ask: Callable[[str], Awaitable[Grant]]
    """Says who asks, of a canonical tenant."""

    lasts: bool = True
    """Whether it may be asked again; if not, a connection ends instead, and its client has to come anew."""

    def of_path(self) -> str:
        """Return the canonical tenant that the path names; raise `InvalidTenantError`."""
        if self.tenant is None:
            raise InvalidTenantError("The path names no tenant.")
        return self.tenant()

    def named(self, account: object) -> str:
        """Return the canonical tenant that a message names; raise `InvalidTenantError`."""
        if isinstance(account, bool) or not isinstance(account, int | str):
            raise InvalidTenantError("A message names a tenant by a number or a string.")
        try:
            value = self.tenant_of(account)
        except (
            ValueError,
            TypeError,
            ArithmeticError,
        ) as error:  # as a number's, a date's or a decimal's type may raise
            raise InvalidTenantError("The message names no possible tenant.") from error
        return self.canonical(value)

    def with_ticket(self, tickets: Tickets | None, scope: Scope) -> Door:
        """Return the door for who shows a ticket in the query, and this one for who shows none."""
        ticket = query_value(scope, "ticket")
        if tickets is None or ticket is None:
            return self

        async def opened(tenant: str) -> Grant:
            return tickets.opened(ticket, tenant)

        return replace(self, ask=opened, lasts=False)


def query_value(scope: Scope, name: str) -> str | None:
    """Return the first value that a request's query has for a name."""
    query: bytes = scope.get("query_string", b"")
    if len(query) > _LONGEST_QUERY:
        return None
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1").get(name)
    return values[0] if values else None
