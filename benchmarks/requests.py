"""Requests to an ASGI app within this process, without a server: what is left is the app's own work."""

from collections.abc import Mapping
from typing import Any

from benchmarks.contestants.desk import AUTHORIZATION, PATH
from benchmarks.rounds import Operation


class AppClient:
    """Sends GET requests to an app; keeps the last answer's start message."""

    def __init__(self, app: Any, path: str = PATH, headers: Mapping[str, str] | None = None) -> None:
        self._app = app
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [
                (name.encode(), value.encode())
                for name, value in {"host": "127.0.0.1", "authorization": AUTHORIZATION, **(headers or {})}.items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        self.start: dict[str, Any] = {}

    async def send(self) -> None:
        """Send one request; the scope is a new dict, as from a server."""
        await self._app({**self._scope}, _receive, self._take)

    async def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.start = message

    def header(self, name: bytes) -> str | None:
        """Return a header of the last answer."""
        return next((value.decode() for key, value in self.start["headers"] if key == name), None)


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def not_modified(app: Any, path: str = PATH) -> Operation:
    """Return the operation that asks an app with the ETag that it has just given, and is answered 304."""
    first = AppClient(app, path)
    await first.send()
    client = AppClient(app, path, {"if-none-match": first.header(b"etag") or ""})
    await client.send()
    if client.start["status"] != 304:
        raise RuntimeError(f"{path} was answered {client.start['status']}, not 304")
    return client.send
