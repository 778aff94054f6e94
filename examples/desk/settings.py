"""The five settings, read from the environment."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine

from cache_revalidate import CopyStore, MemoryStore, RedisStore, Store
from cache_revalidate_sqlalchemy import DurableStore
from examples.desk.models import TOKEN_TABLES

DEFAULT_DATABASE = Path(__file__).parents[2] / ".demo" / "desk.sqlite3"

SHORTEST_SECRET = 32


class SettingsError(Exception):
    """A setting that could not work; the message says which, and what to write instead."""


def new_secret() -> str:
    """Return a secret for tickets."""
    return secrets.token_urlsafe(SHORTEST_SECRET)


@dataclass(frozen=True)
class Settings:
    port: int
    database: URL
    redis_url: str | None
    workers: int
    secret: str = field(repr=False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read PORT, DATABASE_URL, REDIS_URL, WORKERS, SECRET; raise `SettingsError` if one of them can't be used."""
        workers = _whole_number(environ, "WORKERS", default=1, largest=64)
        return cls(
            port=_whole_number(environ, "PORT", default=8000, largest=65535),
            database=_database(environ.get("DATABASE_URL") or f"sqlite+aiosqlite:///{DEFAULT_DATABASE}"),
            redis_url=environ.get("REDIS_URL") or None,
            workers=workers,
            secret=_secret(environ.get("SECRET"), workers),
        )

    def store(self, engine: AsyncEngine) -> Store:
        """Return the store of version tokens: the database, and copies where the settings allow some.

        Copies in memory would not hear of another worker's commits, so only a single one has them.
        """
        copy: CopyStore | None = None
        if self.redis_url:
            copy = RedisStore.from_url(self.redis_url)
        elif self.workers == 1:
            copy = MemoryStore()
        return DurableStore(engine, TOKEN_TABLES, copy)

    @property
    def consistency(self) -> str:
        """Name the consistency level (see the docs' page) and the store, as the apps print them when they start."""
        kind = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}.get(
            backend := self.database.get_backend_name(), backend
        )
        copies = "copies in Redis" if self.redis_url else "copies in memory" if self.workers == 1 else "no copies"
        return f"level 2 (durable), in {kind}, {copies}"


def _whole_number(environ: Mapping[str, str], name: str, *, default: int, largest: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= largest):
        raise SettingsError(f"{name}={text!r} is not a whole number from 1 to {largest}.")
    return int(text)


def _secret(text: str | None, workers: int) -> str:
    """Return what the tickets of streams are signed with: all workers need the same, and one alone may make its own."""
    if not text and workers > 1:
        raise SettingsError(
            "SECRET is not set, and several workers need the same: write 32 characters that nobody knows."
        )
    if text and len(text) < SHORTEST_SECRET:
        raise SettingsError(f"SECRET is shorter than {SHORTEST_SECRET} characters.")
    return text or new_secret()


def _database(text: str) -> URL:
    try:
        url = make_url(text)
        is_async = url.get_dialect().is_async
    except (ArgumentError, InvalidRequestError) as error:
        raise SettingsError(f"DATABASE_URL can't be read as a SQLAlchemy URL: {error}") from error
    if not is_async:
        raise SettingsError(
            f"DATABASE_URL={url.render_as_string()} names a synchronous driver: write sqlite+aiosqlite:///… "
            "or postgresql+asyncpg://…"
        )
    return url
