"""The four settings, read from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InvalidRequestError

from cache_revalidate import MemoryStore, RedisStore, Store

DEFAULT_DATABASE = Path(__file__).parents[2] / ".demo" / "desk.sqlite3"


class SettingsError(Exception):
    """A setting that could not work; the message says which, and what to write instead."""


@dataclass(frozen=True)
class Settings:
    port: int
    database: URL
    redis_url: str | None
    workers: int

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read PORT, DATABASE_URL, REDIS_URL and WORKERS; raise `SettingsError` if one of them can't be used."""
        settings = cls(
            port=_whole_number(environ, "PORT", default=8000, largest=65535),
            database=_database(environ.get("DATABASE_URL") or f"sqlite+aiosqlite:///{DEFAULT_DATABASE}"),
            redis_url=environ.get("REDIS_URL") or None,
            workers=_whole_number(environ, "WORKERS", default=1, largest=64),
        )
        if settings.workers > 1 and settings.redis_url is None:
            raise SettingsError(
                f"WORKERS={settings.workers} needs REDIS_URL: without it each worker process would hold its version "
                "tokens in its own memory and not hear of the others' commits. Set REDIS_URL, or WORKERS=1."
            )
        return settings

    def store(self) -> Store:
        """Return the store of version tokens that the settings ask for."""
        return RedisStore.from_url(self.redis_url) if self.redis_url else MemoryStore()

    @property
    def consistency(self) -> str:
        """Name the consistency level (see the docs' concepts) and the store, as the apps print them when they start."""
        return f"level 1, {'Redis' if self.redis_url else 'memory'} store"


def _whole_number(environ: Mapping[str, str], name: str, *, default: int, largest: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= largest):
        raise SettingsError(f"{name}={text!r} is not a whole number from 1 to {largest}.")
    return int(text)


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
