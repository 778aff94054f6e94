"""A desk whose lists are read from a replica, as an app of each framework; and a client that keeps what it is told."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any, Literal, TypeAlias, cast, get_args

import httpx
from adapters.sqlalchemy.tests.desk import Label
from fastapi import Depends, FastAPI
from litestar import Litestar, get
from litestar.params import FromPath
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cache_revalidate import EVERYONE, Revalidator, allow_everyone
from cache_revalidate.fastapi import Fresh
from cache_revalidate.litestar import RevalidateConfig, RevalidatePlugin
from cache_revalidate.starlette import CacheRevalidateMiddleware, FreshWhen

Titles: TypeAlias = Callable[[int], Awaitable[list[str]]]
ThreadedTitles: TypeAlias = Callable[[int], list[str]]
Framework: TypeAlias = Literal["middleware", "decorator", "fastapi", "litestar"]
FRAMEWORKS: tuple[Framework, ...] = get_args(Framework)
PATH = "/accounts/{account_id:int}/labels"


def titles_of(account: int) -> Any:
    """Return the query for the titles of an account's labels."""
    return select(Label.title).where(Label.account_id == account).order_by(Label.id)


def make_app(framework: Framework, revalidator: Revalidator, titles: Titles | ThreadedTitles) -> Any:
    """Return an app whose list of labels is what `titles` reads: in a thread, if that is not asynchronous."""
    if framework == "fastapi":
        return _fastapi(revalidator, titles)
    if framework == "litestar":
        return _litestar(revalidator, titles)
    if framework == "decorator":
        fresh_when = FreshWhen(revalidator, authorize=allow_everyone)
        endpoint = fresh_when("label")(_endpoint(titles))
        return Starlette(routes=[Route(PATH, endpoint)], middleware=[fresh_when.middleware])
    middleware = Middleware(
        CacheRevalidateMiddleware, revalidator=revalidator, authorize=allow_everyone, routes={PATH: ["label"]}
    )
    return Starlette(routes=[Route(PATH, _endpoint(titles))], middleware=[middleware])


def _endpoint(titles: Titles | ThreadedTitles) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(await cast("Titles", titles)(request.path_params["account_id"]))

    def threaded(request: Request) -> JSONResponse:
        return JSONResponse(titles(request.path_params["account_id"]))

    return endpoint if iscoroutinefunction(titles) else threaded


def _fastapi(revalidator: Revalidator, titles: Titles | ThreadedTitles) -> FastAPI:
    app = FastAPI()
    fresh = Fresh(revalidator, viewer=lambda: EVERYONE)
    fresh.install(app)

    async def labels(account_id: int) -> list[str]:
        return await cast("Titles", titles)(account_id)

    def threaded(account_id: int) -> list[str]:
        return cast("ThreadedTitles", titles)(account_id)

    handler = labels if iscoroutinefunction(titles) else threaded
    app.get("/accounts/{account_id}/labels", dependencies=[Depends(fresh("label"))])(handler)
    return app


def _litestar(revalidator: Revalidator, titles: Titles | ThreadedTitles) -> Litestar:
    @get(PATH, opt={"revalidate": ["label"]})
    async def labels(account_id: FromPath[int]) -> list[str]:
        return await cast("Titles", titles)(account_id)

    @get(PATH, opt={"revalidate": ["label"]}, sync_to_thread=True)
    def threaded(account_id: FromPath[int]) -> list[str]:
        return cast("ThreadedTitles", titles)(account_id)

    handler = labels if iscoroutinefunction(titles) else threaded
    config = RevalidateConfig(revalidator, viewer=allow_everyone)
    return Litestar([handler], plugins=[RevalidatePlugin(config)], logging_config=None)


class Holder:
    """A client of one account's list, which holds what it was answered as a browser's cache does."""

    def __init__(self, app: Any, account: int) -> None:
        self.app = app
        self._path = f"/accounts/{account}/labels"
        self.titles: list[str] | None = None
        self.etag: str | None = None
        self.answers: list[httpx.Response] = []

    async def ask(self) -> int:
        """Ask with the tag that is held; hold the answer unless that is 304. Return the status."""
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://desk") as client:
            answer = await client.get(self._path, headers={"if-none-match": self.etag} if self.etag else {})
        self.answers.append(answer)
        if answer.status_code != 304:
            assert answer.status_code == 200
            self.titles, self.etag = answer.json(), answer.headers.get("etag")
            assert (self.etag is None) == (answer.headers.get("cache-control") == "no-store")
            assert (self.etag is None) == ("cache-keys" not in answer.headers)
        return answer.status_code

    async def ask_until(self, titles: list[str], *, seconds: float = 20.0) -> None:
        """Ask until these titles are held under a tag."""
        await until(lambda: self._holds(titles), seconds=seconds)

    async def _holds(self, titles: list[str]) -> bool:
        await self.ask()
        return self.titles == titles and self.etag is not None


async def until(is_so: Callable[[], Awaitable[object]], *, seconds: float = 20.0) -> None:
    """Wait until a question is answered yes."""
    deadline = time.monotonic() + seconds
    while not await is_so():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        await asyncio.sleep(0.02)
