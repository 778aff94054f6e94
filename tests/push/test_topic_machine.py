"""A topic and its subscriptions, in whatever order changes, reads, losses and readers come: a state machine."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from cache_revalidate import EVERYONE, Grant, Refused, Revalidator
from cache_revalidate.push import topic as topic_module
from cache_revalidate.push.door import Door
from cache_revalidate.push.settings import HubSettings, HubStats
from cache_revalidate.push.subscription import Subscription
from cache_revalidate.push.topic import Subscriber, Topic
from cache_revalidate.push.wire import NOTHING_KNOWN, Known, Update
from cache_revalidate.types import Tokens
from tests.push.scripted_store import MODELS, ScriptedStore

NEVER = 80_000.0
POLL = 1.0
MOST_READERS = 6


async def nobody(tenant: str) -> Grant:
    """Let nobody in: here nobody asks."""
    raise Refused


NOBODY_AT_THE_DOOR = Door(tenant=None, tenant_of=str, canonical=str, ask=nobody)

models = st.sampled_from(MODELS)


@dataclass(eq=False)
class Reader:
    """A client that takes what there is to be told when it likes, and applies it to what it holds."""

    holds: Tokens
    least: dict[str, int]
    """Of each model the number in its history that the first update has to reach."""
    tells_all: bool = False
    share: Subscription | None = None
    is_dirty: bool = False
    is_first: bool = True
    told: list[dict[str, Any]] = field(default_factory=list)

    def mark(self, subscription: Subscription) -> None:
        """Hear that there may be something to tell."""
        self.is_dirty = True

    def tell(self, subscription: Subscription, now: float) -> None:
        """Hear the same, and take one's time, too."""
        self.mark(subscription)


class TopicMachine(RuleBasedStateMachine):
    """What readers hold in the end, compared with what the store does.

    The store is a register per model behind a slow wire. Nothing is read again just because time has passed, so what
    was missed once would be missed for good.
    """

    def __init__(self) -> None:
        super().__init__()
        random.seed(0)
        self.ahead = 0.0
        self.loop = asyncio.new_event_loop()
        self.loop.time = lambda: time.monotonic() + self.ahead  # type: ignore[method-assign]
        self.store = ScriptedStore(by_hand=True)
        self.revalidator = Revalidator(MODELS, self.store)
        self.readers: list[Reader] = []
        self.gone: list[Reader] = []
        self.topic = self.loop.run_until_complete(self.made())

    async def made(self) -> Topic:
        """Make the topic."""
        options = HubSettings(reread=NEVER, poll=POLL)
        return Topic(self.revalidator, "1", options, HubStats(), asyncio.Semaphore(16))

    def teardown(self) -> None:
        """End with everyone holding what the store does."""
        try:
            self.settle()
        finally:
            self.topic.close()
            self.turn(3)
            assert self.topic._task.done()
            self.loop.close()

    @initialize(is_confirmed=st.booleans())
    def warm(self, is_confirmed: bool) -> None:
        """Begin with a topic that has read, as a rule."""
        if is_confirmed:
            self.join("nothing", tells_all=False)
            self.settle()

    @rule(turns=st.integers(1, 6))
    def turn(self, turns: int) -> None:
        """Let the event loop turn."""
        for _ in range(turns):
            self.loop.run_until_complete(asyncio.sleep(0))

    @rule(model=models)
    def bump(self, model: str) -> None:
        """Let a token change."""
        self.store.change(model)

    @rule(model=models, in_thread=st.booleans())
    def bump_and_hear(self, model: str, in_thread: bool) -> None:
        """Let a token change, and be heard at once."""
        self.store.change(model)
        while self.store.events and self.store.wire.believed_until:
            self.deliver(in_thread)

    @precondition(lambda self: self.store.events and self.store.wire.believed_until)
    @rule(in_thread=st.booleans())
    def deliver(self, in_thread: bool) -> None:
        """Let an event arrive, on the event loop or in another thread."""
        self.store.deliver(in_thread=in_thread)
        if in_thread:
            self.turn(1)

    @rule(model=models)
    def drop(self, model: str) -> None:
        """Let a token be dropped, and one be minted that is lower."""
        if self.store.is_confirmed:  # or else nobody is told, and only time would help
            self.store.change(model, lower=True)

    @rule()
    def confirm(self) -> None:
        """Confirm the subscription."""
        self.store.confirm()

    @rule()
    def get_to(self) -> None:
        """Let the store get to what it was asked."""
        self.store.get_to()

    @rule()
    def finish(self) -> None:
        """Let answers arrive."""
        self.store.finish()

    @rule(in_thread=st.booleans(), model=models, then=st.sampled_from(["", "bump", "bump, and come", "race"]))
    def lose(self, in_thread: bool, model: str, then: str) -> None:
        """Lose the subscription; something may change meanwhile, or while the tokens are read anew."""
        self.store.lose(in_thread=in_thread)
        if "bump" in then:
            self.store.change(model)
        if then == "race":
            self.turn(3)
            self.store.confirm()
            self.turn(3)
            self.store.get_to()
            self.bump_and_hear(model, in_thread=in_thread)
            self.store.finish()
            self.turn(3)
        elif "come" in then:
            self.join("nothing", tells_all=False)

    @rule(model=models)
    def hang(self, model: str) -> None:
        """Let nothing come through, and nobody know; somebody may come."""
        self.store.wire.believed_until = 0.0
        self.store.change(model)
        self.join("nothing", tells_all=False)

    @rule()
    def revive(self) -> None:
        """Let everything come through again."""
        self.store.wire.believed_until = float("inf")

    @rule(is_away=st.booleans())
    def be_away(self, is_away: bool) -> None:
        """Let the store be away, or back."""
        self.store.is_away = is_away
        if is_away:
            self.store.lose()

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.1]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.ahead += seconds
        self.turn(3)

    @rule(shown=st.sampled_from(["nothing", "current", "stale", "newer", "other tag"]), tells_all=st.booleans())
    def join(self, shown: str, tells_all: bool) -> None:
        """Let a reader come, with what it holds."""
        if len(self.readers) >= MOST_READERS:
            return
        store, tag = self.store, self.revalidator.tag(EVERYONE)
        known = {
            "nothing": NOTHING_KNOWN,
            "current": Known({**store.truth}, tag),
            "stale": Known({model: past[0] for model, past in store.history.items()}, tag),
            "newer": Known({**store.truth, MODELS[0]: "89999999999999999999"}, tag),
            "other tag": Known({**store.truth}, "another"),
        }[shown]
        # What has been published is under way: nobody can be told of it before it arrives, if it does soon.
        under_way = [model for event in store.events for model, token in event.items() if token]
        late = under_way if store.wire.believed_until else []
        least = {model: len(past) - 1 - late.count(model) for model, past in store.history.items()}
        reader = Reader({**known.tokens} if known.tag == tag else {}, least, tells_all)
        share = reader.share = Subscription(reader, self.topic, "1", "1", door=NOBODY_AT_THE_DOOR, known=known)
        share.grant(Grant(EVERYONE, time.time() + NEVER), tag, self.loop.time())
        self.readers.append(reader)
        self.topic.join(share, known)

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, MOST_READERS), amid=st.booleans())
    def leave(self, which: int, amid: bool) -> None:
        """Let a reader go, be it while all are told of a change."""
        if amid:
            self.store.change(MODELS[0])
            self.store.deliver_all()
            self.turn(1)
        reader = self.readers.pop(which % len(self.readers))
        assert reader.share is not None
        self.topic.leave(reader.share)
        reader.is_dirty = False
        self.gone.append(reader)

    @precondition(lambda self: any(reader.is_dirty for reader in self.readers))
    @rule(which=st.integers(0, MOST_READERS))
    def take(self, which: int) -> None:
        """Let a reader take what there is."""
        dirty = [reader for reader in self.readers if reader.is_dirty]
        self.tell(dirty[which % len(dirty)])

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, MOST_READERS))
    def change_viewer(self, which: int) -> None:
        """Let a reader be somebody else: what it holds is void."""
        reader = self.readers[which % len(self.readers)]
        assert reader.share is not None
        tag = "one" if reader.share.tag != "one" else "two"
        reader.share.grant(Grant("ann", time.time() + NEVER), tag, self.loop.time())
        reader.holds = {}
        if not reader.is_first:
            reader.told.clear()

    def tell(self, reader: Reader) -> None:
        """Tell a reader what there is to be told."""
        reader.is_dirty = False
        assert reader.share is not None
        update = reader.share.update()
        if update is None:
            return
        data = json.loads(update.json)
        assert data["tag"] == reader.share.tag
        assert ("full" in data) == (reader.is_first or reader.tells_all or not reader.told)
        if data.get("full"):
            reader.holds = {}
        reader.told.append(data)
        reader.holds |= data["cache_keys"]
        for model, token in data["cache_keys"].items():
            assert token in self.store.history[model], "told what was never the store's"
        if reader.is_first:
            reader.is_first = False
            for model, least in reader.least.items():
                reached = self.store.history[model].index(reader.holds[model])
                assert reached >= least, "begins with what was over before it came"
        field_of_id = update.sse.decode().split("\nid: ")[1].split("\n")[0]
        assert all(f'{model}="{token}"' in field_of_id for model, token in reader.holds.items())

    @rule()
    def settle(self) -> None:
        """Let everything arrive: what readers hold then is what the store does."""
        self.store.is_away = False
        self.store.wire.believed_until = float("inf")
        for _ in range(6):
            self.store.confirm()
            self.turn(3)
            self.store.deliver_all()
            self.store.get_to()
            self.store.finish()
            self.turn(6)
            self.ahead += POLL
        for reader in self.readers:
            if reader.is_dirty:
                self.tell(reader)
            assert reader.holds == self.store.truth, "stale for good"
            assert not reader.is_first

    @invariant()
    def little_is_kept(self) -> None:
        """Of a reader that takes nothing a number is kept, and what it has shown until it was told something."""
        assert not any(reader.is_dirty for reader in self.gone), "told after it has left"
        assert len(self.topic._updates) <= topic_module._MOST_KEPT
        assert self.topic._waiting.keys() <= self.topic.subscriptions.keys()
        assert len(self.topic.subscriptions) == len(self.readers)
        for reader in self.readers:
            assert reader.share is not None
            assert reader.is_first or reader.share.known is NOTHING_KNOWN


SEARCH = settings(
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def told_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let others have their turn after each reader that is told, and a read take as long as it likes."""
    monkeypatch.setattr(topic_module, "_TOLD_AT_ONCE", 1)
    monkeypatch.setattr(topic_module, "_READ_WITHIN", NEVER)


def test_the_machine_passes() -> None:
    """Whatever comes in whatever order, readers end with the store's tokens, and were told of no others."""
    run_machine(TopicMachine, settings=settings(SEARCH, max_examples=120, stateful_step_count=40))


def deaf_to_losses(topic: Topic) -> None:
    """Take no notice of a loss."""


async def reading_once(topic: Topic, _read: Callable[[Topic], Any] = Topic._read) -> bool:
    """Read anew only for those who wait."""
    return True if topic._tokens is not None and not topic._waiting else bool(await _read(topic))


async def reading_first(topic: Topic) -> None:
    """Read, then subscribe."""
    while True:
        topic._attention.clear()
        topic.is_live = await topic._read()
        is_told = topic._listen()
        while is_told and topic._line is None:
            topic._attention.clear()
            await topic._attended(POLL)
        topic._is_current = topic.is_live and is_told
        await topic._attended(topic._settings.reread if topic._is_current else POLL)


def not_merging(topic: Topic, tokens: Tokens, _hear: Callable[[Topic, Tokens], None] = Topic._hear) -> None:
    """Take events, and not into a read that is under way."""
    raised, topic._raised = topic._raised, None
    _hear(topic, tokens)
    topic._raised = raised


def skipping_one(
    topic: Topic, number: int, tag: str, _since: Callable[..., tuple[int, Update]] = Topic.since
) -> tuple[int, Update]:
    """Tell of what came after the change after the last that was told."""
    return _since(topic, number + 1, tag)


def deaf_to_drops(topic: Topic, tokens: Tokens, _hear: Callable[[Topic, Tokens], None] = Topic._hear) -> None:
    """Take no notice of what is dropped."""
    _hear(topic, {model: token for model, token in tokens.items() if token})


def believing_what_is_held(topic: Topic) -> bool:
    """Let whoever comes begin with what was read at some time."""
    return topic._tokens is not None


def believing_silence(topic: Topic) -> bool:
    """Believe a line that is silent."""
    return topic._is_current and topic._line is not None


async def telling_all(topic: Topic, subscriptions: list[Subscriber]) -> None:
    """Tell those who have left, too."""
    for subscription in subscriptions:
        subscription.tell(topic._loop.time())
        await asyncio.sleep(0)


def larger_wins(topic: Topic, news: Tokens, _take: Callable[[Topic, Tokens], None] = Topic._take) -> None:
    """Hold the larger token, whatever was read."""
    held = topic._tokens or {}
    _take(topic, {model: token for model, token in news.items() if token > held.get(model, "")})


FAULTS: Mapping[str, Sequence[tuple[str, Callable[..., object]]]] = {
    "a loss is not noticed": [("lost", deaf_to_losses)],
    "after a loss nothing is read": [("_read", reading_once)],
    "reading comes before subscribing": [("_follow", reading_first)],
    "events are not merged into a read in flight": [("_hear", not_merging)],
    "the cursor is off by one": [("since", skipping_one)],
    "drops are ignored": [("_hear", deaf_to_drops)],
    "whoever comes begins with what is held": [("_is_believed", believing_what_is_held)],
    "silence is believed": [("_is_believed", believing_silence)],
    "who has left is told": [("_tell", telling_all)],
    "the larger token wins": [("_take", larger_wins)],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_machine_finds_the_fault(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic that lacks one of its rules fails."""
    for name, faulty in FAULTS[fault]:
        monkeypatch.setattr(Topic, name, faulty)
    search = settings(SEARCH, max_examples=1_500, stateful_step_count=40, phases=[Phase.generate])
    with pytest.raises(AssertionError), contextlib.redirect_stdout(None):
        run_machine(TopicMachine, settings=search)
