"""From a commit to a 304, on real servers, databases and stores."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import hishel
import hishel.httpx
import httpx
import pytest

from tests.examples.desks import (
    KEYS,
    LISTS,
    Desk,
    changed,
    etags_of,
    new_name,
    reached,
    statuses,
    tokens_of,
)

SECONDS = 20.0


@pytest.fixture
def label(agent: httpx.Client) -> Iterator[str]:
    """Give the path of a label that the test may change."""
    added = agent.post(LISTS["label"], json={"title": new_name()}).json()
    path = f"{LISTS['label']}/{added['id']}"
    yield path
    agent.delete(path)


@pytest.fixture
def inbox(agent: httpx.Client) -> Iterator[str]:
    """Give the path of an inbox that the test may change."""
    added = agent.post(LISTS["inbox"], json={"name": new_name()}).json()
    path = f"{LISTS['inbox']}/{added['id']}"
    yield path
    agent.delete(path)


@pytest.mark.parametrize("path", LISTS.values())
def test_second_get_is_304(desk: Desk, agent: httpx.Client, path: str) -> None:
    """The first GET of a list reaches handler and database; the second is a 304 that reaches neither, given copies."""
    first = agent.get(path)
    assert (first.status_code, reached(first)) == (200, {"handler", "db"})
    second = agent.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (second.status_code, second.content, reached(second)) == (304, b"", desk.setup.asked)


def test_second_get_of_keys_is_304(desk: Desk, agent: httpx.Client) -> None:
    """The keys don't reach the database where there are copies of them, and are a 304 when asked for again."""
    agent.get(KEYS)
    first = agent.get(KEYS)
    assert (first.status_code, reached(first)) == (200, desk.setup.asked)
    second = agent.get(KEYS, headers={"If-None-Match": first.headers["ETag"]})
    assert (second.status_code, second.content, reached(second)) == (304, b"", desk.setup.asked)


def test_label_edit_changes_label_alone(admin: httpx.Client, agent: httpx.Client, label: str) -> None:
    """An edit to a label changes `label` of its account; every other list of both accounts stays fresh."""
    before = {account: tokens_of(admin, account) for account in (1, 2)}
    etags = etags_of(admin, 1) | etags_of(admin, 2)
    assert set(statuses(admin, etags).values()) == {304}
    edit = agent.patch(label, json={"title": new_name()})
    assert edit.status_code == 200
    after = {account: tokens_of(admin, account) for account in (1, 2)}
    assert changed(before[1], after[1]) == {"label"}
    assert changed(before[2], after[2]) == set()
    assert edit.headers["Cache-Keys"] == f'label="{after[1]["label"]}"'
    expected = dict.fromkeys(etags, 304) | {LISTS["label"]: 200}
    assert statuses(admin, etags) == expected


def test_every_write_bumps_its_model(agent: httpx.Client) -> None:
    """Adding, changing and deleting a record, and adding and removing a member, each bump one model."""
    for model, key in (("label", "title"), ("inbox", "name"), ("team", "name")):
        before = tokens_of(agent)
        one = f"{LISTS[model]}/{agent.post(LISTS[model], json={key: new_name()}).json()['id']}"
        writes: list[tuple[str, str, dict[str, Any] | None]] = [("PATCH", one, {key: new_name()})]
        if model == "inbox":
            writes += [(method, f"{one}/members", {"user_ids": [1, 3]}) for method in ("POST", "DELETE")]
        writes.append(("DELETE", one, None))
        for method, path, body in writes:
            after = tokens_of(agent)
            assert changed(before, after) == {model}
            before = after
            assert agent.request(method, path, json=body).is_success
        assert changed(before, tokens_of(agent)) == {model}


def test_deleted_inbox_takes_members_along(agent: httpx.Client, inbox: str) -> None:
    """Deleting an inbox that has members bumps `inbox` alone."""
    agent.post(f"{inbox}/members", json={"user_ids": [1, 3]})
    before = tokens_of(agent)
    assert agent.delete(inbox).status_code == 204
    assert changed(before, tokens_of(agent)) == {"inbox"}


def test_write_that_changes_nothing(agent: httpx.Client, label: str, inbox: str) -> None:
    """An edit to what is there already, and a member added twice, keep every list fresh."""
    record = agent.patch(label, json={}).json()
    agent.post(f"{inbox}/members", json={"user_ids": [1]})
    before = tokens_of(agent)
    assert agent.patch(label, json={"title": record["title"]}).status_code == 200
    assert agent.post(f"{inbox}/members", json={"user_ids": [1]}).status_code == 200
    assert tokens_of(agent) == before


def test_failed_flush_changes_nothing(agent: httpx.Client, label: str) -> None:
    """An edit that the database refuses is 422 and rolled back: no token changes and every list stays fresh."""
    before, etags = tokens_of(agent), etags_of(agent)
    taken = agent.get(LISTS["label"]).json()["payload"][0]["title"]
    assert agent.patch(label, json={"title": taken}).status_code == 422
    assert tokens_of(agent) == before
    assert set(statuses(agent, etags).values()) == {304}


def test_rolled_back_flush_changes_nothing(other_agent: httpx.Client) -> None:
    """A deletion that was flushed and then rolled back changes no token, and the record is still there."""
    path = "/api/v1/accounts/2/inboxes"
    before, etags = tokens_of(other_agent, 2), etags_of(other_agent, 2)
    (last,) = other_agent.get(path).json()["payload"]
    refused = other_agent.delete(f"{path}/{last['id']}")
    assert (refused.status_code, reached(refused)) == (422, {"handler", "db"})
    assert tokens_of(other_agent, 2) == before
    assert set(statuses(other_agent, etags).values()) == {304}
    assert other_agent.get(path).json()["payload"] == [last]


def minted(answers: list[httpx.Response]) -> set[str]:
    """Return the tokens of `label` that writes minted; what commits at the same time may share one."""
    assert {answer.status_code for answer in answers} == {200}
    fields = {answer.headers["Cache-Keys"] for answer in answers}
    return {field.removeprefix('label="').removesuffix('"') for field in fields}


@pytest.fixture
async def writer(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client that sends many requests at once."""
    async with desk.async_client("demo-agent-1") as client:
        yield client


@pytest.fixture
async def labels(writer: httpx.AsyncClient) -> AsyncIterator[list[str]]:
    """Give the paths of labels that the test may change all at once."""
    added = [await writer.post(LISTS["label"], json={"title": new_name()}) for _ in range(12)]
    paths = [f"{LISTS['label']}/{response.json()['id']}" for response in added]
    yield paths
    for path in paths:
        await writer.delete(path)


async def edit_at_once(writer: httpx.AsyncClient, labels: list[str]) -> set[str]:
    """Edit every label at once; return the tokens that this minted."""
    return minted(await asyncio.gather(*(writer.patch(path, json={"title": new_name()}) for path in labels)))


async def test_writers_at_once(writer: httpx.AsyncClient, labels: list[str]) -> None:
    """Edits made at once all commit, each names a token that was new to it, and the largest is the one that stays."""
    before = (await writer.get(KEYS)).json()["cache_keys"]["label"]
    tokens = await edit_at_once(writer, labels)
    assert min(tokens) > before
    assert (await writer.get(KEYS)).json()["cache_keys"]["label"] == max(tokens)


def test_commits_within_a_second(agent: httpx.Client, label: str) -> None:
    """Edits that follow each other within one second each give a token of its own, and each is a 200 to who asks."""
    seen: set[str] = set()
    deadline = time.monotonic() + SECONDS
    while len({token[:10] for token in seen}) in {0, len(seen)}:
        assert time.monotonic() < deadline, "no two commits fell into one second"
        etag = agent.get(LISTS["label"]).headers["ETag"]
        (token,) = minted([agent.patch(label, json={"title": new_name()})])
        assert token not in seen
        seen.add(token)
        assert agent.get(LISTS["label"], headers={"If-None-Match": etag}).status_code == 200


async def test_workers_agree(desk: Desk, label: str) -> None:
    """After an edit, whichever worker is asked shows its author the same new token."""
    async with desk.async_client("demo-agent-1") as client:
        old = (await client.get(KEYS)).json()["cache_keys"]["label"]
        edit = await client.patch(label, json={"title": new_name()})
        answers = await asyncio.gather(*(client.get(KEYS) for _ in range(32)))
    shown = {answer.json()["cache_keys"]["label"] for answer in answers}
    assert len(shown) == 1
    assert shown != {old}
    assert edit.headers["Cache-Keys"] == f'label="{shown.pop()}"'


class RecordingTransport(httpx.HTTPTransport):
    """A transport that keeps what came over the wire, below a cache that hides it."""

    def __init__(self) -> None:
        super().__init__()
        self.responses: list[httpx.Response] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and note the response."""
        response = super().handle_request(request)
        self.responses.append(response)
        return response


def test_real_cache_client(desk: Desk, agent: httpx.Client, label: str, tmp_path: Path) -> None:
    """A private HTTP cache stores each list, revalidates it by 304 and shows an edit at once."""
    wire = RecordingTransport()
    storage = hishel.SqliteStorage(database_path=tmp_path / "cache.sqlite3")
    cache = hishel.httpx.CacheTransport(wire, storage=storage, rfc=hishel.CacheOptions(shared=False))
    with desk.client("demo-agent-1", transport=cache) as client:
        first = {path: client.get(path) for path in LISTS.values()}
        assert all(response.extensions["caching"]["stored"] for response in first.values())
        assert [response.status_code for response in wire.responses] == [200, 200, 200]
        wire.responses.clear()
        for path, response in first.items():
            second = client.get(path)
            assert (second.status_code, second.json()) == (200, response.json())
            assert second.extensions["caching"]["from_cache"]
        assert [response.status_code for response in wire.responses] == [304, 304, 304]
        assert all(reached(response) == desk.setup.asked for response in wire.responses)
        wire.responses.clear()
        title = new_name()
        agent.patch(label, json={"title": title})
        lists = {model: client.get(path).json() for model, path in LISTS.items()}
        assert title in {record["title"] for record in lists["label"]["payload"]}
        assert [response.status_code for response in wire.responses] == [200, 304, 304]
