"""The two apps, and a path beside each that says how many connections its hub has."""

import json
from importlib import import_module
from typing import Any

from cache_revalidate.types import ASGIApp, Receive, Scope, Send


def _counted(name: str) -> ASGIApp:
    example: Any = None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal example
        if example is None:  # Which app it is to be the server knows.
            example = import_module(name)
        if scope["type"] != "http" or scope["path"] != "/connections":
            await example.app(scope, receive, send)
            return
        stats = example.hub.stats
        body = json.dumps({"open": stats.connections, "opened": stats.opened}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


starlette = _counted("examples.starlette_app.app")
litestar = _counted("examples.litestar_app.app")
