"""`websockets` on its own server, and its `broadcast()`; one event is made for all by a POST to another path.

Run as a program with a port.
"""

import asyncio
import http
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.http11 import Request, Response

from benchmarks.contestants.feed import FIRE, news
from benchmarks.contestants.push_floor import HOST, loops

_connected: set[ServerConnection] = set()


async def handler(connection: ServerConnection) -> None:
    """Serve one connection."""
    await connection.recv()
    await connection.send(news().message)
    _connected.add(connection)
    try:
        await connection.wait_closed()
    finally:
        _connected.discard(connection)


def fire(connection: ServerConnection, request: Request) -> Response | None:
    """Tell all. The server knows no POST: the load generator makes it a GET."""
    if request.path != FIRE:
        return None
    broadcast(_connected, news().message)
    return connection.respond(http.HTTPStatus.NO_CONTENT, "")


async def main(port: int) -> None:
    """Serve until the process is ended."""
    async with serve(handler, HOST, port, process_request=fire, backlog=2048, compression=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loops()) as runner:
        runner.run(main(int(sys.argv[1])))
