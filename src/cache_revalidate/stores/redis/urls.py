"""Where a Redis is, read from a URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from cache_revalidate.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["standalone", "unix", "sentinel", "cluster"]

_FORMS: Final = (
    "redis://[user:password@]host[:port][/db]",
    "rediss://... (the same over TLS; likewise for the forms below)",
    "unix:///path/to/redis.sock[?db=0]",
    "redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/db]",
    "redis+cluster://[user:password@]host[:port][,host[:port]...]",
)
_KINDS: Final[Mapping[str, Kind]] = {
    "redis": "standalone",
    "rediss": "standalone",
    "unix": "unix",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}
_REDIS_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_TLS_OPTIONS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis is and how to sign in to it."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    """Hosts and ports: of the one Redis, of its sentinels, or of some nodes of its cluster."""
    socket: str = ""
    """The path of a Unix socket."""
    service: str = ""
    """The name by which the sentinels know the Redis."""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Mapping[str, str | bool] = field(default_factory=dict)
    """redis-py's arguments for TLS; none at all without it."""

    def __str__(self) -> str:
        """Return the URL without what is secret in it, for messages."""
        scheme = {"standalone": "redis", "unix": "unix"}.get(self.kind, f"redis+{self.kind}")
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{scheme.replace('redis', 'rediss') if self.tls else scheme}://{hosts}{self.socket or self._path()}"

    def _path(self) -> str:
        parts = [self.service] if self.service else []
        return "".join(f"/{part}" for part in [*parts, *([str(self.db)] if self.db else [])])


def parse_url(url: str) -> Address:
    """Return the address that `url` names; raise `ConfigurationError`, which shows the right forms, if it names none.

    `valkey` may stand wherever `redis` does. Names, passwords and paths are percent-decoded (RFC 3986 section 2.1).
    """
    if not isinstance(url, str):
        _refuse(f"it is a {type(url).__name__}, not a string")
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        _refuse("it can't be read as a URL")
    scheme = parts.scheme.replace("valkey", "redis", 1)
    kind = _KINDS.get(scheme) or _refuse(f"its scheme is {parts.scheme[:20]!r}")
    path = [unquote(part) for part in parts.path.split("/") if part]
    tls = _tls(options) if scheme.startswith("rediss") else {}
    username, password = _credentials(parts)
    service = _service(kind, path)
    address = Address(
        kind=kind,
        hosts=_hosts(kind, parts),
        socket=_socket(kind, parts),
        service=service,
        db=_db(kind, options.pop("db", None), path[bool(service) :]),
        username=username,
        password=password,
        tls=tls,
    )
    if options:
        _refuse(f"it has an unknown option; known are db and, with TLS, {', '.join(_TLS_OPTIONS)}")
    if parts.fragment:
        _refuse("it has a '#': percent-encode it as %23")
    return address


def _credentials(parts: SplitResult) -> tuple[str | None, str | None]:
    user, at, _ = parts.netloc.rpartition("@")
    if not at:
        return None, None
    username, _, password = user.partition(":")
    return unquote(username) or None, unquote(password) or None


def _hosts(kind: Kind, parts: SplitResult) -> tuple[tuple[str, int], ...]:
    if kind == "unix":
        return ()
    default = _SENTINEL_PORT if kind == "sentinel" else _REDIS_PORT
    names = parts.netloc.rpartition("@")[2].split(",")
    if kind == "standalone" and len(names) > 1:
        _refuse("it names several hosts, which only the sentinel and cluster forms have")
    return tuple(_host(name, default) for name in names)


def _host(name: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{name}")
        host, port = parts.hostname, parts.port
    except ValueError:
        _refuse("a port is not a number from 1 to 65535, or its password holds a character to percent-encode")
    if not host:
        _refuse("it names no host, or one too few")
    if port == 0:
        _refuse("a port is 0")
    return host, port or default_port


def _socket(kind: Kind, parts: SplitResult) -> str:
    if kind != "unix":
        return ""
    # A relative path would put its first folder where a URL has its host.
    if not parts.path.strip("/") or parts.netloc.rpartition("@")[2]:
        _refuse("it needs the socket's absolute path after unix://")
    return unquote(parts.path)


def _service(kind: Kind, path: list[str]) -> str:
    if kind != "sentinel":
        return ""
    if not path:
        _refuse("it does not name the service that the sentinels watch")
    return path[0]


def _db(kind: Kind, option: str | None, path: list[str]) -> int:
    given = [*([] if kind == "unix" else path), *([] if option is None else [option])]
    if len(given) > 1 or not all(text.isascii() and text.isdigit() for text in given):
        _refuse("its database is not one number, 0 or more")
    db = int(given[0]) if given else 0
    if db and kind == "cluster":
        _refuse("a cluster has the database 0 alone")
    return db


def _tls(options: dict[str, str]) -> dict[str, str | bool]:
    tls: dict[str, str | bool] = {name: options.pop(name) for name in _TLS_OPTIONS if name in options}
    if "ssl_check_hostname" in tls:
        tls["ssl_check_hostname"] = str(tls["ssl_check_hostname"]).lower() in {"1", "true", "yes"}
    if tls.get("ssl_cert_reqs", "required") not in {"none", "optional", "required"}:
        _refuse("its ssl_cert_reqs is not none, optional or required")
    return {"ssl": True, **tls}


def _refuse(reason: str) -> NoReturn:
    # The URL's own text stays out of the message, and of the errors behind it: where a password holds a "/" or "?",
    # any part may be part of it.
    forms = "".join(f"\n  {form}" for form in _FORMS)
    raise ConfigurationError(f"The Redis URL can't be used: {reason}. It has one of these forms:{forms}") from None
