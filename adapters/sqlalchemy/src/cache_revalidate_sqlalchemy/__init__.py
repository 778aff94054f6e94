"""Bumps cache_revalidate's version tokens when a SQLAlchemy transaction that touched a model commits."""

from cache_revalidate_sqlalchemy.attach import Attachment, attach
from cache_revalidate_sqlalchemy.bulk import UnknownTenantError
from cache_revalidate_sqlalchemy.durable import DurableStore
from cache_revalidate_sqlalchemy.rules import sql, touch
from cache_revalidate_sqlalchemy.snapshot import bind_snapshot
from cache_revalidate_sqlalchemy.tables import Tables, add_tables
from cache_revalidate_sqlalchemy.triggers import Triggers
from cache_revalidate_sqlalchemy.triggers.inspection import Finding, Inspection

__all__ = [
    "Attachment",
    "DurableStore",
    "Finding",
    "Inspection",
    "Tables",
    "Triggers",
    "UnknownTenantError",
    "add_tables",
    "attach",
    "bind_snapshot",
    "sql",
    "touch",
]
