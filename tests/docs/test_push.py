"""What the page on push says and shows: its clients run in a browser, its proxies are real."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page

from cache_revalidate.push.closing import Closing
from tests.docs.pages import DOCS, blocks, rows
from tests.push.sse_client import EventStream
from tests.push.waiting import until
from tests.push.ws_client import EventSocket
from tests.support.caddy import CaddyServer
from tests.support.nginx import NginxServer
from tests.support.servers import HOST, AppServer

KEYS = "/api/v1/accounts/1/cache_keys"
ANN = {"cookie": "agent=ann"}
AT_ONCE = 1.0
AGAIN = 15.0
"""Seconds within which a client is back after a restart."""


def block(start: str) -> str:
    """Return the page's block that begins so."""
    (code,) = (found.code for found in blocks(DOCS / "push.md") if found.code.startswith(start))
    return code


FOLLOW, FOLLOW_ALL = block("function follow("), block("function followAll(")
USE, USE_ALL, TICKET = block("const url ="), block("const stop = followAll("), block("const extra =")
SHOW = "globalThis.shown = []; const show = (model, list) => shown.push([model, list]);"


@pytest.fixture
def app() -> Iterator[AppServer]:
    """The page's app, in a process of its own."""
    with AppServer("tests.docs.push_app:app", env={"HEARTBEAT": "1", "RECHECK": "2"}) as app:
        yield app
        assert "Traceback" not in app.output()


@pytest.fixture
async def client(app: AppServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app, signed in."""
    async with httpx.AsyncClient(base_url=app.base_url, headers=ANN) as client:
        yield client


@pytest.fixture
async def page(browser: Browser, app: AppServer) -> Page:
    """A page of the app's origin, signed in by cookie."""
    page = await browser.new_page()
    await page.goto(app.base_url)
    return page


async def bump(client: httpx.AsyncClient, account: int, model: str) -> str:
    """Bump a model and return its new token."""
    token: str = (await client.post(f"/bump/{account}/{model}")).json()[model]
    return token


async def until_shown(page: Page, *wanted: list[Any], within: float = AT_ONCE) -> None:
    """Wait until the page has been told to fetch just this, in any order; and forget it."""
    condition = (
        "(wanted) => shown.length >= wanted.length && JSON.stringify(shown.toSorted()) === JSON.stringify(wanted)"
    )
    await page.wait_for_function(condition, arg=sorted(wanted), timeout=1_000 * within)
    await page.evaluate("shown.length = 0")


async def connections(client: httpx.AsyncClient) -> int:
    """Return how many connections are open."""
    count: int = (await client.get("/connections")).json()
    return count


async def until_connections(client: httpx.AsyncClient, wanted: int) -> None:
    """Wait until so many connections are open."""
    deadline = asyncio.get_running_loop().time() + AGAIN
    while (found := await connections(client)) != wanted:
        assert asyncio.get_running_loop().time() < deadline, f"{found} connections, not {wanted}"
        await asyncio.sleep(0.05)


async def test_the_client_of_events(page: Page, app: AppServer, client: httpx.AsyncClient) -> None:
    """It fetches all lists at first and then what changes, comes again after a restart, and can be ended."""
    await page.add_script_tag(content=FOLLOW + SHOW + USE)
    await until_shown(page, ["inbox", 0], ["label", 0])
    await bump(client, 1, "label")
    await until_shown(page, ["label", 1])
    app.stop()
    app.start()
    await until_shown(page, ["inbox", 0], ["label", 0], within=AGAIN)
    await bump(client, 1, "inbox")
    await until_shown(page, ["inbox", 1])
    assert await connections(client) == 1
    await page.evaluate("stop()")
    await until_connections(client, 0)


async def test_the_client_of_events_with_tickets(page: Page, client: httpx.AsyncClient) -> None:
    """Signed in by a header alone, it asks for a ticket each time; what it holds already it does not fetch again."""
    await page.context.clear_cookies()
    code = f"globalThis.shown = []; const url = '{KEYS}', token = 'ann'; {TICKET}"
    await page.add_script_tag(content=f"{FOLLOW}{code}const stop = follow(url, (model) => shown.push([model]), extra);")
    await until_shown(page, ["inbox"], ["label"])
    for _ in range(2):
        async with page.expect_response(lambda response: "/events" in response.url and response.ok, timeout=10_000):
            pass  # The last one ended, as its ticket can't be asked again.
    await bump(client, 1, "label")
    await until_shown(page, ["label"], within=AGAIN)


async def test_the_client_of_sockets(page: Page, app: AppServer, client: httpx.AsyncClient) -> None:
    """It follows several accounts, lives through heartbeats, refusals and restarts, and can be ended."""
    call = (
        USE_ALL.replace("wss://", "ws://").replace("[1, 2]", "[1, 2, 3]").replace("{}", "shown.push([account, model])")
    )
    await page.add_script_tag(content=f"globalThis.shown = []; {FOLLOW_ALL}{call}")
    everything = [[account, model] for account in (1, 2) for model in ("inbox", "label")]
    await until_shown(page, *everything)
    await bump(client, 2, "label")
    await until_shown(page, [2, "label"])
    app.stop()
    app.start()
    await until_shown(page, *everything, within=AGAIN)
    await bump(client, 1, "inbox")
    await until_shown(page, [1, "inbox"])
    await page.evaluate("stop()")
    await until_connections(client, 0)


def shape(text: str) -> str:
    """Return a stream's text with each token, tag and random number alike."""
    text = re.sub(r"\b\d{20}\b", "TOKEN", text)
    text = re.sub(r"\b[0-9a-f]{24}\b", "TAG", text)
    return re.sub(r"retry: \d{4}", "retry: 4711", text)


async def test_the_stream_is_as_shown(app: AppServer, client: httpx.AsyncClient) -> None:
    """What the page shows of a stream is what is sent, but for tokens, tags and the random `retry`."""
    wanted = block("retry: 4711")
    received = ""
    async with client.stream("GET", f"{KEYS}/events") as stream:
        async for part in stream.aiter_text():
            received += part
            if "heartbeat" in received:
                break
            if received.count("id:") == 1 and "full" in received:
                await bump(client, 1, "label")
    assert shape(received) == shape(wanted)


def test_all_codes_are_in_the_table() -> None:
    """The page's table has the codes that there are."""
    assert [int(row["code"]) for row in rows(DOCS / "push.md", "code")] == [closing.code for closing in Closing]


async def heard(app: AppServer, client: httpx.AsyncClient, port: int, scheme: str) -> None:
    """Check that both transports work through a proxy, for pages of its origin alone, and at once."""
    headers = {**ANN, "origin": f"{scheme}://{HOST}:{port}", "accept-encoding": "gzip"}
    stream = await EventStream.open(port, f"{KEYS}/events", headers=headers)
    socket = await EventSocket.open(port, f"{KEYS}/socket", headers=headers)
    await until(lambda: stream.status, "the stream is answered", AT_ONCE)
    assert (stream.status, socket.status) == (200, 101)
    assert "content-encoding" not in stream.headers
    socket.subscribe(1)
    await until(lambda: stream.view.fulls and socket.views["1"].fulls, "both have begun", AT_ONCE)
    token = await bump(client, 1, "label")
    await until(lambda: stream.tokens["label"] == socket.views["1"].tokens["label"] == token, "both are told", AT_ONCE)
    await until(lambda: stream.heartbeats and socket.heartbeats, "both hear heartbeats", 3 * AT_ONCE)
    foreign = {**headers, "origin": "https://evil.example"}
    assert (await EventSocket.open(port, f"{KEYS}/socket", headers=foreign)).status == 403
    stream.close()
    socket.close()
    await until_connections(client, 0)


async def test_nginx(app: AppServer, client: httpx.AsyncClient) -> None:
    """Through nginx, set up as the page says, both transports work; it counts as https what nginx calls so."""
    locations = block("location ~ /cache_keys/events$").replace("http://app", app.base_url)
    with NginxServer(app.base_url, locations=locations) as nginx:
        await heard(app, client, nginx.port, "http")
    with NginxServer(app.base_url, locations=locations.replace("$scheme", "https")) as nginx:
        await heard(app, client, nginx.port, "https")


@pytest.mark.parametrize("more", ["", "encode gzip"], ids=["as it comes", "gzip"])
async def test_caddy(app: AppServer, client: httpx.AsyncClient, more: str) -> None:
    """Through Caddy, set up as the page says, both transports work, compressed or not."""
    site = block("desk.example {").replace("app:8000", f"{HOST}:{app.port}").split("{")[1].split("}")[0]
    with CaddyServer(site + more) as caddy:
        await heard(app, client, caddy.port, "http")
