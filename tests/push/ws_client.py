"""A WebSocket client for tests: it answers heartbeats or does not, stops reading, and sends what no client should."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Self

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError

from tests.push.client import Client, client_socket
from tests.push.sse_client import EVENT
from tests.push.tenant_view import TenantView
from tests.push.waiting import until
from tests.support.servers import HOST


class EventSocket(Client):
    """One WebSocket, and what its client ends with."""

    def __init__(self, *, answers: bool = True) -> None:
        super().__init__()
        self.answers = answers
        """Whether it answers the library's heartbeats, and the protocol's pings."""
        self.is_open = False
        self.status = 101
        """Another if the handshake was refused."""
        self.subprotocol: str | None = None
        self.views: defaultdict[str, TenantView] = defaultdict(TenantView)
        """By tenant."""
        self.heartbeats: list[bool] = []
        """What each heartbeat said of the store."""
        self.refused: list[str] = []
        self.errors: list[dict[str, Any]] = []
        self.close_code: int | None = None
        """What the server gave as it closed; None if it gave none, or has not."""
        self._text = ""
        self._connection = WSConnection(ConnectionType.CLIENT)

    @classmethod
    async def open(
        cls,
        port: int,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        little: bool = False,
        answers: bool = True,
    ) -> Self:
        """Connect and wait for the handshake's end, be it an acceptance or a refusal."""
        connection = client_socket(little=little)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (HOST, port))
        _, client = await loop.create_connection(lambda: cls(answers=answers), sock=connection)
        extra = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        request = Request(host=f"{HOST}:{port}", target=path, subprotocols=list(subprotocols), extra_headers=extra)
        client._write(client._connection.send(request))
        await until(lambda: client.is_open or client.closed or client.status != 101, f"the handshake on {path}")
        return client

    def send(self, message: object) -> None:
        """Send a text frame of JSON."""
        self.send_text(json.dumps(message))

    def send_text(self, text: str) -> None:
        """Send a text frame."""
        self._write(self._connection.send(TextMessage(data=text)))

    def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        self._write(self._connection.send(BytesMessage(data=data)))

    def send_raw(self, data: bytes) -> None:
        """Send bytes that need not be frames at all."""
        self._write(data)

    def subscribe(self, tenant: int | str, known: Mapping[str, object] | None = None) -> None:
        """Subscribe to a tenant, showing what is `known` of it."""
        message: dict[str, object] = {"type": "subscribe", "account_id": tenant}
        self.send(message | ({"known": dict(known)} if known else {}))

    def data_received(self, data: bytes) -> None:
        """Read what there is."""
        self.received += len(data)
        try:
            self._connection.receive_data(data)
            for event in self._connection.events():
                self._handle(event)
        except RemoteProtocolError:
            # The server speaks HTTP after random bytes, or breaks off within a frame: there is no code then.
            self.close()

    def _handle(self, event: object) -> None:
        if isinstance(event, AcceptConnection):
            self.is_open = True
            self.subprotocol = event.subprotocol
            self.headers = {name.decode().lower(): value.decode() for name, value in event.extra_headers}
        elif isinstance(event, RejectConnection):
            self.status = event.status_code
            self.headers = {name.decode().lower(): value.decode() for name, value in event.headers}
        elif isinstance(event, Ping) and self.answers:
            self._write(self._connection.send(event.response()))
        elif isinstance(event, CloseConnection):
            self.close_code = event.code
            self._write(self._connection.send(event.response()))
        elif isinstance(event, Message):
            self._text += str(event.data)
            if event.message_finished:
                text, self._text = self._text, ""
                self._take(json.loads(text))

    def _take(self, message: dict[str, Any]) -> None:
        data = message["data"]
        if message["event"] == EVENT:
            self.views[str(data["account_id"])].take(data)
        elif message["event"] == "heartbeat":
            self.heartbeats.append(data["live"])
            if self.answers:
                self.send({"type": "pong"})
        elif message["event"] == "refused":
            self.refused.append(str(data["account_id"]))
        else:
            assert message["event"] == "error", message
            self.errors.append(data)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self.closed:
            self._transport.write(data)
