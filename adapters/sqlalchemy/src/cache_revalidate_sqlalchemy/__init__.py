"""Bumps cache_revalidate's version tokens when a SQLAlchemy transaction that touched a model commits."""

from cache_revalidate_sqlalchemy.attach import Attachment, attach
from cache_revalidate_sqlalchemy.bulk import UnknownTenantError
from cache_revalidate_sqlalchemy.rules import touch

__all__ = ["Attachment", "UnknownTenantError", "attach", "touch"]
