"""What every plugin promises, as a test suite that the tests of each framework's plugin subclass."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator

import httpx
import pytest

from cache_revalidate.types import ASGIApp, Message, Scope
from tests.plugins.desk import ACCOUNT, Desk

LABELS = f"{ACCOUNT}/labels"
KEYS = f"{ACCOUNT}/cache_keys"
GARBAGE = ['"', 'W/"', '"\x00"', "W/W/", ',,,"a', "\\", '"' + "x" * 10_000 + '"', "x" * 10_000]


def client_of(app: ASGIApp, agent: str | None = "ann", *, raises: bool = True) -> httpx.AsyncClient:
    """Return a client that bears an agent's token; the app's unhandled exceptions reach it if it `raises`."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=raises),
        base_url="http://desk",
        headers={"authorization": f"Bearer {agent}"} if agent else {},
    )


async def etag_of(client: httpx.AsyncClient, path: str = LABELS) -> str:
    """Return the entity tag of a plain answer."""
    response = await client.get(path)
    assert response.status_code == 200
    return response.headers["etag"]


class PluginContract:
    """The app under test has the desk's routes, in its framework's own way, declared by its plugin."""

    @abstractmethod
    def make_app(self, desk: Desk) -> ASGIApp:
        """Return the app around a desk."""

    @pytest.fixture
    def app(self, desk: Desk) -> ASGIApp:
        """The app under test."""
        return self.make_app(desk)

    @pytest.fixture
    async def client(self, app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
        """A client that bears the token of ann, agent of account 1."""
        async with client_of(app) as client:
            yield client

    async def test_second_get_is_not_modified(self, client: httpx.AsyncClient, desk: Desk) -> None:
        """What the client holds is current: 304, the same headers, no body, and no handler runs."""
        first = await client.get(LABELS)
        second = await client.get(LABELS, headers={"if-none-match": first.headers["etag"]})
        assert (first.status_code, second.status_code, second.content) == (200, 304, b"")
        assert first.json()["agent"] == "ann"
        assert desk.handled == 1
        for name in ("etag", "cache-control", "cache-keys"):
            assert second.headers[name] == first.headers[name]
        assert set(second.headers["vary"].split(", ")) == set(first.headers["vary"].split(", "))
        assert first.headers["cache-control"] == "private, no-cache"
        assert set(first.headers["vary"].split(", ")) == {"Authorization", "Cookie"}

    async def test_only_a_bump_of_its_models_makes_it_stale(self, client: httpx.AsyncClient, desk: Desk) -> None:
        """Another model's bump, or another tenant's, leaves a 304; its own makes a 200."""
        match = {"if-none-match": await etag_of(client)}
        await desk.revalidator.bump(1, "team")
        await desk.revalidator.bump(2, "label")
        assert (await client.get(LABELS, headers=match)).status_code == 304
        await desk.revalidator.bump(1, "label")
        assert (await client.get(LABELS, headers=match)).status_code == 200

    @pytest.mark.parametrize("path", [LABELS, KEYS])
    async def test_wrong_tenant_is_refused(self, app: ASGIApp, client: httpx.AsyncClient, path: str) -> None:
        """An agent of another account gets the app's 403, whatever tag they show (rule 1)."""
        match = {"if-none-match": await etag_of(client, path)}
        async with client_of(app, "bob") as bob:
            for headers in ({}, match):
                response = await bob.get(path, headers=headers)
                assert response.status_code == 403
                assert "etag" not in response.headers
                assert "cache-keys" not in response.headers

    @pytest.mark.parametrize("path", [LABELS, KEYS])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_anonymous_is_refused(self, app: ASGIApp, client: httpx.AsyncClient, path: str, method: str) -> None:
        """Who is not signed in gets the app's refusal, whatever tag they show, for HEAD too (rule 1)."""
        match = {"if-none-match": await etag_of(client, path)}
        async with client_of(app, None) as nobody:
            response = await nobody.request(method, path, headers=match)
            assert response.status_code in {401, 403}
            assert "etag" not in response.headers

    @pytest.mark.parametrize("path", [LABELS, KEYS])
    async def test_revoked_user_is_refused(self, client: httpx.AsyncClient, desk: Desk, path: str) -> None:
        """A user who lost the account, or all of them, between two requests gets the app's refusal, not a 304."""
        match = {"if-none-match": await etag_of(client, path)}
        desk.agents["ann"].clear()
        assert (await client.get(path, headers=match)).status_code == 403
        del desk.agents["ann"]
        assert (await client.get(path, headers=match)).status_code in {401, 403}

    async def test_two_viewers_have_two_tags(self, app: ASGIApp, client: httpx.AsyncClient) -> None:
        """A tag that one agent was given is not the other's, though both may see the account."""
        match = {"if-none-match": await etag_of(client)}
        async with client_of(app, "abe") as abe:
            response = await abe.get(LABELS, headers=match)
            assert (response.status_code, response.json()["agent"]) == (200, "abe")

    @pytest.mark.parametrize("path", [LABELS, KEYS])
    async def test_head_is_get_without_body(self, client: httpx.AsyncClient, path: str) -> None:
        """HEAD has the same tag as GET, and is answered 304 likewise (rule 7)."""
        etag = await etag_of(client, path)
        head = await client.head(path)
        assert (head.status_code, head.headers["etag"]) == (200, etag)
        again = await client.head(path, headers={"if-none-match": etag})
        assert (again.status_code, again.headers["etag"], again.content) == (304, etag, b"")

    async def test_failing_handler_gets_no_tag(self, app: ASGIApp) -> None:
        """An exception is the app's to answer, and its answer gets no tag, be it a 200 (rule 14)."""
        async with client_of(app, raises=False) as client:
            for name, status in (("broken", 500), ("missing", 404), ("sorry", 200)):
                response = await client.get(f"{ACCOUNT}/{name}")
                assert response.status_code == status
                assert "etag" not in response.headers
                assert "cache-keys" not in response.headers

    async def test_stream_is_not_held_back(self, app: ASGIApp, desk: Desk) -> None:
        """The headers and the first chunk of a stream are out before its second one is there."""
        received: asyncio.Queue[Message] = asyncio.Queue()
        sent: asyncio.Queue[Message] = asyncio.Queue()

        async def run() -> None:
            await app(get_scope(f"{ACCOUNT}/stream"), received.get, sent.put)

        running = asyncio.create_task(run())
        start = await asyncio.wait_for(sent.get(), 10)
        assert dict(start["headers"])[b"etag"].startswith(b'W/"')
        assert (await asyncio.wait_for(sent.get(), 10))["body"] == b"first "
        desk.gate.set()
        assert (await asyncio.wait_for(sent.get(), 10))["body"] == b"second"
        received.put_nowait({"type": "http.disconnect"})  # as servers say when an answer is through
        await asyncio.wait_for(running, 10)

    async def test_second_get_of_stream_is_not_modified(self, client: httpx.AsyncClient, desk: Desk) -> None:
        """A stream is not begun for a client that holds what is current."""
        desk.gate.set()
        match = {"if-none-match": await etag_of(client, f"{ACCOUNT}/stream")}
        assert (await client.get(f"{ACCOUNT}/stream", headers=match)).status_code == 304
        assert desk.handled == 1

    async def test_file_keeps_its_own_tag(self, client: httpx.AsyncClient) -> None:
        """A file has a tag of its own: that one stays, and is the one compared (rule 10)."""
        first = await client.get(f"{ACCOUNT}/file")
        assert first.text.startswith("id,title")
        assert first.headers["cache-keys"].startswith("label=")
        second = await client.get(f"{ACCOUNT}/file", headers={"if-none-match": first.headers["etag"]})
        assert (second.status_code, second.content) == (304, b"")

    @pytest.mark.parametrize("spelling", ["01", "0001"])
    async def test_tenant_is_canonical(self, client: httpx.AsyncClient, desk: Desk, spelling: str) -> None:
        """Another spelling of the account shares its tokens, so its bump reaches those who use it (rule 22)."""
        path = f"/api/v1/accounts/{spelling}/labels"
        response = await client.get(path)
        assert response.headers["cache-keys"] == (await client.get(LABELS)).headers["cache-keys"]
        await desk.revalidator.bump(1, "label")
        match = {"if-none-match": response.headers["etag"]}
        assert (await client.get(path, headers=match)).status_code == 200

    @pytest.mark.parametrize("field", GARBAGE)
    async def test_garbage_matches_nothing(self, client: httpx.AsyncClient, field: str) -> None:
        """An If-None-Match that can't be read has the handler run."""
        response = await client.get(LABELS, headers={"if-none-match": field})
        assert response.status_code == 200

    async def test_store_away(self, client: httpx.AsyncClient, desk: Desk) -> None:
        """Without its store the app answers 200 with no-store, never 304, and the keys endpoint 503."""
        match = {"if-none-match": await etag_of(client)}
        desk.store.is_away = True
        response = await client.get(LABELS, headers=match)
        assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
        assert "etag" not in response.headers
        keys = await client.get(KEYS)
        assert (keys.status_code, keys.headers["cache-control"]) == (503, "no-store")
        desk.store.is_away = False
        assert (await client.get(LABELS, headers=match)).status_code == 304

    async def test_no_cookie_crosses(self, app: ASGIApp) -> None:
        """Sessions are set by a middleware around ours: each 304 bears its own user's cookie alone (rule 21)."""
        path = f"{ACCOUNT}/session"
        async with client_of(app) as ann, client_of(app, "abe") as abe:
            match = {client: {"if-none-match": await etag_of(client, path)} for client in (ann, abe)}
            for _ in range(3):
                answers = {client: await client.get(path, headers=match[client]) for client in (ann, abe)}
                assert [answer.status_code for answer in answers.values()] == [304, 304]
                cookies = [answer.headers.get_list("set-cookie") for answer in answers.values()]
                assert [len(held) for held in cookies] == [1, 1]
                assert cookies[0] != cookies[1]

    async def test_requests_side_by_side(self, app: ASGIApp, desk: Desk) -> None:
        """Many requests at once, of two users, get each their own answers."""
        async with client_of(app) as ann, client_of(app, "abe") as abe:
            etags = {client: await etag_of(client) for client in (ann, abe)}
            assert etags[ann] != etags[abe]
            plain = await asyncio.gather(*(client.get(LABELS) for client in (ann, abe) * 25))
            assert [answer.json()["agent"] for answer in plain] == ["ann", "abe"] * 25
            assert [answer.headers["etag"] for answer in plain] == [etags[ann], etags[abe]] * 25
            handled = desk.handled
            matched = await asyncio.gather(
                *(client.get(LABELS, headers={"if-none-match": etags[client]}) for client in (ann, abe) * 25)
            )
            assert {answer.status_code for answer in matched} == {304}
            assert desk.handled == handled

    async def test_tokens_are_read_before_the_handler(self, client: httpx.AsyncClient, desk: Desk) -> None:
        """A bump while the handler runs leaves its answer under the older tag, so that it is asked for again (9)."""
        desk.gate.set()
        etag = await etag_of(client, f"{ACCOUNT}/bumping")
        response = await client.get(f"{ACCOUNT}/bumping", headers={"if-none-match": etag})
        assert response.status_code == 200
        assert response.headers["etag"] != etag

    async def test_write_names_what_it_minted(self, app: ASGIApp, client: httpx.AsyncClient, desk: Desk) -> None:
        """The answer to a write bears the token of its bump; that to one who was refused bears none."""
        response = await client.post(LABELS)
        assert response.status_code == 201
        tokens = await desk.revalidator.tokens(1, "label")
        assert response.headers["cache-keys"] == f'label="{tokens["label"]}"'
        assert "etag" not in response.headers
        async with client_of(app, "bob") as bob:
            refused = await bob.post(LABELS)
        assert refused.status_code == 403
        assert "cache-keys" not in refused.headers

    async def test_keys_endpoint(self, client: httpx.AsyncClient, desk: Desk) -> None:
        """It shows each model's token and a tag, may be kept for ten seconds, and is revalidated."""
        first = await client.get(KEYS)
        assert first.status_code == 200
        assert first.headers["content-type"] == "application/json"
        assert first.headers["cache-control"] == "max-age=10, private, stale-while-revalidate=300"
        assert first.json() == {"cache_keys": await desk.revalidator.tokens(1), "tag": desk.revalidator.tag("ann")}
        match = {"if-none-match": first.headers["etag"]}
        second = await client.get(KEYS, headers=match)
        assert (second.status_code, second.content) == (304, b"")
        await desk.revalidator.bump(1, "label")
        third = await client.get(KEYS, headers=match)
        assert third.status_code == 200
        assert third.json()["cache_keys"] == await desk.revalidator.tokens(1)

    @pytest.mark.parametrize("path", [LABELS, KEYS])
    async def test_newer_token_is_read_past_the_copies(
        self, app: ASGIApp, client: httpx.AsyncClient, desk: Desk, path: str
    ) -> None:
        """A worker that lags behind what the client shows answers with what is true, and others with what it holds."""
        old = desk.store.copies["1"] = await desk.revalidator.tokens(1)
        match = {"if-none-match": await etag_of(client, path)}
        new = await desk.revalidator.bump(1, "label")
        assert (await client.get(path, headers=match)).status_code == 304
        newer = match | {"cache-keys": f'label="{new["label"]}"'}
        response = await client.get(path, headers=newer)
        assert response.status_code == 200
        assert new["label"] in (response.headers["cache-keys"] if path == LABELS else response.text)
        assert desk.store.shown == [new]
        again = await client.get(path, headers=newer | {"if-none-match": response.headers["etag"]})
        assert again.status_code == 304
        older = match | {"cache-keys": f'label="{old["label"]}"'}
        assert (await client.get(path, headers=older)).status_code == 304
        async with client_of(app, "bob") as bob:
            assert (await bob.get(path, headers=newer)).status_code == 403
        assert len(desk.store.shown) == 2

    async def test_keys_endpoint_is_only_read(self, client: httpx.AsyncClient) -> None:
        """Another method is not allowed."""
        response = await client.post(KEYS)
        assert response.status_code == 405
        assert "GET" in response.headers["allow"]

    @pytest.mark.parametrize("tenant", ["0" * 300, "9" * 300, "-1", "%00", "a%2Fb", "%C3%A9", "%20"])
    async def test_impossible_tenant(self, client: httpx.AsyncClient, tenant: str) -> None:
        """A tenant that can't be one gets an error of the app's or ours, never tokens and never a crash."""
        for name in ("cache_keys", "labels"):
            response = await client.get(f"/api/v1/accounts/{tenant}/{name}")
            assert response.status_code in {403, 404, 422}
            assert "cache-keys" not in response.headers


def get_scope(path: str, agent: str = "ann") -> Scope:
    """Return the ASGI scope of a GET by an agent."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {agent}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("desk", 80),
    }
