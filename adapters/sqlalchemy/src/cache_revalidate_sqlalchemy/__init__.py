"""Bumps cache_revalidate's version tokens when a SQLAlchemy transaction that touched a model commits."""

from cache_revalidate_sqlalchemy.attach import Attachment, attach
from cache_revalidate_sqlalchemy.bulk import UnknownTenantError
from cache_revalidate_sqlalchemy.durable import DurableStore
from cache_revalidate_sqlalchemy.rules import touch
from cache_revalidate_sqlalchemy.snapshot import bind_snapshot
from cache_revalidate_sqlalchemy.tables import Tables, add_tables

__all__ = [
    "Attachment",
    "DurableStore",
    "Tables",
    "UnknownTenantError",
    "add_tables",
    "attach",
    "bind_snapshot",
    "touch",
]
