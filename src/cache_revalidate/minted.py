"""The tokens that were minted while one request was handled, so that its answer can name them.

A context variable holds one mutable record a request: a handler in a task or a thread of its own works on a copy
of the context, and still on this same record.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cache_revalidate.types import Tokens

_records: ContextVar[Mapping[object, dict[str, Tokens]]] = ContextVar("cache_revalidate.minted")


@contextmanager
def collect_minted(owner: object) -> Iterator[dict[str, Tokens]]:
    """Give the record, by tenant and model, of what `owner` (a revalidator) mints inside the block."""
    record: dict[str, Tokens] = {}
    records = {**_records.get({}), owner: record}
    reset = _records.set(records)
    try:
        yield record
    finally:
        _records.reset(reset)
        # A task that was started here and outlives the request would fill the record for ever.
        del records[owner]


def record_minted(owner: object, minted: Mapping[str, Tokens]) -> None:
    """Add `minted` to the record that `owner` keeps for the request at hand, if there is one."""
    record = _records.get({}).get(owner)
    if record is not None:
        for tenant, tokens in minted.items():
            record.setdefault(tenant, {}).update(tokens)
