"""One tenant's tokens as a process follows them: `cache_revalidate.push.topic`. See also `test_topic_machine`."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from cache_revalidate import Revalidator
from cache_revalidate.push import topic as topic_module
from cache_revalidate.push.settings import HubSettings, HubStats
from cache_revalidate.push.topic import Topic
from cache_revalidate.push.wire import NOTHING_KNOWN, Known
from cache_revalidate.stores import MemoryStore, Store
from tests.push.asgi import Clock, settle
from tests.push.scripted_store import MODELS, ScriptedStore, elsewhere


@dataclass(eq=False)
class Ear:
    """Notes what it is told."""

    known: Known = NOTHING_KNOWN
    begun: int = 0
    woken: int = 0

    def begin(self) -> None:
        """Note it."""
        self.begun += 1

    def tell(self, now: float) -> None:
        """Note it."""
        self.woken += 1


@dataclass
class Scene:
    """Topics, which are closed at the end."""

    clock: Clock
    topics: list[Topic] = field(default_factory=list)
    stats: HubStats = field(default_factory=HubStats)

    def topic(self, store: Store, *, turns: int = 16, **settings: float) -> Topic:
        """Follow a tenant."""
        options = HubSettings(**settings)  # type: ignore[arg-type]
        topic = Topic(Revalidator(MODELS, store), "1", options, self.stats, asyncio.Semaphore(turns))
        self.topics.append(topic)
        return topic


@pytest.fixture
async def scene(clock: Clock) -> AsyncIterator[Scene]:
    """Where topics are made."""
    scene = Scene(clock)
    yield scene
    for topic in scene.topics:
        topic.close()
    await settle(3)


def joined(topic: Topic, known: Known = NOTHING_KNOWN) -> Ear:
    """Have somebody listen."""
    ear = Ear(known)
    topic.join(ear, known)
    return ear


async def test_who_comes_first_waits_for_a_read(scene: Scene) -> None:
    """Nobody begins before the tokens were read, and later ones begin at once."""
    topic = scene.topic(ScriptedStore())
    first = joined(topic)
    assert (first.begun, topic.is_live) == (0, False)
    await settle()
    second = joined(topic)
    assert (first.begun, second.begun, topic.is_live) == (1, 1, True)


async def test_of_what_is_told_only_now_and_then_nobody_begins_at_once(scene: Scene) -> None:
    """A store that confirms, and yet does not tell of all, is read for whoever comes."""
    store = ScriptedStore(tells=False)
    topic = scene.topic(store)
    joined(topic)
    await settle()
    late = joined(topic)
    assert not late.begun
    await settle()
    assert (late.begun, store.read_count) == (1, 2)


async def test_nobody_begins_between_confirmation_and_read(scene: Scene) -> None:
    """A subscription that is confirmed after the tokens were read says nothing of what came in between."""
    store = ScriptedStore(by_hand=True)
    topic = scene.topic(store)
    joined(topic)
    await settle()
    assert not store.reads
    await scene.clock.forward(1.1)  # It does not wait for ever.
    await answer(store)
    assert topic.is_live
    newer = store.change("label")
    store.confirm()
    late = joined(topic)
    assert not late.begun
    await settle()
    await answer(store)
    assert late.begun
    assert topic.first("tag", NOTHING_KNOWN)[1].json.count(newer)


async def test_nobody_begins_between_a_new_confirmation_and_its_read(scene: Scene) -> None:
    """After a loss, that changes are told again says nothing of those in between: they have to be read first."""
    store = ScriptedStore(by_hand=True)
    topic = scene.topic(store)
    joined(topic)
    await settle()
    store.confirm()
    await settle()
    await answer(store)
    assert topic.is_live
    store.lose()
    newer = store.change("label")
    await settle()
    store.confirm()
    late = joined(topic)
    assert not late.begun
    await settle()
    await answer(store)
    await answer(store)
    assert late.begun
    assert topic.first("tag", NOTHING_KNOWN)[1].json.count(newer)


async def answer(store: ScriptedStore) -> None:
    """Let all answers arrive."""
    store.get_to()
    store.finish()
    await settle()


async def test_who_knows_more_is_read_for(scene: Scene) -> None:
    """A larger token than is held here has the store read past what it holds nearby, which then counts."""
    store = ScriptedStore(by_hand=True)
    topic = scene.topic(store)
    await settle()
    store.confirm()
    await settle()
    await answer(store)
    shown = {"label": "8" * 20}
    ear = joined(topic, Known(shown, "tag"))
    assert not ear.begun
    await settle()
    assert store.reads[-1].shown == shown
    await answer(store)
    assert ear.begun


async def test_a_silent_line_is_not_believed(scene: Scene) -> None:
    """While the line may not be believed, whoever comes is read for."""
    store = ScriptedStore()
    topic = scene.topic(store)
    await settle()
    store.wire.believed_until = 0.0
    ear = joined(topic)
    assert not ear.begun
    await settle()
    assert ear.begun


async def test_a_read_that_hangs_is_given_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that does not come back is not live, and its turn is another's."""
    monkeypatch.setattr(topic_module, "_READ_WITHIN", 5.0)
    store = ScriptedStore(by_hand=True)
    topic = scene.topic(store, turns=1)
    ear = joined(topic)
    await settle()
    store.confirm()
    await settle()
    await answer(store)
    assert topic.is_live
    await scene.clock.forward(31)
    assert store.reads
    await scene.clock.forward(6)
    assert not topic.is_live
    assert ear.begun
    assert "could not be read" in caplog.text
    await scene.clock.forward(1.1)
    await answer(store)
    assert topic.is_live


async def test_a_failing_store_is_reported_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """A store that fails otherwise than it should is asked again, and reported once until it has answered."""
    store = ScriptedStore(read_fails=ZeroDivisionError())
    topic = scene.topic(store)
    ear = joined(topic)
    for _ in range(3):
        await scene.clock.forward(1.1)
    assert (topic.is_live, ear.begun) == (False, 0)
    assert caplog.text.count("could not be read") == 1
    store.read_fails = None
    await scene.clock.forward(1.1)
    assert (topic.is_live, ear.begun) == (True, 1)


async def test_an_absent_store_is_asked_again(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """While the store is away it is asked every second, and nothing is logged here; then everyone begins."""
    store = ScriptedStore(is_away=True)
    topic = scene.topic(store)
    ear = joined(topic)
    await settle()
    assert (topic.is_live, ear.begun) == (False, 0)
    store.is_away = False
    await scene.clock.forward(1.1)
    assert (topic.is_live, ear.begun) == (True, 1)
    assert not caplog.records


async def test_a_store_that_can_not_be_listened_to_is_polled(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """A store whose `listen` fails is read every second all the same."""
    store = ScriptedStore(listen_fails=True)
    topic = scene.topic(store)
    ear = joined(topic)
    await settle()
    store.change("label")
    await scene.clock.forward(1.1)
    assert (ear.begun, ear.woken) == (1, 1)
    assert "could not be listened to" in caplog.text


async def test_a_store_that_can_not_be_left_is_reported(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """A store whose `leave` fails keeps no connection from being cleared away."""
    store = ScriptedStore(leave_fails=True)
    scene.topic(store).close()
    assert "could not be left" in caplog.text
    store.leave_fails = False


async def test_what_was_not_told_is_found_by_reading(scene: Scene) -> None:
    """A change that the store has not told of is found when it is read the next time."""
    store = ScriptedStore()
    ear = joined(scene.topic(store, reread=30))
    await settle()
    store.truth["label"] = store.token()
    await scene.clock.forward(31)
    assert ear.woken == 1


async def test_changes_of_one_turn_are_told_together(scene: Scene) -> None:
    """Several events at once are told everyone once."""
    store = ScriptedStore()
    topic = scene.topic(store)
    ear = joined(topic)
    await settle()
    for model in MODELS:
        store.change(model)
    await settle()
    assert (ear.woken, scene.stats.changes, topic.number) == (1, 1, 3)


async def test_many_are_told_bit_by_bit(scene: Scene) -> None:
    """Everyone is told, however many there are, and others have their turn meanwhile."""
    store = ScriptedStore()
    topic = scene.topic(store)
    ears = [joined(topic) for _ in range(600)]
    await settle()
    store.change("label")
    await settle(2)
    assert 0 < sum(ear.woken for ear in ears) < 600
    await settle()
    assert [ear.woken for ear in ears] == [1] * 600


async def test_jitter_is_that_of_the_change(scene: Scene) -> None:
    """Events say over how long to spread from the first reader on, and the first events of many who begin together."""
    store = ScriptedStore()
    topic = scene.topic(store, spread=0.001)
    for _ in range(100):
        joined(topic)
    await settle()
    assert '"jitter_ms":99' in topic.first("tag", NOTHING_KNOWN)[1].json
    assert topic._tokens is not None
    store.change("label")
    assert '"jitter_ms":100' in topic.since(0, "tag")[1].json


async def test_who_comes_alone_need_not_wait(scene: Scene) -> None:
    """A page that is opened while many listen may ask for everything at once."""
    store = ScriptedStore()
    topic = scene.topic(store, spread=0.001)
    joined(topic)
    await settle()
    store.change("label")
    await settle()
    assert '"jitter_ms":0' in topic.first("tag", NOTHING_KNOWN)[1].json


async def test_updates_are_kept_until_there_are_too_many(scene: Scene) -> None:
    """Those who are told the same share one update; of those who are not few are kept."""
    topic = scene.topic(ScriptedStore())
    await settle()
    _, update = topic.first("tag", NOTHING_KNOWN)
    assert topic.first("tag", NOTHING_KNOWN)[1] is update
    for number in range(200):
        topic.first(f"tag-{number}", NOTHING_KNOWN)
    assert len(topic._updates) <= 64


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_memory_store_is_heard_from_any_thread(scene: Scene, in_thread: bool) -> None:
    """A bump in a thread is told on the event loop, and wakes a loop that sleeps."""
    store = MemoryStore()
    revalidator = Revalidator(MODELS, store)
    topic = scene.topic(store)
    ear = joined(topic)
    await settle()

    def bump() -> None:
        revalidator.sync.bump("1", "label")

    elsewhere(bump) if in_thread else bump()
    await settle()
    assert ear.woken == 1


@pytest.mark.parametrize("what", ["lose", "confirm"])
async def test_a_loss_is_heard_from_any_thread(scene: Scene, what: str) -> None:
    """A store that tells in a thread of its own of a loss, or that it is over, wakes a loop that sleeps."""
    store = ScriptedStore(by_hand=what == "confirm")
    scene.topic(store)
    await settle()
    read = store.next_read = asyncio.Event()
    threading.Timer(0.05, getattr(store, what)).start()
    async with asyncio.timeout(0.6):  # far less than until it is polled
        await read.wait()


def test_a_loop_that_is_closed_hears_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What is told to a topic whose loop is closed is no failure of whoever tells it."""
    store = MemoryStore()
    revalidator = Revalidator(MODELS, store)

    async def listen() -> Topic:
        topic = Topic(revalidator, "1", HubSettings(), HubStats(), asyncio.Semaphore(1))
        await settle(5)
        return topic

    topic = asyncio.run(listen())
    bump: Callable[[], object] = lambda: revalidator.sync.bump("1", "label")  # noqa: E731
    elsewhere(bump)
    assert not caplog.records
    topic.close()


async def test_a_closed_topic_is_over(scene: Scene) -> None:
    """Nothing is left of a topic that is closed, whenever that is."""
    store = ScriptedStore(by_hand=True)
    at_once = scene.topic(store)
    at_once.close()
    await settle()
    assert at_once._task.done()
    reading = scene.topic(store)
    await settle()
    store.confirm()
    await settle()
    assert store.reads
    reading.close()
    await settle()
    assert reading._task.done()
    assert (store.listener, store.reads) == (None, [])


async def test_events_of_other_models_are_read_over(scene: Scene) -> None:
    """What a newer version of the app publishes of models that this one has not is nothing to tell."""
    store = ScriptedStore()
    topic = scene.topic(store)
    ear = joined(topic)
    await settle()
    assert store.listener is not None
    store.listener.heard({"article": "5" * 20})
    await settle()
    assert (ear.woken, topic.number) == (0, 0)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Note what the library logs."""
    caplog.set_level(logging.WARNING, "cache_revalidate")
