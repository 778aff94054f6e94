"""What an app itself says of its answers' caching, and what of it is repeated or warned of."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cache_revalidate.types import HeaderList

_REMEMBERED_ANSWERS: Final = 4096
_REPEATED: Final = frozenset((b"cache-control", b"vary", b"content-location", b"expires"))

_logger = logging.getLogger("cache_revalidate")


class OwnHeaders:
    """What the app itself said of an answer's caching, so that a 304 decided before the handler repeats it.

    Kept by entity tag, and only for answers where the app said anything; the least recently used go first. A
    process that has not sent such a 200 itself repeats what is declared: declare what your handlers would add.
    `usual` are the headers that the framework adds to each answer, known before the first one is sent.
    """

    def __init__(self, usual: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._usual = _repeated(usual)
        self._held: OrderedDict[bytes, tuple[tuple[bytes, bytes], ...]] = OrderedDict()
        self._warned_of = {b"*"}
        self._warned_of_unbound = False

    def remember(self, etag: bytes, headers: HeaderList) -> None:
        """Keep those of an answer's headers that its 304 has to repeat."""
        if repeated := _repeated(headers):
            self._held[etag] = repeated
            self._held.move_to_end(etag)
            if len(self._held) > _REMEMBERED_ANSWERS:
                self._held.popitem(last=False)
        else:
            self.forget(etag)

    def forget(self, etag: bytes) -> None:
        """Keep none of an answer's headers: the app says nothing in them that its 304 has to repeat."""
        self._held.pop(etag, None)

    def recall(self, etag: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """Return what was kept of the answer that `etag` belongs to: the very same until it is remembered anew."""
        repeated = self._held.get(etag)
        if repeated is None:
            return self._usual
        self._held.move_to_end(etag)
        return repeated

    def warn_of(self, uncovered: Iterable[bytes]) -> None:
        """Log, once for each, the headers that keep the answers from having a tag (`*` does so on purpose)."""
        for name in uncovered:
            if name not in self._warned_of:
                self._warned_of.add(name)
                header = name.decode("latin-1")
                _logger.warning(
                    "Answers of a declared route vary on %r and get no entity tag, because it is not declared: "
                    "name it in vary=[...], beside what tells two viewers apart.",
                    header,
                )

    def warn_of_unbound(self, models: Iterable[str]) -> None:
        """Log, once, that answers get no tag because a handler binds a part of what they depend on."""
        if not self._warned_of_unbound:
            self._warned_of_unbound = True
            _logger.warning(
                "Answers of a declared route get no entity tag: the handler binds a snapshot, but not for %s of the "
                "tenant in the path. Name all models that the route depends on where you bind it.",
                ", ".join(models),
            )


def _repeated(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(header for header in headers if header[0] in _REPEATED)
