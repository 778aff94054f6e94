"""What a conditional request says in its header, found in one pass over it (RFC 9110 section 13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

Header: TypeAlias = tuple[bytes, bytes]

_JUDGED: Final = frozenset((b"if-none-match", b"cache-keys", b"if-match", b"if-unmodified-since"))


class RequestFields:
    """Finds the fields that a 304 hangs on, and those named in `selecting`, by which an answer is chosen."""

    __slots__ = ("_selecting", "_wanted")

    def __init__(self, selecting: Collection[bytes] = ()) -> None:
        self._selecting = frozenset(selecting)
        self._wanted = self._selecting | _JUDGED

    def find(self, headers: Iterable[Header]) -> tuple[bytes | None, bytes | None, tuple[Header, ...]]:
        """Return If-None-Match, Cache-Keys, and the selecting headers in order.

        A field that comes in several lines has them joined by commas (section 5.3); it is None if it is not there.
        If-None-Match is None too if it is not to be judged here: If-Match and If-Unmodified-Since are evaluated
        before it (section 13.2.2), and the app alone can do that.
        """
        if_none_match: bytes | None = None
        cache_keys: bytes | None = None
        selected: list[Header] = []
        wanted, selecting, is_evaluated_before = self._wanted, self._selecting, False
        for name, value in headers:
            if name in wanted:
                if name in selecting:
                    selected.append((name, value))
                if name not in _JUDGED:
                    continue
                if name == b"if-none-match":
                    if_none_match = value if if_none_match is None else b"%b, %b" % (if_none_match, value)
                elif name == b"cache-keys":
                    cache_keys = value if cache_keys is None else b"%b, %b" % (cache_keys, value)
                else:
                    is_evaluated_before = True
        return None if is_evaluated_before else if_none_match, cache_keys, tuple(selected)
