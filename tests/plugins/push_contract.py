"""What every plugin promises of push, on a real server, as a test suite that the tests of each plugin subclass."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import ClassVar

import httpx
import pytest

from tests.plugins.contract import KEYS, LABELS
from tests.plugins.desk import ACCOUNT, FRIEND, MODELS
from tests.push.sse_client import EventStream
from tests.push.waiting import until
from tests.push.ws_client import EventSocket
from tests.support.servers import AppServer

EVENTS = f"{KEYS}/events"
SOCKET = f"{KEYS}/socket"
TICKET = f"{KEYS}/ticket"
ANN = {"authorization": "Bearer ann"}
ABE = {"authorization": "Bearer abe"}
BOB = {"authorization": "Bearer bob"}
FOREIGN = {"origin": "https://evil.example"}
GZIP = {"accept-encoding": "gzip, br"}


class PushContract:
    """The app under test is the desk, whose agents `ann` and `abe` may see account 1, and `bob` account 2."""

    app: ClassVar[str]
    """The name of the function that makes the app."""
    schema_path: ClassVar[str] = ""
    """Where the app's description in OpenAPI is, if it has one."""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[AppServer]:
        """The app under test, on a server that the tests of the class share."""
        with AppServer(cls.app, factory=True) as server:
            yield server

    @pytest.fixture
    async def client(self, server: AppServer) -> AsyncIterator[httpx.AsyncClient]:
        """A client that bears no token."""
        async with httpx.AsyncClient(base_url=server.base_url) as client:
            yield client

    @asynccontextmanager
    async def stream(self, server: AppServer, path: str = EVENTS, **headers: str) -> AsyncIterator[EventStream]:
        """Give a stream that has had its first event."""
        stream = await EventStream.open(server.port, path, headers=headers)
        await until(lambda: stream.view.events or stream.closed or stream.body, "the first event")
        assert stream.status == 200, stream.body
        yield stream
        stream.close()

    async def refused(self, server: AppServer, path: str = EVENTS, **headers: str) -> int:
        """Return the status of a stream that is not opened."""
        stream = await EventStream.open(server.port, path, headers=headers)
        await until(lambda: stream.status, "an answer")
        assert "text/event-stream" not in stream.headers.get("content-type", "")
        stream.close()
        return stream.status

    async def test_stream_tells_everything_and_then_each_change(
        self, server: AppServer, client: httpx.AsyncClient
    ) -> None:
        """It begins with all tokens, those of the keys endpoint, and a write of anybody's is told at once."""
        keys = (await client.get(KEYS, headers=ANN)).json()
        async with self.stream(server, **ANN, **GZIP) as stream:
            assert (stream.view.tokens, stream.view.tag) == (keys["cache_keys"], keys["tag"])
            assert (stream.view.fulls, stream.view.models) == (1, sorted(MODELS))
            written = await client.post(LABELS, headers=ABE)
            assert written.status_code == 201
            await until(lambda: stream.view.events == 2, "the change")
            assert f'label="{stream.tokens["label"]}"' == written.headers["cache-keys"]
            assert stream.view.fulls == 1

    async def test_stream_is_neither_compressed_nor_stored(self, server: AppServer) -> None:
        """Its headers are the core's, whatever the app's middleware does to answers."""
        async with self.stream(server, **ANN, **GZIP) as stream:
            assert "content-encoding" not in stream.headers
            assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert stream.headers["cache-control"] == "no-store, no-transform"
            assert stream.headers["x-accel-buffering"] == "no"
            assert {"authorization", "cookie"} <= set(stream.headers["vary"].lower().split(", "))
            assert {"etag", "cache-keys", "content-length"}.isdisjoint(stream.headers)
            assert stream.retry

    @pytest.mark.parametrize("by", ["header", "query"])
    async def test_who_comes_again_is_told_what_differs(
        self, server: AppServer, client: httpx.AsyncClient, by: str
    ) -> None:
        """The last event's id, in the header or the query, has the stream begin with what changed meanwhile."""
        async with self.stream(server, **ANN) as stream:
            shown = stream.id
        await client.post(LABELS, headers=ANN)
        path = EVENTS if by == "header" else str(httpx.URL(EVENTS, params={"known": shown}))
        async with self.stream(server, path, **ANN, **({"last-event-id": shown} if by == "header" else {})) as again:
            assert (again.view.events, again.view.fulls, [*again.tokens]) == (1, 0, ["label"])

    async def test_refused_as_the_app_refuses(self, server: AppServer) -> None:
        """Who is not signed in, or may not see the account, gets the app's own status, by stream and by socket."""
        for headers, statuses in (({}, {401, 403}), ({"authorization": "Bearer eve"}, {401, 403}), (BOB, {403})):
            assert await self.refused(server, **headers) in statuses
            socket = await EventSocket.open(server.port, SOCKET, headers=headers)
            assert not socket.is_open
            assert socket.status in statuses, (headers, socket.status)
            socket.close()

    @pytest.mark.parametrize("tenant", ["x", "-1", "9" * 300, "%C3%A9"])
    async def test_impossible_tenant(self, server: AppServer, tenant: str) -> None:
        """A tenant that can't be one gets an error, never a stream."""
        path = EVENTS.replace("/1/", f"/{tenant}/")
        assert await self.refused(server, path, **ANN) in {403, 404, 422}
        socket = await EventSocket.open(server.port, path.replace("events", "socket"), headers=ANN)
        assert not socket.is_open
        socket.close()

    async def test_origin_comes_first(self, server: AppServer, client: httpx.AsyncClient) -> None:
        """A foreign page is refused whoever asks, before authentication; the app's own and those listed are not."""
        for who in (ANN, {}):
            headers = {**who, **FOREIGN}
            assert await self.refused(server, **headers) == 403
            socket = await EventSocket.open(server.port, SOCKET, headers=headers)
            assert (socket.is_open, socket.status) == (False, 403)
            socket.close()
            assert (await client.post(TICKET, headers=headers)).status_code == 403
        for origin in (FRIEND, server.base_url):
            async with self.stream(server, **ANN, origin=origin):
                socket = await EventSocket.open(server.port, SOCKET, headers={**ANN, "origin": origin})
                assert socket.is_open
                socket.close()

    async def test_ticket_stands_in_for_authentication(self, server: AppServer, client: httpx.AsyncClient) -> None:
        """Who shows a ticket needs no Authorization, is the same viewer, and sees no other account with it."""
        answer = await client.post(TICKET, headers=ANN)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        ticket = answer.json()["ticket"]
        assert answer.json() == {"ticket": ticket, "expires_in": 30}
        tag = (await client.get(KEYS, headers=ANN)).json()["tag"]
        async with self.stream(server, f"{EVENTS}?ticket={ticket}") as stream:
            assert stream.view.tag == tag
        other = EVENTS.replace("/1/", "/2/")
        for path in (f"{other}?ticket={ticket}", f"{EVENTS}?ticket=x{ticket}", f"{EVENTS}?ticket="):
            assert await self.refused(server, path) in {401, 403}
        assert await self.refused(server, f"{EVENTS}?ticket={ticket}", **FOREIGN) == 403
        socket = await EventSocket.open(server.port, f"{SOCKET}?ticket={ticket}")
        assert socket.is_open
        socket.subscribe(1)
        await until(lambda: socket.views["1"].events, "the first event")
        assert socket.views["1"].tag == tag
        socket.subscribe(2)
        await until(lambda: socket.refused == ["2"], "a refusal")
        socket.close()

    async def test_ticket_is_for_those_who_are_let_in(self, client: httpx.AsyncClient) -> None:
        """The app's own refusals are those of the ticket's route, too, which is asked by POST alone."""
        assert (await client.post(TICKET)).status_code in {401, 403}
        assert (await client.post(TICKET, headers=BOB)).status_code == 403
        refused = await client.get(TICKET, headers=ANN)
        assert (refused.status_code, "POST" in refused.headers["allow"]) == (405, True)

    @pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
    async def test_events_are_only_read(self, client: httpx.AsyncClient, method: str) -> None:
        """Another method than GET is not allowed."""
        response = await client.request(method, EVENTS, headers=ANN)
        assert (response.status_code, "GET" in response.headers["allow"]) == (405, True)

    async def test_socket_tells_of_several_tenants(self, server: AppServer, client: httpx.AsyncClient) -> None:
        """One that is let in may subscribe to what its caller may see, in any spelling, and is refused the rest."""
        socket = await EventSocket.open(server.port, SOCKET, headers=BOB | ANN)
        socket.subscribe(1)
        await until(lambda: socket.views["1"].fulls, "all tokens")
        assert socket.views["1"].tokens == (await client.get(KEYS, headers=ANN)).json()["cache_keys"]
        await client.post(LABELS, headers=ANN)
        await until(lambda: socket.views["1"].events == 2, "the change")
        socket.subscribe(2)
        socket.subscribe("x")
        await until(lambda: socket.refused == ["2"] and socket.errors, "a refusal, and an error")
        assert socket.errors[0]["code"] == 4400
        socket.close()

    async def test_who_may_see_two_accounts_is_told_of_both(self, server: AppServer, client: httpx.AsyncClient) -> None:
        """The same caller is asked for by the app's own rule for each account that a socket names."""
        socket = await EventSocket.open(server.port, SOCKET, headers={"authorization": "Bearer zoe"})
        for tenant in (1, "3"):
            socket.subscribe(tenant)
        await until(lambda: socket.views["1"].fulls and socket.views["3"].fulls, "all tokens of both")
        keys = await client.get(KEYS.replace("/1/", "/3/"), headers={"authorization": "Bearer zoe"})
        assert socket.views["3"].tokens == keys.json()["cache_keys"]
        socket.close()

    async def test_who_loses_the_account_is_told_no_more(self, server: AppServer, client: httpx.AsyncClient) -> None:
        """It is asked again who may see what is told: an agent who was dismissed is sent away before long."""
        headers = {"authorization": "Bearer max"}
        async with self.stream(server, **headers) as stream:
            socket = await EventSocket.open(server.port, SOCKET, headers=headers)
            socket.subscribe(1)
            await until(lambda: socket.views["1"].events, "the first event")
            assert (await client.post("/backstage/dismiss/max")).status_code == 204
            await until(lambda: stream.ended and socket.closed, "the ends of both")
            assert (stream.close_code, socket.close_code) == (4403, 4403)
            assert socket.refused == ["1"]

    async def test_server_ends_streams_that_are_open(self) -> None:
        """Open connections don't keep the server from ending: they are told that it goes away."""
        with AppServer(self.app, factory=True) as server:
            async with self.stream(server, **ANN) as stream:
                socket = await EventSocket.open(server.port, SOCKET, headers=ANN)
                socket.subscribe(1)
                await until(lambda: socket.views["1"].events, "the first event")
                await asyncio.to_thread(server.stop)
                await until(lambda: stream.ended and socket.closed, "the ends of both")
                assert (stream.close_code, socket.close_code) == (1001, 1001)
            assert "Traceback" not in server.output()

    async def test_openapi_shows_it(self, client: httpx.AsyncClient) -> None:
        """The app's description has the stream, its parameters, its events' data and an example, and the tickets."""
        if not self.schema_path:
            return
        schema = (await client.get(self.schema_path, headers=ANN)).json()
        events = schema["paths"][f"{ACCOUNT.replace('/1', '/{account_id}')}/cache_keys/events"]
        assert [*events] == ["get"]
        parameters = {each["name"].lower(): each for each in events["get"]["parameters"]}
        assert {name: (each["in"], each["required"]) for name, each in parameters.items()} == {
            "account_id": ("path", True),
            "known": ("query", False),
            "ticket": ("query", False),
            "last-event-id": ("header", False),
        }
        assert parameters["account_id"]["schema"]["type"] == "integer"
        content = events["get"]["responses"]["200"]["content"]["text/event-stream"]
        assert [*content["schema"]] == ["$ref"]
        data = schema["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        assert {"account_id", "cache_keys", "tag", "full", "models", "jitter_ms"} == set(data["properties"])
        assert "event: account.cache_invalidated" in str(content)
        assert {"401", "403", "404", "429", "503"} <= set(events["get"]["responses"])
        ticket = schema["paths"][f"{ACCOUNT.replace('/1', '/{account_id}')}/cache_keys/ticket"]
        assert [*ticket] == ["post"]
        content = ticket["post"]["responses"]["200"]["content"]["application/json"]
        data = schema["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        assert set(data["properties"]) == {"ticket", "expires_in"}

    async def test_nothing_goes_wrong_on_the_way(self, server: AppServer) -> None:
        """The server has logged no exception in all of this."""
        assert "Traceback" not in server.output()
