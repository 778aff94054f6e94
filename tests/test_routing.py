"""Path patterns, as `cache_revalidate.routing` reads and matches them."""

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_revalidate import ConfigurationError, InvalidTenantError, canonical_tenant
from cache_revalidate.routing import RouteTable, local_path

UUID_TEXT = "6F9619FF-8B86-D011-B42D-00CF4FC964FF"


def table(*patterns: str, needs_type: bool = True) -> RouteTable[str]:
    """Make a table in which each pattern stands for itself."""
    return RouteTable({pattern: pattern for pattern in patterns}, tenant_parameter="account_id", needs_type=needs_type)


def tenant_of(routes: RouteTable[str], path: str) -> str:
    """Return the tenant that a matching path names."""
    match = routes.match(path)
    assert match is not None
    return match.tenant(canonical_tenant)


def test_each_path_finds_its_pattern() -> None:
    """Of many patterns the one that fits is found, with the tenant's segment."""
    patterns = [f"/accounts/{{account_id:int}}/list{number}" for number in range(200)]
    routes = table(*patterns, "/a/{other:str}/b/{account_id:uuid}/{last:int}")
    for number in (0, 7, 199):
        match = routes.match(f"/accounts/42/list{number}")
        assert match is not None
        assert match.target == patterns[number]
        assert match.tenant(canonical_tenant) == "42"
    assert tenant_of(routes, f"/a/x/b/{UUID_TEXT}/3") == UUID_TEXT.lower()


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/accounts/1",
        "/accounts//labels",
        "/accounts/1/labels/",
        "/accounts/1/labels\n",
        "/accounts/+1/labels",
        "/accounts/1_0/labels",
        "/accounts/-1/labels",
        "/accounts/1.0/labels",
        "/accounts/\u0661/labels",
        "/accounts/1\x00/labels",
        "/accounts/1/2/labels",
        "/accounts/%31/labels",
        "/x/accounts/1/labels",
        "/accountsX1/labels",
    ],
)
def test_what_is_no_int_or_another_path_matches_nothing(path: str) -> None:
    """A path that is spelled in any other way is left to the app."""
    assert table("/accounts/{account_id:int}/labels").match(path) is None


def test_spellings_of_one_tenant_are_one_tenant() -> None:
    """`01` and `1` share their tokens, and so do a UUID's spellings (rule 22)."""
    ints, uuids = table("/{account_id:int}"), table("/{account_id:uuid}")
    assert tenant_of(ints, "/01") == tenant_of(ints, "/1") == "1"
    assert tenant_of(uuids, f"/{UUID_TEXT}") == tenant_of(uuids, f"/{UUID_TEXT.replace('-', '').lower()}")


@pytest.mark.parametrize("digits", [300, 5000])
def test_a_tenant_of_too_many_digits_is_invalid(digits: int) -> None:
    """A number too long for a tenant, or for Python, is an `InvalidTenantError`."""
    match = table("/{account_id:int}").match("/" + "9" * digits)
    assert match is not None
    with pytest.raises(InvalidTenantError):
        match.tenant(canonical_tenant)


@pytest.mark.parametrize(
    ("pattern", "mend"),
    [
        ("accounts/{account_id:int}", "begin with a slash"),
        ("/accounts/labels", r"needs the parameter \{account_id:int\}"),
        ("/accounts/{id:int}/labels", "tenant_parameter="),
        ("/accounts/{account_id}/labels", r"say \{account_id:int\}"),
        ("/accounts/{account_id:str}/labels", "canonical="),
        ("/accounts/{account_id:path}/labels", "int, uuid, str"),
        ("/a/{account_id:int}/{account_id:int}", "twice"),
        ("/a/{account_id:int}/{oops", "brace"),
        ("/a/{account_id:int}/{}", "brace"),
    ],
)
def test_a_pattern_that_could_not_work_is_refused(pattern: str, mend: str) -> None:
    """A wrong pattern is an error when the table is made, and the message names the mend."""
    with pytest.raises(ConfigurationError, match=mend):
        table(pattern)


def test_an_untyped_tenant_is_taken_where_a_function_makes_it_canonical() -> None:
    """With a canonical function of the app's own, a pattern may leave the tenant untyped."""
    routes = table("/w/{account_id}/labels", needs_type=False)
    assert tenant_of(routes, "/w/Acme/labels") == "Acme"
    assert routes.match("/w/a/b/labels") is None


def test_an_empty_table_matches_nothing() -> None:
    """No routes, no matches."""
    assert table().match("/") is None


def test_a_literal_is_no_expression() -> None:
    """Characters that mean something in a regular expression mean themselves in a path."""
    routes = table("/a.b/{account_id:int}")
    assert routes.match("/a.b/1")
    assert routes.match("/aXb/1") is None


@pytest.mark.parametrize(
    ("root", "path", "local"),
    [
        ("", "/a", "/a"),
        ("/sub", "/sub/a", "/a"),
        ("/sub/", "/sub/a", "/a"),
        ("/sub", "/subway/a", "/subway/a"),
        ("/sub", "/a", "/a"),
        ("/sub", "/sub", ""),
        ("/", "/a", "/a"),
    ],
)
def test_the_root_path_is_taken_off_where_it_is_there(root: str, path: str, local: str) -> None:
    """A mounted app matches below its mount, at a segment's end, with servers that keep the root path and others."""
    assert local_path({"path": path, "root_path": root}) == local


SEGMENTS = ["", "a", "b", "1", "01", "a.b", "1-a", "x1", UUID_TEXT, "a\n", "\u0661"]
PATTERN_SEGMENTS = ["", "a", "b", "1", "a.b", "{x}", "{x:int}", "{x:uuid}", "{x:int}-a", "x{x:int}", "a{x}"]
TENANT_SEGMENTS = ["{account_id:int}", "{account_id:uuid}", "{account_id}", "x{account_id:int}", "{account_id:int}-{z}"]
EXPRESSIONS = {
    "int": "[0-9]+",
    "uuid": "[0-9A-Fa-f]{8}(?:-?[0-9A-Fa-f]{4}){3}-?[0-9A-Fa-f]{12}",
    "str": "[^/]+",
}


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """Make a pattern: segments with and without parameters, one of them the tenant's."""
    segments = draw(st.lists(st.sampled_from(PATTERN_SEGMENTS), max_size=3))
    segments = [segment.replace("{x", f"{{x{number}") for number, segment in enumerate(segments)]
    segments.insert(draw(st.integers(0, len(segments))), draw(st.sampled_from(TENANT_SEGMENTS)))
    return "/" + "/".join(segments)


def matched(declared: list[str], path: str) -> tuple[str, str] | None:
    """Return the first pattern that matches, and the tenant's segment, by trying one after the other."""
    for pattern in declared:
        pieces = re.split(r"\{(\w+)(?::(\w+))?\}", pattern)
        expression = re.escape(pieces[0])
        for name, kind, literal in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
            group = "" if name == "account_id" else "?:"
            expression += f"({group}{EXPRESSIONS[kind or 'str']}){re.escape(literal)}"
        if found := re.fullmatch(expression, path):
            return pattern, found[1]
    return None


@given(st.lists(patterns(), max_size=12), st.lists(st.lists(st.sampled_from(SEGMENTS), max_size=5), min_size=1))
def test_the_first_declared_pattern_that_matches_wins(declared: list[str], paths: list[list[str]]) -> None:
    """Whatever is declared, a path finds what trying all patterns in order would find, and does so again."""
    routes = table(*declared, needs_type=False)
    for path in ["/".join(["", *segments]) for segments in paths] * 2:
        match = routes.match(path)
        assert (match and (match.target, match.segment)) == matched(list(dict.fromkeys(declared)), path)


@pytest.mark.parametrize("crowd", [0, 10])
def test_order_decides_between_patterns_of_other_shapes(crowd: int) -> None:
    """Of two that match one path and have their literal segments elsewhere, the first declared wins."""
    before = ["/q/{account_id:int}/b", *(f"/q{number}/{{account_id:int}}/b" for number in range(crowd))]
    general, special, open_ended = "/{a}/{account_id:int}/b", "/x/{account_id:int}/b", "/x/{account_id:int}/{c}"
    for first, second in ((general, special), (special, general), (open_ended, general), (general, open_ended)):
        match = table(*before, first, second).match("/x/1/b")
        assert match is not None
        assert match.target == first


def test_a_crowd_of_patterns_is_told_apart() -> None:
    """Where hundreds share their last literal segment, and differ before or after it, each is found, in order."""
    crowd = [f"/v{number}/{{account_id:int}}/labels" for number in range(100)]
    crowd += [f"/v{number}/{{account_id:int}}/labels/{{label_id:int}}" for number in range(100)]
    crowd += ["/{version}/{account_id:int}/labels", "/v7/{x}/labels/{account_id:int}", "/{account_id:int}/labels"]
    routes = table(*crowd)
    for number, end in product((0, 57, 99), ("labels", "labels/3")):
        match = routes.match(f"/v{number}/42/{end}")
        assert match is not None
        assert match.target.startswith(f"/v{number}/{{account_id:int}}/labels")
        assert match.segment == "42"
    for path, place in (("/other/1/labels", -3), ("/v7/x/labels/5", -2), ("/1/labels", -1)):
        match = routes.match(path)
        assert match is not None
        assert match.target == crowd[place]
    assert routes.match("/v100/x/labels") is None
    assert routes.match("/1/2/3/labels") is None


def test_what_an_apps_function_says_is_asked_anew() -> None:
    """A canonical function may change its mind about a path; what follows from the type alone is remembered."""
    names = {"acme": "1"}
    routes = table("/w/{account_id}", needs_type=False)
    path = "/w/acme"
    for tenant in ("1", "2"):
        names["acme"] = tenant
        match = routes.match(path)
        assert match is not None
        assert match.tenant(lambda value: names[str(value)]) == tenant
    ints = table("/{account_id:int}")
    assert ints.match("/1") is ints.match("/1")


def test_what_is_remembered_of_paths_is_bounded() -> None:
    """Neither many paths nor long ones are kept."""
    routes = table("/{account_id:int}")
    for tenant in range(10_000):
        assert tenant_of(routes, f"/{tenant}") == str(tenant)
        assert len(routes._recent) <= 8192
    long = "/" + "1" * 300
    assert routes.match(long) is not None
    assert long not in routes._recent
