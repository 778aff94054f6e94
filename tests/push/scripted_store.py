"""A store in which a test says when what is asked is answered, and when what has changed is told: it steers time."""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from cache_revalidate import StoreError
from cache_revalidate.stores import Keyspace, Store
from cache_revalidate.stores.listening import Listener
from cache_revalidate.types import Changes, Tokens

MODELS = ("inbox", "label", "team")


@dataclass
class Wire:
    """By which listeners are told: believed as long as a test says so."""

    believed_until: float = float("inf")


@dataclass
class Asked:
    """A read under way: `answer` is what the store holds when it gets to it, `done` what lets it come back."""

    shown: Tokens
    done: asyncio.Future[None]
    answer: Tokens | None = None


@dataclass
class ScriptedStore(Store):
    """One tenant's tokens. As it is made it answers and tells at once; `by_hand` is what waits for a test to say so."""

    by_hand: bool = False
    tells: bool = True
    """Whether `listen` says that all is told."""
    is_away: bool = False
    listen_fails: bool = False
    leave_fails: bool = False
    read_fails: Exception | None = None
    truth: Tokens = field(default_factory=dict)
    history: dict[str, list[str]] = field(default_factory=dict)
    """All tokens that there were, by model."""
    wire: Wire = field(default_factory=Wire)
    listener: Listener | None = None
    is_confirmed: bool = False
    events: deque[Tokens] = field(default_factory=deque)
    """What has been published and not arrived."""
    reads: list[Asked] = field(default_factory=list)
    """What has been asked and not come back."""
    read_count: int = 0
    next_read: asyncio.Event = field(default_factory=asyncio.Event)
    listens: int = 0

    def __post_init__(self) -> None:
        """Begin with one token of each model."""
        self.minted = 0
        for model in MODELS:
            self.change(model)

    def token(self, *, lower: bool = False) -> str:
        """Return a token larger than all before, or lower than all that are not."""
        self.minted += 1
        return f"{'1' if lower else '2'}{self.minted:015d}0000"

    def change(self, model: str, *, lower: bool = False) -> str:
        """Hold a new token, and publish it, if anybody is subscribed; a lower one replaces one that was dropped."""
        token = self.truth[model] = self.token(lower=lower)
        self.history.setdefault(model, []).append(token)
        if self.is_confirmed:
            if lower:
                self.events.append({model: ""})
            self.events.append({model: token})
        if not self.by_hand:
            self.deliver_all()
        return token

    async def read(self, keyspace: Keyspace, tenant: str, models: Sequence[str]) -> Tokens:
        """Answer when the test says so, with what was held when it said that the store got to it."""
        return await self._answer({})

    async def read_past(self, keyspace: Keyspace, tenant: str, models: Sequence[str], shown: Tokens) -> Tokens:
        """Do the same."""
        return await self._answer(shown)

    async def _answer(self, shown: Tokens) -> Tokens:
        self.read_count += 1
        self.next_read.set()
        if self.by_hand:
            asked = Asked(shown, asyncio.get_running_loop().create_future())
            self.reads.append(asked)
            try:
                await asked.done
            finally:
                self.reads.remove(asked)
        else:
            asked = Asked(shown, asyncio.get_running_loop().create_future(), {**self.truth})
        if self.read_fails is not None:
            raise self.read_fails
        if self.is_away or asked.answer is None:
            raise StoreError("away")
        return asked.answer

    async def bump(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Hold new tokens."""
        return self.bump_sync(keyspace, changes)

    def bump_sync(self, keyspace: Keyspace, changes: Changes) -> dict[str, Tokens]:
        """Hold new tokens."""
        return {tenant: {model: self.change(model) for model in models} for tenant, models in changes.items()}

    def listen(self, keyspace: Keyspace, tenant: str, listener: Listener) -> bool:
        """Subscribe: confirmed at once, or when the test says so; lost at once while the store is away."""
        if self.listen_fails:
            raise ZeroDivisionError
        self.listens += 1
        if self.listener is not listener:
            if self.is_away:
                listener.lost()
                return self.tells
            assert self.listener is None
            self.listener = listener
            if not self.by_hand:
                self.confirm()
        return self.tells

    def leave(self, keyspace: Keyspace, tenant: str, listener: Listener) -> None:
        """Forget the listener."""
        if self.leave_fails:
            raise ZeroDivisionError
        if self.listener is listener:
            self.listener, self.is_confirmed = None, False
            self.events.clear()

    def confirm(self) -> None:
        """Confirm the subscription: what changes from now on is published."""
        if self.listener is not None and not self.is_confirmed:
            self.is_confirmed = True
            self.listener.confirmed(self.wire)

    def lose(self, *, in_thread: bool = False) -> None:
        """Lose the subscription, and whatever was published and has not arrived."""
        listener, self.listener, self.is_confirmed = self.listener, None, False
        self.events.clear()
        if listener is not None:
            elsewhere(listener.lost) if in_thread else listener.lost()

    def deliver(self, *, in_thread: bool = False) -> None:
        """Let the next event arrive."""
        event = self.events.popleft()
        listener = self.listener
        if listener is not None:
            elsewhere(lambda: listener.heard(event)) if in_thread else listener.heard(event)

    def deliver_all(self) -> None:
        """Let all events arrive."""
        while self.events:
            self.deliver()

    def get_to(self) -> None:
        """Get to the reads that are under way: what they answer is what is held now."""
        for asked in self.reads:
            if asked.answer is None:
                asked.answer = {**self.truth}

    def finish(self) -> None:
        """Let the reads come back that the store has got to; while it is away, all."""
        for asked in self.reads:
            if (asked.answer is not None or self.is_away) and not asked.done.done():
                asked.done.set_result(None)


def elsewhere(act: object) -> None:
    """Do something in another thread, and wait until it is done."""
    assert callable(act)
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
