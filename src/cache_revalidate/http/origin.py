"""Whether a page may open a stream: the Origin header and the app's own origin (RFC 6454)."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from cache_revalidate.exceptions import ConfigurationError

if TYPE_CHECKING:
    from cache_revalidate.types import Scope

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
PAGES_OF: Final = {"ws": "http", "wss": "https"}
"""The scheme of the pages from which a socket of another scheme is opened as one of the same origin."""

_FOREIGN_SITES: Final = frozenset((b"cross-site", b"same-site"))

_HIGHEST_PORT: Final = 65535
_LONGEST: Final = 512
_LONGEST_SHOWN: Final = 100
_MOST_REPORTED: Final = 64

_HOST: Final = r"(?P<host>\[[0-9a-f:.]+\]|[0-9a-z._~-]+)(?::(?P<port>[0-9]{1,5}))?"
_origin = re.compile(rf"(?P<scheme>[a-z][a-z0-9+.-]*)://{_HOST}", re.ASCII)
_host = re.compile(_HOST, re.ASCII)

_logger = logging.getLogger("cache_revalidate")


def canonical_origin(text: str) -> str | None:
    """Return an origin as browsers write it, `https://desk.example` or with `:8443`; None if `text` is no origin.

    Scheme and host in lower case, without the scheme's default port (sections 4 and 6.2). `null` is none.
    """
    found = _origin.fullmatch(text.lower()) if text.isascii() and len(text) <= _LONGEST else None
    return None if found is None else _written(found["scheme"], found["host"], found["port"])


def own_origin(scope: Scope) -> str | None:
    """Return the origin of the pages that the app itself serves under the URL of this request.

    That is the scheme that the server names, and the Host header, which is `:authority` in HTTP/2. None if there is no
    valid one, or there are two.
    """
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        return None
    scheme = scope.get("scheme") or ("ws" if scope["type"] == "websocket" else "http")
    found = _host.fullmatch(hosts[0].decode("latin-1").lower())
    return None if found is None else _written(PAGES_OF.get(scheme, scheme), found["host"], found["port"])


def _written(scheme: str, host: str, port: str | None) -> str | None:
    if host.startswith("["):
        try:
            host = f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            return None
    number = None if port is None else int(port)
    if number is None or number == _DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{number}" if number <= _HIGHEST_PORT else None


class OriginRule:
    """Lets pages of the app's own origin open streams, and those of the `allowed` ones: `["https://desk.example"]`.

    Browsers send cookies along with what a foreign page opens, and don't ask first whether it may open a WebSocket.
    Raises `ConfigurationError` for what is not an origin.
    """

    __slots__ = ("_allowed", "_reported")

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        if isinstance(allowed, str) or not isinstance(allowed, Iterable):
            raise ConfigurationError(f"origins is a list: write origins=[{str(allowed)!r}].")
        self._allowed = frozenset(map(_configured, allowed))
        self._reported: set[str] = set()

    def allows(self, scope: Scope) -> bool:
        """Say whether the request may open a stream, as far as its Origin header goes; log the first refusal of each.

        Without the header it may: browsers send it with whatever a page may read of another origin. What a page asks of
        one and can't read, as if it were an image, comes without it, and with Sec-Fetch-Site (Fetch Metadata): that may
        not, for it takes the room of others. With several, with one that is not exactly one origin, and with `null`, it
        may not either.
        """
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        if not origins:
            return not any(name == b"sec-fetch-site" and value in _FOREIGN_SITES for name, value in scope["headers"])
        origin = canonical_origin(origins[0]) if len(origins) == 1 else None
        if origin is None:
            self._report(ascii(", ".join(origins)[:_LONGEST_SHOWN]), "which is not the origin of a page.")
            return False
        own = own_origin(scope)
        if origin == own or origin in self._allowed:
            return True
        self._report(
            origin,
            f"but this app takes its own for {own}. If the page is yours, list it: origins=[{origin!r}]. If it is this "
            "app's own, behind a proxy that ends TLS, run the server with its option to believe the proxy's headers "
            "(uvicorn --proxy-headers --forwarded-allow-ips=...), and have the proxy pass Host on.",
        )
        return False

    def _report(self, origin: str, why: str) -> None:
        # Whoever makes up origins fills neither the memory nor the log.
        if origin in self._reported or len(self._reported) >= _MOST_REPORTED:
            return
        self._reported.add(origin)
        rest = " No more origins will be reported." if len(self._reported) == _MOST_REPORTED else ""
        _logger.warning("A stream was refused: its Origin is %s, %s%s", origin, why, rest)


def _configured(origin: str) -> str:
    """Return an origin from the app's configuration in its canonical form; raise `ConfigurationError` with the mend."""
    if not isinstance(origin, str):
        raise ConfigurationError(f"{origin!r} in origins is a {type(origin).__name__}: write 'https://desk.example'.")
    if found := canonical_origin(origin):
        if (scheme := found.partition(":")[0]) in PAGES_OF:
            raise ConfigurationError(
                f"{origin!r} in origins is a socket's, not a page's: write {PAGES_OF[scheme] + found[len(scheme) :]!r}."
            )
        return found
    raise ConfigurationError(f"{origin!r} in origins is no origin: {_mend(origin)}")


def _mend(origin: str) -> str:
    if "*" in origin:
        return "there are no wildcards, since any page could then act for your users. Name each origin."
    if origin.strip().lower() == "null":
        return "all pages without one send it, other people's sandboxed frames too. Serve yours from an origin."
    has_scheme = "://" in origin
    scheme, _, rest = origin.strip().partition("://") if has_scheme else ("", "", origin.strip().removeprefix("//"))
    host = re.split(r"[/?#]", rest)[0].rpartition("@")[2]
    exact = canonical_origin(f"{scheme or ('http' if _is_local(host) else 'https')}://{host}")
    if exact is None:
        return "write scheme://host or scheme://host:port, as location.origin shows it in the browser's console."
    wrong = "it has a path, a slash at its end, or more" if has_scheme else "the scheme is missing"
    return f"{wrong}. Write {exact!r}."


def _is_local(host: str) -> bool:
    return host.startswith(("localhost", "127.", "[::1]"))
