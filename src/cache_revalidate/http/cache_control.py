"""Cache-Control (RFC 9111 section 5.2, RFC 5861), checked for contradictions when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cache_revalidate.exceptions import ConfigurationError


@dataclass(frozen=True)
class CacheControl:
    """How long an answer may be used without asking again; all times in whole seconds.

    The default, `private, no-cache`, has every use revalidated. `ConfigurationError` is raised for
    combinations that contradict each other.
    """

    max_age: int | None = None
    """Seconds for which a client may use the answer unasked; None: it revalidates every time (`no-cache`)."""

    stale_while_revalidate: int | None = None
    """Seconds after `max_age` for which a stale answer may be used while a new one is fetched (RFC 5861)."""

    stale_if_error: int | None = None
    """Seconds after `max_age` for which a stale answer may be used when a new one can't be had (RFC 5861)."""

    must_revalidate: bool = False
    """Forbid any use of a stale answer."""

    public: bool = False
    """Let shared caches keep the answer, authenticated or not (RFC 9111 section 3.5): only where it holds
    nothing that one user may see and another may not."""

    s_maxage: int | None = None
    """Seconds for which a shared cache may use the answer unasked; needs `public`."""

    def __post_init__(self) -> None:
        """Check each part, and the parts against each other."""
        for name in ("max_age", "stale_while_revalidate", "stale_if_error", "s_maxage"):
            seconds = getattr(self, name)
            if seconds is not None and (not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < 0):
                raise ConfigurationError(f"{name}={seconds!r} is not a whole number of seconds, 0 or more.")
        for name in ("must_revalidate", "public"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name}={getattr(self, name)!r} is not True or False.")
        if self.s_maxage is not None and not self.public:
            raise ConfigurationError(
                "s_maxage lets shared caches hand one user's answer to another: if all users may see the same, "
                "say public=True as well; else leave s_maxage out."
            )
        if self.max_age is None and (self._allows_stale or self.s_maxage is not None):
            raise ConfigurationError(
                "Without max_age the answer is sent with no-cache, which contradicts stale_while_revalidate, "
                "stale_if_error and s_maxage: give max_age (0 will do), or leave those out."
            )
        if self.s_maxage is not None and self._allows_stale:
            raise ConfigurationError(
                "s_maxage forbids shared caches any stale use (RFC 9111 section 5.2.2.10), which contradicts "
                "stale_while_revalidate and stale_if_error: leave one side out."
            )
        if self.must_revalidate and self._allows_stale:
            raise ConfigurationError(
                "must_revalidate forbids what stale_while_revalidate and stale_if_error allow: leave one side out."
            )

    @property
    def _allows_stale(self) -> bool:
        return self.stale_while_revalidate is not None or self.stale_if_error is not None

    @cached_property
    def field(self) -> bytes:
        """The field's value."""
        visibility = "public" if self.public else "private"
        directives = [visibility, "no-cache"] if self.max_age is None else [f"max-age={self.max_age}", visibility]
        if self.must_revalidate:
            directives.append("must-revalidate")
        for name, seconds in (
            ("s-maxage", self.s_maxage),
            ("stale-while-revalidate", self.stale_while_revalidate),
            ("stale-if-error", self.stale_if_error),
        ):
            if seconds is not None:
                directives.append(f"{name}={seconds}")
        return ", ".join(directives).encode("ascii")


def checked_cache_control(value: object) -> CacheControl:
    """Return `value` if it is a `CacheControl`, else raise `ConfigurationError`."""
    if not isinstance(value, CacheControl):
        raise ConfigurationError(
            f"The Cache-Control is a {type(value).__name__}: pass CacheControl(max_age=10), say, from cache_revalidate."
        )
    return value


def directive_names(fields: bytes) -> set[bytes]:
    """Return the lower-case names of the directives in a Cache-Control field.

    A quoted argument that holds a comma (`no-cache="a, b"`) adds a name that nobody asks for.
    """
    return {directive.partition(b"=")[0].strip().lower() for directive in fields.split(b",")}
