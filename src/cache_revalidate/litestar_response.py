"""The library's own answers as Litestar's responses: what its plugin's handlers return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from litestar import Response
from litestar.response.base import ASGIResponse

from cache_revalidate.http.headers import joined

if TYPE_CHECKING:
    from litestar import Litestar, Request
    from litestar.types import Receive as LitestarReceive
    from litestar.types import Scope as LitestarScope
    from litestar.types import Send as LitestarSend

    from cache_revalidate.answer import Answer
    from cache_revalidate.types import ASGIApp, HeaderList, Message

_OF_BODY = frozenset((b"content-type", b"content-length"))


class AnswerResponse(Response[Any]):
    """An answer of the library's own, as Litestar sends it: its headers win over those that the app's layers add."""

    def __init__(self, answer: Answer, request: Request[Any, Any, Any]) -> None:
        super().__init__(
            answer.body_for(request.method),
            status_code=answer.status,
            headers={
                name.decode(): (joined(answer.headers, name) or b"").decode("latin-1") for name, _ in answer.headers
            },
        )

    def to_asgi_response(
        self,
        app: Litestar | None,
        request: Request[Any, Any, Any],
        *,
        headers: dict[str, str] | None = None,
        **layered: Any,
    ) -> ASGIResponse:
        """Create the response for ASGI."""
        return super().to_asgi_response(
            app,
            request,
            headers={name: value for name, value in (headers or {}).items() if name.lower() not in self.headers},
            **layered,
        )


class ServedResponse(Response[Any]):
    """A response that an ASGI app sends: its headers win over those that the app's layers add."""

    def __init__(self, served: ASGIApp) -> None:
        super().__init__(b"")
        self._served = served

    def to_asgi_response(self, app: Litestar | None, request: Request[Any, Any, Any], **layered: Any) -> ASGIResponse:
        """Create the response for ASGI."""
        described = super().to_asgi_response(app, request, **layered)
        return _ServedASGIResponse(
            self._served, [each for each in described.encode_headers() if each[0] not in _OF_BODY]
        )


class _ServedASGIResponse(ASGIResponse):
    """What the app sends, with some headers more."""

    def __init__(self, served: ASGIApp, headers: HeaderList) -> None:
        super().__init__()
        self._served = served
        self._more = headers

    async def __call__(self, scope: LitestarScope, receive: LitestarReceive, send: LitestarSend) -> None:
        """Run the app."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                more = (header for header in self._more if header[0] not in own)
                message = {**message, "headers": [*message["headers"], *more]}
            await send(cast("Any", message))

        await self._served(cast("Any", scope), cast("Any", receive), sent)
