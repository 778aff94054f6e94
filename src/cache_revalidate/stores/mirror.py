"""Tokens of hot tenants in this process's memory, kept current by what a store publishes of its changes.

A tenant's events are subscribed to first, and only what is read after that is held, raised by all events that came
meanwhile: nothing can slip in between. An event raises what is held and never adds to it, for it may tell of less than
a read would have found.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cache_revalidate.stores.listening import Line, Listener
    from cache_revalidate.types import Changes, Tokens

_IDLE: Final = 60.0
"""Seconds after which a tenant that nobody asks for is no longer subscribed to."""


@dataclass(slots=True)
class MirrorStats:
    """What a store's mirror has counted since it was made; times are in seconds."""

    hits: int = 0
    """Reads that were answered from this process's memory."""
    misses: int = 0
    """Reads that were not."""
    events: int = 0
    """Changes that were heard of, this process's own among them."""
    tenants: int = 0
    """Tenants that are subscribed to now."""
    evicted: int = 0
    """Tenants that others have pushed out, being asked for more recently."""
    drops: int = 0
    """Times that a subscription was lost, or a ping not answered, so that all that it covered was dropped."""
    lag: float = 0.0
    """How far the mirror was behind the store, at most, when that was last measured: the round trip of a ping."""


class Feed(Protocol):
    """Where a mirror subscribes; its methods return at once."""

    def listen(self, channel: str, listener: Listener) -> object:
        """Subscribe to a channel, unless that is done, or under way, at the place where its events are published now.

        The listener is told that he has lost a subscription elsewhere, and once the new one is confirmed, or when it
        comes to nothing.
        """

    def leave(self, channel: str, listener: Listener) -> None:
        """Have a listener hear no more of a channel."""


class _Closed:
    believed_until: Final = 0.0


_CLOSED: Final = _Closed()


class Mirror:
    """The tokens of one namespace's hot tenants: those that are asked for again while an answer is held.

    `feed` tells of changes, on the channel that `channel` names for a tenant. At most `most` tenants are held; those
    that nobody has asked for longest go first. `held`, `raise_tokens` and `drop` may be called from any thread, the
    rest on the feed's event loop alone. `monotonic` is the clock, in seconds.
    """

    def __init__(
        self,
        feed: Feed,
        channel: Callable[[str], str],
        stats: MirrorStats,
        *,
        most: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._feed = feed
        self._channel = channel
        self._stats = stats
        self._most = most
        self._monotonic = monotonic
        # Oldest request first. Hits leave the order as it is: what is held soon ends, and then `reading` is next.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._asked: OrderedDict[str, float] = OrderedDict()

    def held(self, tenant: str, models: Sequence[str]) -> Tokens | None:
        """Return the tokens of `models` if all are held and may be believed."""
        entry = self._entries.get(tenant)
        tokens = None if entry is None else entry.tokens(models)
        if tokens is None:
            self._stats.misses += 1
        else:
            self._stats.hits += 1
        return tokens

    def reading(self, tenant: str, life: float) -> Reading | None:
        """Note that the store is about to be asked for a tenant's tokens; None if the answer is not to be held.

        The second time within `life`, the tenant is subscribed to; what is read once that is confirmed is held, for
        `life` seconds from now.
        """
        now = self._monotonic()
        self._let_go(now - max(_IDLE, 2 * life))
        entry = self._entries.get(tenant)
        if entry is None:
            if self._is_hot(tenant, now, life):
                self._enter(tenant, now)
            return None
        entry.asked = now
        self._entries.move_to_end(tenant)
        self._feed.listen(self._channel(tenant), entry)
        return entry.reading(now + life)

    def raise_tokens(self, tokens: Mapping[str, Tokens]) -> None:
        """Raise what is held, and what is being read, to what the store has just answered to a write.

        A larger one is not held on to: either it has come meanwhile, or the store has forgotten it.
        """
        for tenant, of_tenant in tokens.items():
            if entry := self._entries.get(tenant):
                entry.hear(of_tenant, is_answer=True)

    def drop(self, changes: Changes) -> None:
        """Hold nothing of these tenants' models, nor of what is being read of them."""
        for tenant, models in changes.items():
            if entry := self._entries.get(tenant):
                entry.hear(dict.fromkeys(models, ""))

    def close(self) -> None:
        """Hold nothing any more."""
        for tenant in list(self._entries):
            self._leave(tenant)

    def _is_hot(self, tenant: str, now: float, life: float) -> bool:
        before = self._asked.pop(tenant, None)
        if before is not None and now - before < life:
            return True
        self._asked[tenant] = now
        if len(self._asked) > self._most:
            self._asked.popitem(last=False)
        return False

    def _enter(self, tenant: str, now: float) -> None:
        entry = self._entries[tenant] = _Entry(self._stats, self._monotonic, now)
        self._stats.tenants += 1
        if len(self._entries) > self._most:
            self._leave(next(iter(self._entries)))
            self._stats.evicted += 1
        self._feed.listen(self._channel(tenant), entry)

    def _let_go(self, asked_before: float) -> None:
        """Leave up to two tenants that nobody asks for: more than come in, so that they don't pile up."""
        for _ in range(2):
            tenant = next(iter(self._entries), None)
            if tenant is None or self._entries[tenant].asked > asked_before:
                return
            self._leave(tenant)

    def _leave(self, tenant: str) -> None:
        entry = self._entries.pop(tenant)
        self._stats.tenants -= 1
        self._feed.leave(self._channel(tenant), entry)
        entry.lost()


class _Entry:
    """What is held of one tenant, while its line is believed."""

    __slots__ = ("_known", "_lock", "_monotonic", "_readings", "_stats", "asked")

    def __init__(self, stats: MirrorStats, monotonic: Callable[[], float], now: float) -> None:
        self.asked = now
        self._stats = stats
        self._monotonic = monotonic
        # The line, and each model's token and until when it is held: replaced as a whole, and so read without the lock.
        self._known: tuple[Line, Mapping[str, tuple[str, float]]] = (_CLOSED, {})
        self._readings: set[Reading] = set()
        self._lock = threading.Lock()

    def tokens(self, models: Sequence[str]) -> Tokens | None:
        """Return the tokens of `models`; None unless all are held."""
        line, held = self._known
        now = self._monotonic()
        if now >= line.believed_until:
            return None
        tokens = {}
        for model in models:
            token = held.get(model)
            if token is None or now >= token[1]:
                return None
            tokens[model] = token[0]
        return tokens

    def reading(self, until: float) -> Reading | None:
        """Begin a reading whose tokens are to be held until then; None while there is no subscription."""
        with self._lock:
            if self._known[0] is _CLOSED:
                return None
            reading = Reading(self, until)
            self._readings.add(reading)
        return reading

    def end(self, reading: Reading, tokens: Tokens) -> Tokens:
        """Hold what was read, unless the subscription was lost meanwhile; return it with all counted in."""
        with self._lock:
            raised = {model: max(token, reading.raised.get(model, "")) for model, token in tokens.items()}
            if reading in self._readings:
                self._readings.discard(reading)
                line, held = self._known
                now = self._monotonic()
                known = {model: token for model, token in held.items() if now < token[1]}
                for model, token in raised.items():
                    if model not in reading.dropped and token >= known.get(model, ("",))[0]:
                        known[model] = (token, reading.until)
                self._known = (line, known)
        return raised

    def forget(self, reading: Reading) -> None:
        """Give a reading up."""
        with self._lock:
            self._readings.discard(reading)

    def confirmed(self, line: Line) -> None:
        """Hold what is read from now on."""
        with self._lock:
            self._known = (line, {})

    def heard(self, tokens: Tokens) -> None:
        """Raise what is held and what is being read; drop a model whose token is empty."""
        self._stats.events += 1
        self.hear(tokens)

    def hear(self, tokens: Tokens, *, is_answer: bool = False) -> None:
        """Do the same with what this process knows by itself, be it an answer to a write."""
        with self._lock:
            for reading in self._readings:
                reading.hear(tokens)
            line, held = self._known
            known = dict(held)
            for model, token in tokens.items():
                if not token:
                    known.pop(model, None)
                elif is_answer and model in known and token < known[model][0]:
                    known.pop(model)
                    for reading in self._readings:  # which may have been answered before the larger one was
                        reading.dropped.add(model)
                elif model in known and token > known[model][0]:
                    known[model] = (token, known[model][1])
            self._known = (line, known)

    def lost(self) -> None:
        """Hold nothing, and nothing of what is being read."""
        with self._lock:
            self._known = (_CLOSED, {})
            self._readings.clear()


class Reading:
    """A request to the store for one tenant's tokens that is under way."""

    def __init__(self, entry: _Entry, until: float) -> None:
        self._entry = entry
        self.until = until
        self.raised: Tokens = {}
        self.dropped: set[str] = set()

    def hear(self, tokens: Tokens) -> None:
        """Hear of a change that the answer may not show yet."""
        for model, token in tokens.items():
            if not token:
                self.dropped.add(model)
            elif token > self.raised.get(model, ""):
                self.raised[model] = token

    def done(self, tokens: Tokens) -> Tokens:
        """Hold what was read, and return it, raised to what was heard meanwhile."""
        return self._entry.end(self, tokens)

    def failed(self) -> None:
        """Forget about it."""
        self._entry.forget(self)
