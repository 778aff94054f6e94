"""The tokens that were minted while one request was handled, so that its answer can name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cache_revalidate.records import Records

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cache_revalidate.records import Collecting
    from cache_revalidate.types import Tokens

_records: Final[Records[dict[str, Tokens]]] = Records("cache_revalidate.minted")


def collect_minted(owner: object) -> Collecting[dict[str, Tokens]]:
    """Return the block in which what `owner` (a revalidator) mints is recorded; it gives that, by tenant and model."""
    return _records.collect(owner, {})


def record_minted(owner: object, minted: Mapping[str, Tokens]) -> None:
    """Add `minted` to the record that `owner` keeps for the request at hand, if there is one."""
    record = _records.of(owner)
    if record is not None:
        for tenant, tokens in minted.items():
            record.setdefault(tenant, {}).update(tokens)
