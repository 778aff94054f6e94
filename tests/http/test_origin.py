"""Which pages may open a stream, by the Origin of their request."""

import ipaddress
import logging
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_revalidate import ConfigurationError
from cache_revalidate.http.origin import OriginRule, canonical_origin, own_origin
from cache_revalidate.types import Scope

DESK = "https://desk.example"

DEFAULT_PORTS = {"http": 80, "https": 443}
SOCKETS = {"http": "ws", "https": "wss"}

NAMES = st.from_regex(r"[a-z0-9_-]{1,10}(\.[a-z0-9-]{1,10}){0,3}", fullmatch=True)
ADDRESSES = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda address: f"[{address}]"))
HOSTS = NAMES | ADDRESSES
SCHEMES = st.sampled_from(["http", "https"])
PORTS = st.none() | st.sampled_from([80, 443, 8000, 8443]) | st.integers(1, 65535)
PLACES = st.tuples(SCHEMES, HOSTS, PORTS)
"""Scheme, host and port, None where it is left out."""

Place = tuple[str, str, int | None]


def written(host: str, port: int | None) -> str:
    """Return a host as Host and Origin have it."""
    return host if port is None else f"{host}:{port}"


def place(scheme: str, host: str, port: int | None) -> tuple[str, str, int]:
    """Return what makes an origin: two are the same if all three are (RFC 6454 section 5)."""
    return scheme, host, port or DEFAULT_PORTS[scheme]


def asked(host: str | None, *origins: str, scheme: str | None = "https", kind: str = "http") -> Scope:
    """Return the scope of a request to a host, with these Origin headers."""
    headers = [(b"accept", b"text/event-stream")]
    headers += [(b"host", host.encode("latin-1"))] if host is not None else []
    headers += [(b"origin", origin.encode("latin-1")) for origin in origins]
    return {"type": kind, "headers": headers} | ({} if scheme is None else {"scheme": scheme})


@given(PLACES, PLACES)
def test_two_places_are_one_origin_if_scheme_host_and_port_are_one(first: Place, second: Place) -> None:
    """A page opens a stream of another place just if nothing differs but a default port that is left out."""
    (scheme, host, port), (other_scheme, other_host, other_port) = first, second
    for found, page in ((first, second), (first, first), (first, (scheme, host, other_port))):
        is_same = place(*found) == place(*page)
        origin = f"{page[0]}://{written(*page[1:])}"
        for kind, asked_scheme in (("http", scheme), ("websocket", SOCKETS[scheme])):
            assert OriginRule().allows(asked(written(host, port), origin, scheme=asked_scheme, kind=kind)) is is_same
        listed = OriginRule([f"{scheme}://{written(host, port)}"])
        assert listed.allows(asked("elsewhere.example", origin)) is is_same
    assert not OriginRule([f"{other_scheme}://{written(other_host, other_port)}"]).allows(asked(host, "null"))


@given(PLACES, st.data())
def test_letters_have_no_case(where: Place, data: st.DataObject) -> None:
    """Scheme and host are the same in upper and lower case, wherever they are named."""
    scheme, host, port = where
    small = f"{scheme}://{written(host, port)}"
    large = "".join(letter.upper() if data.draw(st.booleans()) else letter for letter in small)
    assert canonical_origin(large) == canonical_origin(small)
    assert OriginRule().allows(asked(written(host.upper(), port), large, scheme=scheme))
    assert OriginRule([large]).allows(asked(None, small))


@given(PLACES)
def test_an_origin_has_one_spelling(where: Place) -> None:
    """What is made canonical is so, names the same place to a parser of URLs, and has no default port."""
    scheme, host, port = where
    origin = canonical_origin(f"{scheme}://{written(host, port)}")
    assert origin is not None
    assert canonical_origin(origin) == origin
    parts = urlsplit(origin)
    assert (parts.scheme, parts.hostname) == (scheme, host.strip("[]"))
    assert parts.port == (None if port == DEFAULT_PORTS[scheme] else port)


@given(st.ip_addresses(v=6))
def test_a_long_address_is_the_short_one(address: ipaddress.IPv6Address) -> None:
    """An IPv6 address is the same in full and as browsers shorten it."""
    assert OriginRule().allows(asked(f"[{address.exploded}]:8000", f"https://[{address}]:8000"))


@given(st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)))
def test_garbage_is_refused(host: str, origin: str) -> None:
    """Whatever a header holds, a request is allowed or refused, and refused unless it names one origin."""
    is_origin = canonical_origin(origin) is not None
    for rule in (OriginRule(), OriginRule([DESK])):
        assert rule.allows(asked(host, origin)) <= is_origin
        assert rule.allows(asked(host)) is True


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "null",
            "NULL",
            "",
            " ",
            "*",
            "https://",
            "https://*",
            "desk.example",
            "//desk.example",
            "https:desk.example",
        ),
        *("https://desk.example/", "https://desk.example/a", "https://desk.example?a", "https://desk.example#a"),
        *("https://desk.example ", " https://desk.example", "https://desk.example\n", "https://desk.example\x00"),
        *("https://desk.example https://desk.example", "https://desk.example, https://desk.example"),
        *("https://me@desk.example", "https://desk.example:", "https://desk.example:x", "https://desk.example:65536"),
        *("https://desk.example:+443", "https://desk.example:000443", "https://desk.example:443:443"),
        *("https://desk.example.evil.example", "https://evil.example/desk.example", "https://xdesk.example"),
        *("https://desk.example%00", "https://desk.exämple", "https://[::1", "https://[::1]x", "https://[:::]"),
        *("https://desk.example.", "https://a.desk.example", "http://desk.example", "wss://desk.example"),
        "https://" + "a" * 600,
    ],
)
def test_what_is_not_exactly_an_origin_of_the_apps_is_refused(origin: str) -> None:
    """Nearly the app's own origin is not enough, nor nearly one that is listed."""
    assert not OriginRule().allows(asked("desk.example", origin))
    assert not OriginRule([DESK]).allows(asked("desk.example", origin))


def test_without_an_origin_a_request_is_no_foreign_pages() -> None:
    """A program that is no browser sends no Origin, and neither does a page that reads of its own."""
    assert OriginRule().allows(asked("desk.example"))
    assert OriginRule().allows(asked(None, kind="websocket", scheme="wss"))


def test_an_origin_has_a_length() -> None:
    """What is longer than any name of a host is no origin, and so is neither kept nor logged whole."""
    assert canonical_origin("https://" + "a" * 504) == "https://" + "a" * 504
    assert canonical_origin("https://" + "a" * 505) is None


def test_several_origins_are_refused() -> None:
    """Two Origin headers are refused, also if they are the same and allowed."""
    assert OriginRule([DESK]).allows(asked("desk.example", DESK))
    assert not OriginRule([DESK]).allows(asked("desk.example", DESK, DESK))


@pytest.mark.parametrize("host", [None, "", "desk.example/", "me@desk.example", "desk.example:99999", "[x]", "dësk"])
def test_without_a_host_there_is_no_own_origin(host: str | None) -> None:
    """A request that names no valid host, or two, is allowed from listed origins only."""
    assert own_origin(asked(host)) is None
    assert OriginRule([DESK]).allows(asked(host, DESK))
    twice = asked("desk.example", DESK)
    twice["headers"].append((b"host", b"desk.example"))
    assert not OriginRule().allows(twice)


def test_a_scope_without_a_scheme_is_not_encrypted() -> None:
    """A server that names no scheme means the one that ASGI has for it: http, and ws."""
    for kind in ("http", "websocket"):
        assert own_origin(asked("desk.example:80", scheme=None, kind=kind)) == "http://desk.example"


def test_origins_of_apps_may_be_listed() -> None:
    """Pages of an app's web view, and of an extension, have schemes of their own."""
    rule = OriginRule(["capacitor://localhost", "chrome-extension://abcdefghijklmnop"])
    assert rule.allows(asked("desk.example", "capacitor://localhost"))
    assert not rule.allows(asked("desk.example", "capacitor://localhost:443"))


@pytest.mark.parametrize(
    ("origin", "mend"),
    [
        ("*", "Name each origin"),
        ("https://*.desk.example", "Name each origin"),
        ("null", "sandboxed"),
        ("desk.example", "Write 'https://desk.example'"),
        ("localhost:3000", "Write 'http://localhost:3000'"),
        ("127.0.0.1:3000", "Write 'http://127.0.0.1:3000'"),
        ("//desk.example", "Write 'https://desk.example'"),
        ("desk.example/app", "Write 'https://desk.example'"),
        ("https://desk.example/", "Write 'https://desk.example'"),
        ("https://Desk.example:443/app?a#b", "Write 'https://desk.example'"),
        ("http://desk.example:8000/", "Write 'http://desk.example:8000'"),
        (" https://desk.example", "Write 'https://desk.example'"),
        ("https://me:secret@desk.example", "Write 'https://desk.example'"),
        ("wss://desk.example", "write 'https://desk.example'"),
        ("ws://desk.example:8000", "write 'http://desk.example:8000'"),
        ("https://büro.example", "location.origin"),
        ("https://desk.example:99999", "location.origin"),
        ("file://", "location.origin"),
        ("", "location.origin"),
        (7, "is a int"),
    ],
)
def test_what_is_no_origin_is_refused_when_it_is_listed(origin: str, mend: str) -> None:
    """A list that could not work, or would let in too many, is refused with what to write instead."""
    with pytest.raises(ConfigurationError, match=mend):
        OriginRule([origin])


@pytest.mark.parametrize("origins", [DESK, 7, None])
def test_origins_are_a_list(origins: list[str]) -> None:
    """One origin alone is refused with what to write."""
    with pytest.raises(ConfigurationError, match=r"origins=\["):
        OriginRule(origins)


def test_a_refusal_is_logged_once_with_the_mend(caplog: pytest.LogCaptureFixture) -> None:
    """The log names both origins, and how a proxy's is believed; once for each that was refused."""
    rule = OriginRule()
    for _ in range(3):
        assert not rule.allows(asked("desk.example", "HTTPS://desk.example", scheme="http"))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for part in ("Origin is https://desk.example,", "own for http://desk.example.", "--forwarded-allow-ips"):
        assert part in record.getMessage()
    assert "origins=['https://desk.example']" in record.getMessage()


@pytest.mark.parametrize("origin", ["null", "https://a\r\nb", "\x1b[2J" + "ü" * 500])
def test_what_is_no_origin_is_logged_harmlessly(origin: str, caplog: pytest.LogCaptureFixture) -> None:
    """Garbage is shown short and in ASCII, and nobody is told to list it."""
    assert not OriginRule().allows(asked("desk.example", origin))
    (message,) = caplog.messages
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 700
    assert "origins=[" not in message


def test_made_up_origins_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """After some dozens of origins no more are logged, which the last message says."""
    rule = OriginRule()
    for number in range(200):
        assert not rule.allows(asked("desk.example", f"https://{number}.example"))
        assert not rule.allows(asked("desk.example", f"{number}"))
    assert len(caplog.records) == 64
    assert ["No more" in message for message in caplog.messages] == [False] * 63 + [True]


@pytest.mark.parametrize(
    ("site", "allowed"), [("same-origin", True), ("none", True), ("same-site", False), ("cross-site", False)]
)
def test_a_request_that_its_page_cannot_read(site: str, allowed: bool) -> None:
    """Without an Origin, a browser's word that the page is a foreign one is enough to refuse."""
    scope = asked("desk.example")
    scope["headers"].append((b"sec-fetch-site", site.encode()))
    assert OriginRule().allows(scope) is allowed
