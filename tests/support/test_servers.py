"""The servers that other tests stand on."""

import socket
from pathlib import Path

import httpx
import psycopg
import pytest
from playwright.async_api import Browser

from tests.support.fixtures import PostgresDatabase
from tests.support.servers import (
    HOST,
    AppServer,
    AppServerProgram,
    PostgresServer,
    RedisServer,
    Server,
    find_program,
    free_port,
)

APP = """
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = os.environ["GREETING"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": body})
"""


def answers(server: Server) -> bool:
    """Say whether something listens on the server's port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, server.port)) == 0


@pytest.fixture
def app_folder(tmp_path: Path) -> Path:
    """Give a folder with an ASGI app, `greeting:app`."""
    (tmp_path / "greeting.py").write_text(APP)
    return tmp_path


def test_free_port_is_free() -> None:
    """A free port can be bound."""
    with socket.socket() as probe:
        probe.bind((HOST, free_port()))


def test_missing_program_names_its_package() -> None:
    """A missing server program is an error that names the package to install."""
    with pytest.raises(RuntimeError, match="apt-get install some-package"):
        find_program("no-such-program", "some-package")


def test_redis_restarts_on_its_port(redis_server_own: RedisServer) -> None:
    """A killed Redis is gone, and comes back on the same port."""
    redis_server_own.kill()
    assert not answers(redis_server_own)
    redis_server_own.start()
    assert redis_server_own.is_ready()


def test_paused_redis_is_silent(redis_server_own: RedisServer) -> None:
    """A paused Redis takes connections and answers nothing, until it is resumed."""
    redis_server_own.pause()
    with pytest.raises(TimeoutError):
        redis_server_own.is_ready()
    redis_server_own.resume()
    assert redis_server_own.is_ready()


def test_paused_redis_stops() -> None:
    """A server that was left paused is stopped all the same, and its folder removed."""
    with RedisServer() as server:
        server.pause()
    assert not answers(server)
    assert not server.folder.exists()


def test_redis_takes_arguments() -> None:
    """A password given as an argument is asked for."""
    with RedisServer("--requirepass", "secret") as server, socket.create_connection((HOST, server.port)) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(64).startswith(b"-NOAUTH")


def test_failed_start_shows_output() -> None:
    """A server that ends at once is an error that shows what it printed."""
    with pytest.raises(RuntimeError, match="no-such-option"), RedisServer("--no-such-option", "1"):
        pass


def test_failure_shows_output() -> None:
    """What a server printed is told with the failure of the test that was using it."""
    with pytest.raises(ValueError, match="the test failed") as caught, RedisServer():
        raise ValueError("the test failed")
    assert "Ready to accept connections" in caught.value.__notes__[0]


def test_postgres_allows_prepared_transactions(postgres_database: PostgresDatabase) -> None:
    """A fresh database takes connections and two-phase commits."""
    with psycopg.connect(postgres_database.url("psycopg").replace("+psycopg", "")) as connection:
        assert connection.execute("SHOW max_prepared_transactions").fetchone() == ("20",)


def test_killed_postgres_keeps_data() -> None:
    """What was committed is there when a killed PostgreSQL comes back."""
    with PostgresServer() as server:
        url = server.url("psycopg", server.create_database()).replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        server.kill()
        assert not answers(server)
        server.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("program", ["uvicorn", "granian", "hypercorn"])
def test_app_server_serves(program: AppServerProgram, workers: int, app_folder: Path) -> None:
    """An app answers with its own settings under each server, and is gone afterwards."""
    server = AppServer("greeting:app", server=program, workers=workers, env={"GREETING": "hello"}, cwd=app_folder)
    with server:
        assert httpx.get(server.base_url).text == "hello"
    assert not answers(server)


def test_app_server_takes_options(app_folder: Path) -> None:
    """A server is given further arguments, which override those that it has anyhow."""
    options = ["--lifespan", "off", "--header", "x-shown:yes"]
    with AppServer("greeting:app", options=options, env={"GREETING": "hello"}, cwd=app_folder) as server:
        assert httpx.get(server.base_url).headers["x-shown"] == "yes"
        assert "Waiting for application startup" not in server.output()


@pytest.mark.parametrize("program", ["uvicorn", "granian", "hypercorn"])
def test_app_server_serves_what_a_factory_makes(program: AppServerProgram, app_folder: Path) -> None:
    """An app may be named by the function that makes it."""
    with (app_folder / "greeting.py").open("a") as module:
        module.write("\ndef make():\n    return app\n")
    settings = {"GREETING": "made"}
    with AppServer("greeting:make", server=program, factory=True, env=settings, cwd=app_folder) as server:
        assert httpx.get(server.base_url).text == "made"


async def test_browser_opens_page(browser: Browser, app_folder: Path) -> None:
    """The browser shows a page that a local app serves."""
    with AppServer("greeting:app", env={"GREETING": "<title>hello</title>"}, cwd=app_folder) as server:
        page = await browser.new_page()
        await page.goto(server.base_url)
        assert await page.title() == "hello"
