"""The library's own answers as Starlette's responses: what its plugin and FastAPI's share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

    from cache_revalidate.answer import Answer


def answer_response(answer: Answer, request: Request) -> Response:
    """Return the response that sends `answer`, with its headers alone."""
    response = Response(answer.body_for(request.method), answer.status)
    response.raw_headers = list(answer.headers)
    return response
