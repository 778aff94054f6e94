"""The bare middleware around other frameworks' apps: it needs nothing of them but ASGI."""

from collections.abc import AsyncIterator
from typing import cast

import django  # type: ignore[import-untyped]
import pytest
from django.conf import settings  # type: ignore[import-untyped]
from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from quart import Quart, Response

from cache_revalidate import CacheRevalidateMiddleware, Connection, Revalidator, Viewer
from cache_revalidate.types import ASGIApp
from tests.plugins.contract import KEYS, LABELS, client_of, etag_of
from tests.plugins.desk import ACCOUNT

PATTERN = "/api/v1/accounts/{account_id:int}"
STREAM = f"{ACCOUNT}/stream"


class Rows:
    """What the handlers of the app under test share: a count, and what they bump."""

    def __init__(self) -> None:
        self.revalidator = Revalidator(["label", "team"])
        self.handled = 0

    def handle(self) -> str:
        """Count a handler's run and return what it answers."""
        self.handled += 1
        return "rows"

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give a long answer in parts."""
        self.handled += 1
        for number in range(3):
            yield b"%d " % number


def quart_app(rows: Rows) -> ASGIApp:
    """Return a Quart app."""
    app = Quart("desk")

    @app.get("/api/v1/accounts/<int:account_id>/labels")
    async def labels(account_id: int) -> str:
        return rows.handle()

    @app.post("/api/v1/accounts/<int:account_id>/labels")
    async def create_label(account_id: int) -> tuple[str, int]:
        await rows.revalidator.bump(account_id, "label")
        return "", 201

    @app.get("/api/v1/accounts/<int:account_id>/stream")
    async def stream(account_id: int) -> Response:
        return Response(rows.chunks())

    return cast("ASGIApp", app)


def django_app(rows: Rows) -> ASGIApp:
    """Return Django's own ASGI app, whose URLs this module holds."""

    async def labels(request: HttpRequest, account_id: int) -> HttpResponse:
        if request.method == "POST":
            await rows.revalidator.bump(account_id, "label")
            return HttpResponse(status=201)
        return JsonResponse({"rows": rows.handle()})

    async def stream(request: HttpRequest, account_id: int) -> StreamingHttpResponse:
        return StreamingHttpResponse(rows.chunks())

    class Urls:
        urlpatterns = (
            path("api/v1/accounts/<int:account_id>/labels", labels),
            path("api/v1/accounts/<int:account_id>/stream", stream),
        )

    if not settings.configured:
        settings.configure(SECRET_KEY="not a secret", ALLOWED_HOSTS=["desk"])
        django.setup()
    settings.ROOT_URLCONF = Urls
    return cast("ASGIApp", get_asgi_application())


def agent_of_account(connection: Connection, tenant: str) -> Viewer | None:
    """Let ann see account 1."""
    return "ann" if tenant == "1" and connection.headers.get("authorization") == "Bearer ann" else None


@pytest.fixture
def rows() -> Rows:
    """What the app's handlers share."""
    return Rows()


@pytest.fixture(params=[quart_app, django_app])
def app(request: pytest.FixtureRequest, rows: Rows) -> ASGIApp:
    """An app of each framework, behind the middleware."""
    return CacheRevalidateMiddleware(
        request.param(rows),
        revalidator=rows.revalidator,
        authorize=agent_of_account,
        routes={f"{PATTERN}/labels": ["label"], f"{PATTERN}/stream": ["label"]},
    )


async def test_keys_endpoint(app: ASGIApp, rows: Rows) -> None:
    """The middleware serves the keys, and refuses who may not see them, without the app."""
    async with client_of(app) as ann, client_of(app, "bob") as bob:
        first = await ann.get(KEYS)
        assert first.json()["cache_keys"] == await rows.revalidator.tokens(1)
        match = {"if-none-match": first.headers["etag"]}
        assert (await ann.get(KEYS, headers=match)).status_code == 304
        assert (await bob.get(KEYS, headers=match)).status_code == 403


@pytest.mark.parametrize("path", [LABELS, STREAM])
async def test_second_get_is_not_modified(app: ASGIApp, rows: Rows, path: str) -> None:
    """What is current is answered 304 without a handler, a list and a stream alike."""
    async with client_of(app) as client:
        first = await client.get(path)
        assert "rows" in first.text or first.text == "0 1 2 "
        second = await client.get(path, headers={"if-none-match": first.headers["etag"]})
        assert (second.status_code, second.content) == (304, b"")
        assert rows.handled == 1


async def test_write_makes_it_stale(app: ASGIApp, rows: Rows) -> None:
    """The answer to a write names the token that its handler minted, and the list is new from then on."""
    async with client_of(app) as client:
        match = {"if-none-match": await etag_of(client)}
        written = await client.post(LABELS)
        assert written.status_code == 201
        assert written.headers["cache-keys"] == f'label="{(await rows.revalidator.tokens(1, "label"))["label"]}"'
        assert (await client.get(LABELS, headers=match)).status_code == 200


async def test_refused_is_untouched(app: ASGIApp, rows: Rows) -> None:
    """Who is refused reaches the app, which answers as it always would, without a tag."""
    async with client_of(app) as ann, client_of(app, "bob") as bob:
        response = await bob.get(LABELS, headers={"if-none-match": await etag_of(ann)})
        assert response.status_code == 200
        assert not {"etag", "cache-keys"} & set(response.headers)
        assert rows.handled == 2


async def test_unknown_path_is_the_apps(app: ASGIApp) -> None:
    """What matches nothing gets the app's own 404."""
    async with client_of(app) as client:
        response = await client.get("/nothing")
        assert response.status_code == 404
        assert "etag" not in response.headers
