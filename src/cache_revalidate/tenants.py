"""Tenants in their one canonical form.

A tenant reaches the library from two sides: from a commit (an `int`, a `UUID`, a string of the database) and from
a URL (always a string). Were `01` and `1` two tenants, a client could hold a token that no commit ever bumps, so
both sides pass through one function before any store sees the value.
"""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

from cache_revalidate.exceptions import InvalidTenantError

MAX_TENANT_LENGTH: Final = 128
_TOO_LARGE: Final = 10**MAX_TENANT_LENGTH

EVERY_TENANT: Final = "*"
"""In changes that are folded, in place of a tenant: all tenants of the models named with it."""

_is_canonical = re.compile(rf"[A-Za-z0-9._:@~-]{{1,{MAX_TENANT_LENGTH}}}", re.ASCII).fullmatch


def canonical_tenant(value: object) -> str:
    """Return the canonical form of an `int`, a `UUID` or a string; raise `InvalidTenantError` for anything else.

    A string stays as it is: an app whose tenants have several spellings (upper and lower case, say) gives the
    revalidator a function of its own.
    """
    if type(value) is int and 0 <= value < _TOO_LARGE:  # as most are
        return str(value)
    if isinstance(value, str):
        return checked_tenant(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0 or value >= _TOO_LARGE:
            raise InvalidTenantError(f"An integer tenant is 0 or more and has at most {MAX_TENANT_LENGTH} digits.")
        return int.__repr__(value)  # an enum's own str() would be its name
    if isinstance(value, UUID):
        return str(value)
    raise InvalidTenantError(
        f"A tenant is an int, a UUID or a string, not {type(value).__name__}: pass the tenant's id, "
        "or give Revalidator(canonical=...) a function that makes a string of what you have."
    )


def checked_tenant(tenant: object) -> str:
    """Return `tenant` if it is a string with the length and characters of one, else raise `InvalidTenantError`."""
    if not isinstance(tenant, str):
        raise InvalidTenantError(f"A canonical tenant is a string, not {type(tenant).__name__}.")
    if _is_canonical(tenant) is None:
        shown = ascii(tenant if len(tenant) <= 40 else tenant[:40] + "…")  # noqa: PLR2004
        raise InvalidTenantError(
            f"{shown} can't be a tenant: it needs 1 to {MAX_TENANT_LENGTH} characters, each an ASCII letter, "
            "a digit or one of . _ : @ ~ -"
        )
    return str.__str__(tenant)  # a member of an enum of strings is one, and formats as its name
