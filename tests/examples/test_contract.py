"""What both apps answer to whom: access, shapes, validation, odd requests."""

from typing import Any

import httpx
import pytest

from tests.examples.desks import ACCOUNT, KEYS, LISTS, MODELS, ONE_EACH, Desk, etags_of, new_name, reached, tokens_of

pytestmark = pytest.mark.parametrize("desk", ONE_EACH, ids=str, indirect=True)

READ = [KEYS, *LISTS.values()]
WRITTEN = [
    ("POST", f"{ACCOUNT}/labels", {"title": "x"}),
    ("PATCH", f"{ACCOUNT}/labels/1", {"title": "x"}),
    ("DELETE", f"{ACCOUNT}/labels/1", None),
    ("POST", f"{ACCOUNT}/inboxes", {"name": "x"}),
    ("PATCH", f"{ACCOUNT}/inboxes/1", {"name": "x"}),
    ("DELETE", f"{ACCOUNT}/inboxes/1", None),
    ("POST", f"{ACCOUNT}/inboxes/1/members", {"user_ids": [1]}),
    ("DELETE", f"{ACCOUNT}/inboxes/1/members", {"user_ids": [1]}),
    ("POST", f"{ACCOUNT}/teams", {"name": "x"}),
    ("PATCH", f"{ACCOUNT}/teams/1", {"name": "x"}),
    ("DELETE", f"{ACCOUNT}/teams/1", None),
]


def is_json(response: httpx.Response) -> bool:
    """Say whether the body calls itself JSON, or problem details in JSON."""
    return response.headers["Content-Type"].split(";")[0] in {"application/json", "application/problem+json"}


@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer nobody", "Basic demo-agent-1", "demo-agent-1", "é"])
@pytest.mark.parametrize("path", READ)
def test_reading_needs_token(desk: Desk, anonymous: httpx.Client, path: str, authorization: str | None) -> None:
    """Without a token that the desk knows, every read is 401 with a challenge."""
    headers = {b"Authorization": authorization.encode("latin-1")} if authorization else {}
    response = anonymous.get(path, headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert reached(response) <= {"handler"}
    assert is_json(response)
    assert "ETag" not in response.headers


@pytest.mark.parametrize("path", READ)
def test_reading_another_account(agent: httpx.Client, other_agent: httpx.Client, path: str) -> None:
    """Another account's reads are 403, and a validator of its agent's doesn't make a 304 of it."""
    etag = agent.get(path).headers["ETag"]
    response = other_agent.get(path, headers={"If-None-Match": etag})
    assert response.status_code == 403
    assert "ETag" not in response.headers


@pytest.mark.parametrize("path", READ)
def test_signed_out_with_validator(agent: httpx.Client, anonymous: httpx.Client, path: str) -> None:
    """Whoever signed out gets no 304 for a validator that he kept."""
    etag = agent.get(path).headers["ETag"]
    assert anonymous.get(path, headers={"If-None-Match": etag}).status_code == 401


@pytest.mark.parametrize(("method", "path", "body"), WRITTEN)
def test_writing_needs_access(
    anonymous: httpx.Client,
    agent: httpx.Client,
    other_agent: httpx.Client,
    method: str,
    path: str,
    body: dict[str, Any] | None,
) -> None:
    """A write is 401 without a token, 403 to another account's agent, and changes nothing then."""
    before = tokens_of(agent)
    assert anonymous.request(method, path, json=body).status_code == 401
    assert other_agent.request(method, path, json=body).status_code == 403
    assert tokens_of(agent) == before


def test_admin_sees_both(admin: httpx.Client) -> None:
    """The admin reads both accounts, whose tokens differ."""
    one, two = tokens_of(admin, 1), tokens_of(admin, 2)
    assert set(one) == set(two) == MODELS
    assert not set(one.values()) & set(two.values())


def test_shapes(agent: httpx.Client) -> None:
    """Labels and inboxes come in a payload, teams bare, all with ids, as Chatwoot's client expects."""
    labels = agent.get(LISTS["label"]).json()
    inboxes = agent.get(LISTS["inbox"]).json()
    teams = agent.get(LISTS["team"]).json()
    assert list(labels) == list(inboxes) == ["payload"]
    assert {key for label in labels["payload"] for key in label} == {"id", "title", "color"}
    assert {key for inbox in inboxes["payload"] for key in inbox} == {"id", "name", "channel_type", "member_ids"}
    assert {key for team in teams for key in team} == {"id", "name", "description"}


def test_keys_endpoint(agent: httpx.Client) -> None:
    """The cache keys are strings by model beside an opaque tag, with Chatwoot's Cache-Control."""
    response = agent.get(KEYS)
    answer = response.json()
    assert set(answer) == {"cache_keys", "tag"}
    assert all(isinstance(token, str) for token in answer["cache_keys"].values())
    directives = {part.strip() for part in response.headers["Cache-Control"].split(",")}
    assert directives == {"max-age=10", "private", "stale-while-revalidate=300"}


@pytest.mark.parametrize(("kind", "key"), [("labels", "title"), ("inboxes", "name"), ("teams", "name")])
def test_record_lives_and_dies(agent: httpx.Client, kind: str, key: str) -> None:
    """A record is added with 201, changed with 200, deleted with 204, and 404 from then on."""
    path, first, second = f"{ACCOUNT}/{kind}", new_name(), new_name()
    added = agent.post(path, json={key: first})
    assert (added.status_code, added.json()[key]) == (201, first)
    one = f"{path}/{added.json()['id']}"
    changed = agent.patch(one, json={key: second})
    assert (changed.status_code, changed.json()[key]) == (200, second)
    listed = agent.get(path).json()
    assert changed.json() in (listed if kind == "teams" else listed["payload"])
    gone = agent.delete(one)
    assert (gone.status_code, gone.content) == (204, b"")
    assert agent.delete(one).status_code == agent.patch(one, json={}).status_code == 404


def test_members_come_and_go(agent: httpx.Client) -> None:
    """Members are added to an inbox and removed from it, and stand in the list of inboxes."""
    inbox = agent.post(f"{ACCOUNT}/inboxes", json={"name": new_name()}).json()
    members = f"{ACCOUNT}/inboxes/{inbox['id']}/members"
    assert agent.post(members, json={"user_ids": [3, 1]}).json()["member_ids"] == [1, 3]
    assert agent.request("DELETE", members, json={"user_ids": [1, 2]}).json()["member_ids"] == [3]
    assert {**inbox, "member_ids": [3]} in agent.get(f"{ACCOUNT}/inboxes").json()["payload"]
    assert agent.delete(f"{ACCOUNT}/inboxes/{inbox['id']}").status_code == 204


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("labels", {}),
        ("labels", []),
        ("labels", {"title": ""}),
        ("labels", {"title": "   "}),
        ("labels", {"title": None}),
        ("labels", {"title": 7}),
        ("labels", {"title": "x" * 81}),
        ("labels", {"title": "a\x00b"}),
        ("labels", {"title": "x", "color": "red"}),
        ("labels", {"title": "billing"}),
        ("inboxes", {"name": "x", "channel_type": 1}),
        ("inboxes/1/members", {}),
        ("inboxes/1/members", {"user_ids": []}),
        ("inboxes/1/members", {"user_ids": ["x"]}),
        ("inboxes/1/members", {"user_ids": [2]}),
        ("inboxes/1/members", {"user_ids": [10**30]}),
        ("teams", {"name": "x", "description": "x" * 201}),
    ],
)
def test_bad_body_is_422(agent: httpx.Client, path: str, body: object) -> None:
    """A body that says nothing usable is 422 with JSON that says why, and changes nothing."""
    before = tokens_of(agent)
    response = agent.post(f"{ACCOUNT}/{path}", json=body)
    assert response.status_code == 422, response.text
    assert is_json(response)
    assert response.json()["detail"]
    assert tokens_of(agent) == before


@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe", b'{"title": "\\ud800"}'])
def test_body_that_is_no_json(agent: httpx.Client, body: bytes) -> None:
    """A body that is no JSON at all is 400 with JSON."""
    response = agent.post(f"{ACCOUNT}/labels", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in {400, 422}, response.text
    assert is_json(response)


@pytest.mark.parametrize("record", ["labels/0", "labels/999999", f"labels/{2**31}", f"labels/{10**30}", "labels/4"])
def test_missing_record_is_404(agent: httpx.Client, record: str) -> None:
    """A record that the account has not, be it that another account has it, is 404 with JSON."""
    for response in (agent.patch(f"{ACCOUNT}/{record}", json={"title": "x"}), agent.delete(f"{ACCOUNT}/{record}")):
        assert response.status_code == 404
        assert is_json(response)


@pytest.mark.parametrize("path", [*READ, f"{ACCOUNT}/labels/1", f"{ACCOUNT}/inboxes/1/members"])
def test_wrong_method_is_405(agent: httpx.Client, path: str) -> None:
    """A method that a path doesn't take is 405 and names those it takes."""
    response = agent.put(path, json={})
    assert response.status_code == 405
    assert response.headers["Allow"]
    assert "ETag" not in response.headers


def answers_head(desk: Desk, path: str) -> bool:
    """Say whether a path takes HEAD: Starlette's handlers for GET do by themselves, Litestar's don't."""
    return desk.setup.app == "starlette" or path == KEYS


@pytest.mark.parametrize("path", READ)
def test_head_is_get_without_body(desk: Desk, agent: httpx.Client, path: str) -> None:
    """HEAD bears the validator of GET and is 304 by it, or is 405 by the app's own choice."""
    etag = agent.get(path).headers["ETag"]
    head = agent.head(path)
    again = agent.head(path, headers={"If-None-Match": etag})
    if answers_head(desk, path):
        assert (head.status_code, head.headers["ETag"], head.content) == (200, etag, b"")
        assert (again.status_code, again.headers["ETag"], reached(again)) == (304, etag, set())
    else:
        assert head.status_code == again.status_code == 405


@pytest.mark.parametrize("path", READ)
def test_head_without_access(
    desk: Desk, agent: httpx.Client, other_agent: httpx.Client, anonymous: httpx.Client, path: str
) -> None:
    """A HEAD needs the access that a GET needs, whatever validator it brings."""
    validator = {"If-None-Match": agent.get(path).headers["ETag"]}
    refused = (anonymous.head(path, headers=validator), other_agent.head(path, headers=validator))
    expected = [401, 403] if answers_head(desk, path) else [405, 405]
    assert [response.status_code for response in refused] == expected


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "nonsense",
        '"',
        'W/"',
        'W/"unfinished',
        ",,,",
        '"a" "b"',
        'w/"{tag}"',
        '"{tag}',
        "{tag}",
        "x" * 10_240,
    ],
)
@pytest.mark.parametrize("path", READ)
def test_validator_that_matches_nothing(agent: httpx.Client, path: str, value: str) -> None:
    """An If-None-Match that doesn't list the validator, or can't be read, gets the whole answer."""
    etag = agent.get(path).headers["ETag"]
    field = value.replace("{tag}", etag.removeprefix('W/"').removesuffix('"'))
    response = agent.get(path, headers={"If-None-Match": field})
    assert (response.status_code, response.headers["ETag"]) == (200, etag)
    assert response.json()


@pytest.mark.parametrize("path", READ)
def test_validator_among_others(agent: httpx.Client, path: str) -> None:
    """The validator is found in a list of 10 KB, in a repeated field, and written as a strong one."""
    etag = agent.get(path).headers["ETag"]
    others = ", ".join(f'"{number:040d}"' for number in range(230))
    assert len(others) > 10_000
    for fields in ([f"{others}, {etag}"], ['"a,b"', etag, '"c"'], [etag.removeprefix("W/")]):
        response = agent.get(path, headers=[("If-None-Match", field) for field in fields])
        assert (response.status_code, response.content) == (304, b"")


@pytest.mark.parametrize("spelling", ["01", "0001", "%31", "+1", "1%20", "1_0", "%D9%A1"])
def test_tenant_in_another_spelling(agent: httpx.Client, spelling: str) -> None:
    """However the app spells account 1, its answer shares account 1's token, or has no validator at all."""
    path = f"/api/v1/accounts/{spelling}/labels"
    response = agent.get(path)
    if response.status_code != 200:
        assert response.status_code in {400, 403, 404}
        assert "ETag" not in response.headers
        return
    if "ETag" not in response.headers:
        return
    assert response.headers["Cache-Keys"] == f'label="{tokens_of(agent)["label"]}"'
    validator = {"If-None-Match": response.headers["ETag"]}
    assert agent.get(path, headers=validator).status_code == 304
    agent.patch(f"{ACCOUNT}/labels/1", json={"title": new_name()})
    assert agent.get(path, headers=validator).status_code == 200


@pytest.mark.parametrize(
    "tenant", ["", "0", "-1", "9" * 300, "abc", "%00", "1%00", "1%2F2", "..", "%C3%A9", "%FF", "1;2", "null"]
)
@pytest.mark.parametrize("rest", ["labels", "cache_keys"])
def test_odd_tenant(agent: httpx.Client, tenant: str, rest: str) -> None:
    """A tenant that is none is refused or not found, and bears no validator."""
    response = agent.get(
        httpx.URL(f"{agent.base_url}/api/v1/accounts/").copy_with(
            raw_path=f"/api/v1/accounts/{tenant}/{rest}".encode("ascii")
        )
    )
    assert response.status_code in {400, 403, 404}
    assert "ETag" not in response.headers


def test_cors(desk: Desk, agent: httpx.Client) -> None:
    """A page of another origin may send validators and tokens, and read those it is sent."""
    origin = {"Origin": "http://localhost:5173"}
    asked = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,cache-keys,if-none-match",
    }
    preflight = agent.options(LISTS["label"], headers={**origin, **asked})
    assert preflight.is_success
    allowed = {name.strip().lower() for name in preflight.headers["Access-Control-Allow-Headers"].split(",")}
    assert {"if-none-match", "cache-keys"} <= allowed
    for path, etag in etags_of(agent).items():
        for status, validator in ((200, {}), (304, {"If-None-Match": etag})):
            response = agent.get(path, headers={**origin, **validator})
            assert response.status_code == status
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            exposed = {name.strip() for name in response.headers["Access-Control-Expose-Headers"].split(",")}
            assert exposed >= {"ETag", "Cache-Keys"}
            assert "Authorization" in response.headers["Vary"]


def test_same_headers_on_304(agent: httpx.Client) -> None:
    """A 304 bears the caching headers that its 200 bore."""
    for path in READ:
        whole = agent.get(path)
        fresh = agent.get(path, headers={"If-None-Match": whole.headers["ETag"]})
        assert fresh.status_code == 304
        for name in ("ETag", "Cache-Control", "Vary", "Cache-Keys"):
            assert fresh.headers.get(name) == whole.headers.get(name), name


@pytest.mark.parametrize(
    ("path", "kind"), [("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css")]
)
def test_page_is_served(anonymous: httpx.Client, path: str, kind: str) -> None:
    """The page and its parts are served to anyone."""
    response = anonymous.get(path)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith(kind)
