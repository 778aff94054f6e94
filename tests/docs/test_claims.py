"""What the pages' tables say of values, held against the code."""

import re
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import cache_revalidate
from cache_revalidate import (
    EVERYONE,
    CacheRevalidateMiddleware,
    Connection,
    Grant,
    InvalidTenantError,
    RedisStore,
    Refused,
    Revalidator,
    canonical_tenant,
)
from cache_revalidate.routing import RouteTable
from tests.docs.pages import DOCS, rows

Row = dict[str, str]


@pytest.mark.parametrize("row", rows(DOCS / "configuration.md", "you want"), ids=lambda row: row["you want"])
def test_cache_control_is_sent_as_the_page_says(row: Row) -> None:
    """Each `CacheControl` of the page makes the field beside it."""
    policy = eval(row["write"].strip("`"), vars(cache_revalidate))
    assert policy.field.decode() == row["is sent"].strip("`")


@pytest.mark.parametrize("row", rows(DOCS / "configuration.md", "form"), ids=lambda row: row["form"])
def test_redis_is_found_by_each_form_of_url(row: Row) -> None:
    """Each form in the page is taken, with and without what stands in brackets."""
    form = row["form"].strip("`").replace("rediss://...", "rediss://host")
    for url in (form.replace("...", "").replace("[", "").replace("]", ""), _without_brackets(form)):
        usable = url.replace("port", "7000").replace("/db", "" if "cluster" in url else "/2").replace("=db", "=2")
        for spelled in (usable, usable.replace("redis", "valkey", 1)):
            assert isinstance(RedisStore.from_url(spelled), RedisStore)


def test_tenants_become_canonical_as_the_page_says() -> None:
    """A value of the page's table, or the text that a typed parameter matches, gives the tenant beside it."""
    given = {row["value"]: row["canonical tenant"] for row in rows(DOCS / "concepts.md", "value")}
    uuid = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
    assert given.pop("`1`, or `01` matched by `{account_id:int}`") == f"`{canonical_tenant(1)}`" == "`1`"
    assert _matched("/{account_id:int}", "/01") == "1"
    assert given.pop('`UUID("6F9619FF-…")`, or that text matched by `{account_id:uuid}`') == "`6f9619ff-…`"
    assert canonical_tenant(UUID(uuid.upper())) == _matched("/{account_id:uuid}", f"/{uuid.upper()}") == uuid
    assert given.pop('`"acme"`') == f"`{canonical_tenant('acme')}`"
    assert given.pop('`"Acme"`').startswith(f"`{canonical_tenant('Acme')}`;")
    assert given.pop('`""`, `"a/b"`, `"é"`, a NUL, 129 characters, `-1`, `True`, `1.0`') == "`InvalidTenantError`"
    for value in ("", "a/b", "é", "\0", "a" * 129, -1, True, 1.0):
        with pytest.raises(InvalidTenantError):
            canonical_tenant(value)
    assert not given


def _refuse(*challenge: str) -> None:
    raise Refused(*challenge)


AUTHORIZE: dict[str, list[Callable[[], Any]]] = {
    "returns a string": [lambda: "ann"],
    "returns `EVERYONE`": [lambda: EVERYONE],
    "returns `Grant(viewer, expires_at=...)`": [lambda: Grant("ann", expires_at=time.time() + 60)],
    "returns `None` or `False`, or a `Grant` that is over, raises `Refused`": [
        *(lambda: None, lambda: False, _refuse),
        lambda: Grant("ann", expires_at=time.time() - 60),
    ],
    'raises `Refused("Bearer")`': [lambda: _refuse("Bearer")],
    "raises anything else, returns anything else": [lambda: 1 / 0, lambda: 7],
}


@pytest.mark.parametrize("row", rows(DOCS / "configuration.md", "it"), ids=lambda row: row["it"])
async def test_what_authorize_answers_does_what_the_page_says(row: Row) -> None:
    """Each answer gives the keys endpoint the page's status, and a declared route our headers or none."""
    app = Starlette(routes=[Route("/accounts/{account_id:int}/labels", lambda _: JSONResponse([]))])
    for answer in AUTHORIZE[row["it"]]:
        ours = CacheRevalidateMiddleware(
            app,
            revalidator=Revalidator(["label"]),
            authorize=_authorize(answer),
            keys_path="/accounts/{account_id:int}/cache_keys",
            routes={"/accounts/{account_id:int}/labels": ["label"]},
        )
        async with httpx.AsyncClient(transport=httpx.ASGITransport(ours), base_url="http://desk.test") as client:
            keys = await client.get("/accounts/1/cache_keys")
            labels = await client.get("/accounts/1/labels")
        refused = row["keys endpoint"].startswith("4")
        assert keys.status_code == int(row["keys endpoint"][:3] if refused else 200)
        if challenge := re.search("`WWW-Authenticate: (.+)`", row["keys endpoint"]):
            assert keys.headers["www-authenticate"] == challenge[1]
        assert labels.status_code == 200
        assert ("etag" in labels.headers) is ("without our headers" not in row["declared route"])


def _authorize(answer: Callable[[], Any]) -> Callable[[Connection, str], Any]:
    return lambda _connection, _tenant: answer()


def _matched(pattern: str, path: str) -> str:
    match = RouteTable({pattern: None}, tenant_parameter="account_id", needs_type=True).match(path)
    assert match is not None
    return match.tenant(canonical_tenant)


def _without_brackets(form: str) -> str:
    while "[" in form:
        form = re.sub(r"\[[^\[\]]*\]", "", form)
    return form
