"""Problem details for our own endpoints' errors (RFC 9457)."""

from __future__ import annotations

import json
from http import HTTPStatus


def problem_details(status: int, detail: str) -> bytes:
    """Return the JSON body that explains an error, for the media type `application/problem+json`."""
    return json.dumps({"title": HTTPStatus(status).phrase, "status": status, "detail": detail}).encode()
