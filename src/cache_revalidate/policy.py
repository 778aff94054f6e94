"""What the app declares of a route or a handler: the models its answers depend on, and how those are cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cache_revalidate.exceptions import ConfigurationError
from cache_revalidate.http.cache_control import CacheControl, checked_cache_control
from cache_revalidate.http.vary import vary_members, vary_names

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT_VARY: Final = ("Authorization", "Cookie")

# An app may choose by these, declared or not, and what it chooses between differs in meaning: HTML or JSON, English
# or German. A browser asks with the tag of the one it holds, whatever it wants now.
_NEGOTIATED: Final = (b"accept", b"accept-language")
# The viewer stands for the first two; by the others an answer's bytes or its CORS headers differ, not its meaning.
_NOT_SELECTING: Final = frozenset((b"authorization", b"cookie", b"accept-encoding", b"origin"))


class CachePolicy:
    """How the answers of a declared route are cached: the models they depend on, and the headers they get.

    `vary` names the request headers that tell two viewers, or two forms of the answer, apart: an HTTP cache compares
    those before it compares anything else, and a validator covers their values. Raises `ConfigurationError` for an
    empty list of models or a name that is no header's.
    """

    __slots__ = ("cache_control", "models", "selecting", "vary")

    def __init__(
        self,
        models: Iterable[str],
        *,
        cache_control: CacheControl | None = None,
        vary: Iterable[str] = DEFAULT_VARY,
    ) -> None:
        try:
            self.models: Final = (models,) if isinstance(models, str) else tuple(models)
        except TypeError as error:
            raise ConfigurationError(f'The models are {models!r:.60}, not a list of names: write ["label"].') from error
        self.cache_control: Final = CacheControl() if cache_control is None else checked_cache_control(cache_control)
        self.vary: Final = vary_names(vary)
        names = {*_NEGOTIATED, *map(bytes.lower, self.vary)}
        self.selecting: Final = frozenset(names - _NOT_SELECTING)
        """The request headers, besides those of the viewer, by which answers of different meaning are chosen."""
        if not self.models:
            raise ConfigurationError('A declared route depends on at least one model: write ["label"], say.')

    def uncovered(self, vary: bytes) -> list[bytes]:
        """Return the members of an app's Vary whose values no validator of this policy covers."""
        members = {member.lower() for member in vary_members(vary)}
        return sorted(members - _NOT_SELECTING - self.selecting)
