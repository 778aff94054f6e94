"""One tenant's tokens, as this process knows them, and the subscriptions that are told of them."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Final, Protocol

from cache_revalidate.exceptions import StoreError
from cache_revalidate.push.wire import NOTHING_KNOWN, Encoder, Update

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache_revalidate.push.settings import HubSettings, HubStats
    from cache_revalidate.push.wire import Known
    from cache_revalidate.revalidator import Revalidator
    from cache_revalidate.stores import Line
    from cache_revalidate.types import Tokens

_CONFIRMED_WITHIN: Final = 1.0
"""Seconds for which a subscription to the store's changes is waited for, before it is read without one."""

_READ_WITHIN: Final = 10.0
"""Seconds after which a read that has come to nothing is given up, so that others have their turn."""

_FIRST, _ALL = -1, -2
"""In place of a number, what an update is kept by: that with which one begins, and a later one that has all tokens."""

_TOLD_AT_ONCE: Final = 100
"""How many connections are told before others on the event loop have their turn: about a millisecond's worth."""

_MOST_KEPT: Final = 64
"""Of the updates that readers of one speed share, so many are kept until the next change."""

_logger = logging.getLogger("cache_revalidate")


class Subscriber(Protocol):
    """Who is told of a topic."""

    @property
    def known(self) -> Known:
        """What he holds, as long as he has been told of nothing."""

    def begin(self) -> None:
        """Hear that the topic knows what is current."""

    def tell(self, now: float) -> None:
        """Hear that the topic has news; `now` is the time by the event loop's clock."""


class Topic:
    """Follows one tenant: subscribes to changes first, then reads the tokens, and again when it may have missed one.

    What has changed is numbered, and each subscription has the number up to which it was told: so what is kept of a
    slow reader is one number, and he is told the newest tokens when he can take them.
    """

    def __init__(
        self, revalidator: Revalidator, tenant: str, settings: HubSettings, stats: HubStats, turns: asyncio.Semaphore
    ) -> None:
        self.subscriptions: Final[dict[Subscriber, None]] = {}
        self.is_live = False
        """Whether the store has answered when it was last asked."""
        self._revalidator = revalidator
        self._tenant = tenant
        self._settings = settings
        self._stats = stats
        self._turns = turns
        self._encoder = Encoder(settings.event, tenant, revalidator.models)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._tokens: Tokens | None = None
        self.number = 0
        """That of the newest change."""
        self._changed: dict[str, int] = {}  # the number of each model's newest
        self._jitter = 0
        self._first_jitter = 0
        self._updates: dict[tuple[int, str], Update] = {}
        self._is_publishing = False
        self._tellers: set[asyncio.Task[None]] = set()
        # Who waits for a read that begins after they came.
        self._waiting: dict[Subscriber, None] = {}
        # By what changes are told, while they are.
        self._line: Line | None = None
        self._is_lost = False
        # Whether the tokens were read since then, and nothing that was told meanwhile leaves one open.
        self._is_current = False
        self._drops = 0
        self._has_failed = False
        self._raised: Tokens | None = None
        self._attention = asyncio.Event()
        # In a context of its own: it outlives the request that happens to begin it.
        self._task = self._loop.create_task(self._follow(), context=Context())

    def join(self, subscription: Subscriber, known: Known) -> None:
        """Tell a subscription of the tokens once they are known to be current, and of all changes from then on."""
        self.subscriptions[subscription] = None
        if self._is_believed() and not self._is_behind(known):
            subscription.begin()
        else:
            self._waiting[subscription] = None
            self._attention.set()

    def leave(self, subscription: Subscriber) -> None:
        """Tell a subscription nothing more."""
        self.subscriptions.pop(subscription, None)
        self._waiting.pop(subscription, None)

    def close(self) -> None:
        """Follow the tenant no longer."""
        self._task.cancel()
        try:
            self._revalidator.store.leave(self._revalidator.keyspace, self._tenant, self)
        except Exception:
            _logger.exception("The store could not be left about tenant %s", self._tenant)

    def first(self, tag: str, known: Known) -> tuple[int, Update]:
        """Return the update that a subscription begins with, and the number up to which it tells."""
        assert self._tokens is not None  # noqa: S101 - or nobody would be told to begin
        if known.tokens:
            return self.number, self._encoder.first(self._tokens, tag, known, self._first_jitter)
        key = (_FIRST, tag)
        if (update := self._updates.get(key)) is None:
            update = self._keep(key, self._encoder.first(self._tokens, tag, known, self._first_jitter))
        return self.number, update

    def all_since(self, number: int, tag: str) -> tuple[int, Update]:  # noqa: ARG002
        """Return the update with all tokens for who was told something before, and the number up to which it tells."""
        key = (_ALL, tag)
        if (update := self._updates.get(key)) is None:
            update = self._keep(key, self._encoder.first(self._tokens or {}, tag, NOTHING_KNOWN, self._jitter))
        return self.number, update

    def since(self, number: int, tag: str) -> tuple[int, Update]:
        """Return the update for who was told up to the change `number`, and the number up to which it tells."""
        key = (number, tag)
        update = self._updates.get(key)
        if update is None:
            tokens = self._tokens or {}
            news = {model: tokens[model] for model, changed in self._changed.items() if changed > number}
            update = self._keep(key, self._encoder.later(news, tokens, tag, self._jitter))
        return self.number, update

    # What the store tells

    def confirmed(self, line: Line) -> None:
        """Hear that nothing will be missed from now on."""
        self._line, self._is_lost, self._is_current = line, False, False
        self._do(self._attention.set)

    def heard(self, tokens: Tokens) -> None:
        """Hear of new tokens, from any thread."""
        self._do(self._hear, tokens)

    def lost(self) -> None:
        """Hear that changes may be missed from now on."""
        self._line, self._is_lost, self._is_current = None, True, False
        self._do(self._attention.set)

    def _do(self, act: Callable[..., None], *told: Tokens) -> None:
        """Do something on the event loop: at once, if that is where this is called."""
        if threading.get_ident() == self._thread:
            act(*told)
        else:
            with suppress(RuntimeError):  # It is closed, and nobody listens there any more.
                self._loop.call_soon_threadsafe(act, *told)

    def _hear(self, tokens: Tokens) -> None:
        if not all(tokens.values()):  # One is to be forgotten: what takes its place, the store knows.
            self._drops += 1
            self._is_current = False
            self._attention.set()
        if self._raised is not None:
            for model, token in tokens.items():
                self._raised[model] = max(token, self._raised.get(model, ""))
        if self._tokens is not None:
            held = self._tokens
            self._take({model: token for model, token in tokens.items() if token > held.get(model, token)})

    # Reading

    async def _follow(self) -> None:
        while True:
            self._is_lost = False
            is_told = self._listen()
            deadline = self._loop.time() + _CONFIRMED_WITHIN
            while is_told and self._line is None and not self._is_lost and (left := deadline - self._loop.time()) > 0:
                self._attention.clear()
                await self._attended(left)
            self._attention.clear()
            line, drops = self._line if is_told else None, self._drops
            self.is_live = await self._read()
            # As of now, unless it was lost, or another taken, while the tokens were read.
            self._is_current = self.is_live and line is not None and self._line is line and self._drops == drops
            pause = self._settings.reread if self._is_current else self._settings.poll
            await self._attended(pause * random.uniform(0.8, 1.0))  # noqa: S311 - many topics should not read at once

    def _listen(self) -> bool:
        try:
            return self._revalidator.store.listen(self._revalidator.keyspace, self._tenant, self)
        except Exception:
            _logger.exception("The store could not be listened to about tenant %s; it is polled", self._tenant)
            return False

    async def _attended(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._attention.wait()
        except TimeoutError:
            pass

    async def _read(self) -> bool:
        """Read the tokens, and let those begin who wait for that; say whether the store has answered."""
        waiting = [*self._waiting]
        shown = self._shown(waiting)
        raised: Tokens = {}
        self._raised = raised
        try:
            async with self._turns, asyncio.timeout(_READ_WITHIN):
                tokens = await self._revalidator.read(self._tenant, self._revalidator.models, shown or None)
        except StoreError:
            return False
        except Exception:
            if not self._has_failed:
                self._has_failed = True
                _logger.exception("The tokens of tenant %s could not be read; it is tried again", self._tenant)
            return False
        finally:
            self._raised = None
        self._has_failed = False
        current = {model: max(token, raised.get(model, "")) for model, token in tokens.items()}
        if self._tokens is None:
            self._tokens = current
        else:
            held = self._tokens
            self._take({model: token for model, token in current.items() if token != held[model]})
        beginning = [subscription for subscription in waiting if subscription in self._waiting]
        # Of who begins alone nothing is asked; those who begin together may all ask for the same next.
        self._first_jitter = self._settings.jitter(len(beginning) - 1) if beginning else 0
        self._updates.clear()
        for subscription in beginning:
            del self._waiting[subscription]
            subscription.begin()
        return True

    def _shown(self, waiting: list[Subscriber]) -> Tokens:
        """Return the largest tokens that those who wait have shown: what is read has to be as new."""
        shown: Tokens = {}
        for subscription in waiting:
            for model, token in subscription.known.tokens.items():
                shown[model] = max(token, shown.get(model, ""))
        return shown

    def _is_believed(self) -> bool:
        line = self._line
        return self._is_current and line is not None and time.monotonic() < line.believed_until

    def _is_behind(self, known: Known) -> bool:
        tokens = self._tokens or {}
        return any(token > tokens.get(model, "") for model, token in known.tokens.items())

    # Telling

    def _take(self, news: Tokens) -> None:
        if not news or self._tokens is None:
            return
        self._tokens = {**self._tokens, **news}
        self.number += 1
        self._changed.update(dict.fromkeys(news, self.number))
        self._updates.clear()
        self._jitter = self._settings.jitter(len(self.subscriptions))
        if not self._is_publishing:  # Those of one turn of the event loop are told together.
            self._is_publishing = True
            self._loop.call_soon(self._publish)

    def _publish(self) -> None:
        self._is_publishing = False
        self._stats.changes += 1
        teller = self._loop.create_task(self._tell([*self.subscriptions]), context=Context())
        self._tellers.add(teller)
        teller.add_done_callback(self._tellers.discard)

    async def _tell(self, subscriptions: list[Subscriber]) -> None:
        for start in range(0, len(subscriptions), _TOLD_AT_ONCE):
            now = self._loop.time()
            for subscription in subscriptions[start : start + _TOLD_AT_ONCE]:
                if subscription in self.subscriptions:  # Some may have left meanwhile.
                    subscription.tell(now)
            with suppress(asyncio.CancelledError):  # by a time limit of some middleware's that was begun in here
                await asyncio.sleep(0)

    def _keep(self, key: tuple[int, str], update: Update) -> Update:
        if len(self._updates) >= _MOST_KEPT:
            self._updates.clear()
        self._updates[key] = update
        return update
