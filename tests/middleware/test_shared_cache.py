"""Rule 11 with a real shared cache: nginx's `proxy_cache` between two users and the app."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.nginx import NginxServer
from tests.support.servers import AppServer


@pytest.fixture(scope="module")
def app() -> Iterator[AppServer]:
    """The app, in a process of its own."""
    with AppServer("tests.middleware.shared_cache_app:app") as app:
        yield app


@pytest.fixture(scope="module")
def cached_url(app: AppServer) -> Iterator[str]:
    """The app's URL behind nginx."""
    with NginxServer(app.base_url) as nginx:
        yield nginx.base_url


def rows(url: str, user: str) -> str:
    """Return what `user` is answered."""
    answer = httpx.get(url, headers={"x-user": user})
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize("path", ["/default/1", "/aged/1"])
def test_a_shared_cache_keeps_no_private_answer(cached_url: str, path: str) -> None:
    """Under the default policy, with or without an age, a shared cache hands no user's rows to another."""
    assert rows(cached_url + path, "ann") == "rows of ann"
    assert rows(cached_url + path, "bob") == "rows of bob"


def test_a_shared_cache_keeps_what_is_declared_public(cached_url: str) -> None:
    """What is declared public is shared: the cache is a real one, and this is what `public` means."""
    assert rows(cached_url + "/public/1", "ann") == "rows of ann"
    assert rows(cached_url + "/public/1", "bob") == "rows of ann"


def test_a_shared_cache_takes_the_condition_away_unless_told_not_to(app: AppServer, cached_url: str) -> None:
    """Where it may cache, nginx asks without the client's tag; told to pass it on, it passes the 304 back."""
    etag = httpx.get(cached_url + "/default/2", headers={"x-user": "ann"}).headers["etag"]
    condition = {"x-user": "ann", "if-none-match": etag}
    assert httpx.get(cached_url + "/default/2", headers=condition).status_code == 200
    with NginxServer(app.base_url, "proxy_set_header If-None-Match $http_if_none_match;") as nginx:
        assert httpx.get(nginx.base_url + "/default/2", headers=condition).status_code == 304
        assert httpx.get(nginx.base_url + "/default/2", headers=condition | {"x-user": "bob"}).text == "rows of bob"
