"""How the apps start: settings, first rows, and what they print."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from examples.desk.database import open_engine, prepare
from examples.desk.models import Account, Inbox, Label, Team
from examples.desk.settings import DEFAULT_DATABASE, Settings, SettingsError
from playwright.async_api import Browser, expect
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from cache_revalidate import MemoryStore, RedisStore
from cache_revalidate_sqlalchemy import DurableStore
from tests.examples.screenshot import sign_in
from tests.support.servers import AppServer, RedisServer

APPS = ["starlette", "litestar"]
SECRET = "x" * 32
ROOT = Path(__file__).parents[2]


class Demo(AppServer):
    """An app started as `make demo` starts it."""

    def command(self) -> list[str]:
        """Return the command line, in which the app chooses its own address."""
        return [sys.executable, "-m", self._app]

    def is_ready(self) -> bool:
        """Say whether it answers: that its workers have started, it does not print."""
        return self.answers()

    def interrupt(self, seconds: float) -> None:
        """Type Ctrl-C, which reaches all of its processes, and wait until the first of them has ended."""
        assert self._process is not None
        self._signal_all(signal.SIGINT)
        self._process.wait(seconds)
        self._ended()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of an empty database of each kind."""
    if request.param == "postgresql":
        yield request.getfixturevalue("postgres_database").url("asyncpg")
    else:
        yield f"sqlite+aiosqlite:///{tmp_path}/new/desk.sqlite3"


def copy_of(settings: Settings) -> object:
    """Return where the settings have copies of the tokens held."""
    store = settings.store(open_engine(settings.database))
    assert isinstance(store, DurableStore)
    return store.copy


def test_defaults() -> None:
    """With nothing set there is one worker on port 8000, a SQLite file, and copies of the tokens in memory."""
    settings = Settings.from_environment({})
    assert (settings.port, settings.workers) == (8000, 1)
    assert settings.consistency == "level 2 (durable), in SQLite, copies in memory"
    assert settings.database.render_as_string() == f"sqlite+aiosqlite:///{DEFAULT_DATABASE}"
    assert isinstance(copy_of(settings), MemoryStore)
    assert len(settings.secret) >= 32
    assert settings.secret != Settings.from_environment({}).secret


def test_default_database_is_ignored_by_git() -> None:
    """The default database is in a folder that git does not see."""
    assert subprocess.run(["git", "check-ignore", "-q", DEFAULT_DATABASE], cwd=ROOT, check=False).returncode == 0


def test_settings_are_read() -> None:
    """Each of the five settings is taken from the environment."""
    environ = {
        "PORT": "9000",
        "DATABASE_URL": "postgresql+asyncpg://someone@localhost/desk",
        "REDIS_URL": "redis://localhost",
        "WORKERS": "2",
        "SECRET": SECRET,
    }
    settings = Settings.from_environment(environ)
    assert (settings.port, settings.workers, settings.secret) == (9000, 2, SECRET)
    assert SECRET not in repr(settings)
    assert settings.consistency == "level 2 (durable), in PostgreSQL, copies in Redis"
    assert settings.database.render_as_string() == environ["DATABASE_URL"]
    assert isinstance(copy_of(settings), RedisStore)


def test_workers_without_redis_keep_no_copies() -> None:
    """Copies in the memory of several workers would not hear of each other's commits, so there are none."""
    settings = Settings.from_environment({"WORKERS": "2", "SECRET": SECRET})
    assert settings.consistency == "level 2 (durable), in SQLite, no copies"
    assert copy_of(settings) is None


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"PORT": "http"}, "PORT='http' is not a whole number from 1 to 65535"),
        ({"PORT": "70000"}, "PORT='70000'"),
        ({"WORKERS": "0"}, "WORKERS='0'"),
        ({"WORKERS": "2"}, "SECRET is not set, and several workers need the same"),
        ({"SECRET": "short"}, "SECRET is shorter than 32 characters"),
        ({"DATABASE_URL": "sqlite:///desk.sqlite3"}, "names a synchronous driver"),
        ({"DATABASE_URL": "desk.sqlite3"}, "can't be read as a SQLAlchemy URL"),
        ({"DATABASE_URL": "nonsense+nonsense://localhost"}, "can't be read as a SQLAlchemy URL"),
    ],
)
def test_bad_setting_says_what_to_write(environ: dict[str, str], message: str) -> None:
    """A setting that could not work is refused with what to write instead."""
    with pytest.raises(SettingsError, match=message):
        Settings.from_environment(environ)


async def test_workers_prepare_at_once(database_url: str) -> None:
    """Several workers that start at once on an empty database make its tables and first rows once."""
    url = Settings.from_environment({"DATABASE_URL": database_url}).database
    engines = [open_engine(url) for _ in range(5)]
    try:
        await asyncio.gather(*(prepare(engine) for engine in engines))
        await prepare(engines[0])
        async with AsyncSession(engines[0]) as session:
            counts = [
                await session.scalar(select(func.count()).select_from(of)) for of in (Account, Label, Inbox, Team)
            ]
    finally:
        for engine in engines:
            await engine.dispose()
    assert counts == [2, 5, 3, 3]


@pytest.mark.parametrize("app", APPS)
def test_demo_says_where_it_is(app: str, tmp_path: Path, redis_server: RedisServer) -> None:
    """Started by hand, an app prints its URL, level and store, and serves; with several workers, by Redis."""
    env = {
        "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/desk.sqlite3",
        "REDIS_URL": redis_server.url,
        "WORKERS": "2",
    }
    with Demo(f"examples.{app}_app", env=env) as server:
        assert f"{server.base_url}/" in server.output()
        assert "level 2 (durable), in SQLite, copies in Redis" in server.output()
        assert "2 workers" in server.output()
        labels = httpx.get(
            f"{server.base_url}/api/v1/accounts/1/labels", headers={"Authorization": "Bearer demo-agent-1"}
        )
        assert len(labels.json()["payload"]) == 3
    assert "Traceback" not in server.output()


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("app", APPS)
async def test_demo_ends_at_once(browser: Browser, app: str, workers: str, tmp_path: Path) -> None:
    """Ctrl-C ends the demo although a page is open and listens."""
    env = {"DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/desk.sqlite3", "REDIS_URL": "", "WORKERS": workers}
    with Demo(f"examples.{app}_app", env=env) as server:
        page = await browser.new_page()
        await page.goto(server.base_url)
        await sign_in(page, "demo-agent-1")
        await expect(page.get_by_test_id("live")).to_have_text("Live")
        await asyncio.to_thread(server.interrupt, 5.0)
        await expect(page.get_by_test_id("live")).to_have_text("Connecting…")
    assert "Traceback" not in server.output()
