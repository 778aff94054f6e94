"""The mirror by itself: what it holds of what is read and heard, in whatever order that happens."""

import pytest

from cache_revalidate.stores.mirror import Mirror, MirrorStats, Reading
from cache_revalidate.types import Tokens
from tests.stores.wire import Clock, Wire

LIFE = 5.0
MOST = 3


def token(number: int) -> str:
    """Return a token, larger for a larger number."""
    return f"{number:020d}"


class Desk:
    """A mirror of at most three tenants, with its wire, clock and counts."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.wire = Wire(self.clock)
        self.stats = MirrorStats()
        self.mirror = Mirror(self.wire, self.channel, self.stats, most=MOST, monotonic=self.clock)

    @staticmethod
    def channel(tenant: str) -> str:
        """Name a tenant's channel."""
        return f"#{tenant}"

    def read(self, tenant: str, **tokens: int) -> Tokens:
        """Read a tenant's tokens, the store answering at once; return what the reader is told."""
        reading = self.mirror.reading(tenant, LIFE)
        answer = {model: token(number) for model, number in tokens.items()}
        return answer if reading is None else reading.done(answer)

    def warm(self, *tenants: str, label: int = 1) -> None:
        """Have tenants be mirrored, their labels held."""
        for tenant in tenants:
            self.read(tenant)
            self.read(tenant)
            self.wire.settle()
            self.read(tenant, label=label)

    def begin(self, tenant: str) -> Reading:
        """Begin to read a tenant that is mirrored."""
        reading = self.mirror.reading(tenant, LIFE)
        assert reading is not None
        return reading

    def hear(self, tenant: str, **tokens: str) -> None:
        """Let an event arrive."""
        self.wire.publish(self.channel(tenant), tokens)
        self.wire.settle()

    def label(self, tenant: str = "1") -> int | None:
        """Return the number of the label's token that is held."""
        held = self.mirror.held(tenant, ["label"])
        return None if held is None else int(held["label"])


@pytest.fixture
def desk() -> Desk:
    """Give a mirror that nothing was asked of."""
    return Desk()


def test_asked_once_is_not_subscribed_to(desk: Desk) -> None:
    """A tenant that is asked for once, or again only when `life` is over, is neither subscribed to nor held."""
    assert desk.mirror.reading("1", LIFE) is None
    desk.clock.now += LIFE
    assert desk.mirror.reading("1", LIFE) is None
    assert not desk.wire.commands
    assert desk.stats.tenants == 0


def test_asked_twice_is_subscribed_to(desk: Desk) -> None:
    """A tenant that is asked for again within `life` is subscribed to, and what is read after that is held."""
    desk.mirror.reading("1", LIFE)
    desk.clock.now += LIFE - 0.1
    assert desk.mirror.reading("1", LIFE) is None
    assert [command for command, *_ in desk.wire.commands] == ["subscribe"]
    desk.wire.settle()
    assert desk.label() is None
    desk.read("1", label=7)
    assert desk.label() == 7
    assert desk.stats.tenants == 1


def test_read_before_the_confirmation_is_not_held(desk: Desk) -> None:
    """What was asked for before the subscription was confirmed is not held, even if it is answered later."""
    desk.read("1")
    desk.read("1")
    assert desk.mirror.reading("1", LIFE) is None
    desk.wire.settle()
    assert desk.label() is None


def test_all_or_nothing(desk: Desk) -> None:
    """Only if all models asked for are held are they answered."""
    desk.warm("1")
    assert desk.mirror.held("1", ["label", "inbox"]) is None
    desk.read("1", inbox=4)
    assert desk.mirror.held("1", ["label", "inbox"]) == {"label": token(1), "inbox": token(4)}
    assert desk.mirror.held("1", []) == {}
    assert desk.mirror.held("2", ["label"]) is None


def test_an_event_raises_what_is_held(desk: Desk) -> None:
    """An event replaces a smaller token, is ignored for a larger one, and prolongs nothing."""
    desk.warm("1", label=5)
    desk.clock.now += 1
    desk.hear("1", label=token(7))
    assert desk.label() == 7
    desk.hear("1", label=token(6))
    assert desk.label() == 7
    desk.clock.now += LIFE - 1.1
    desk.wire.settle()
    assert desk.label() == 7
    desk.clock.now += 0.1
    desk.wire.settle()
    assert desk.label() is None


def test_an_event_adds_nothing(desk: Desk) -> None:
    """Of a model that nobody has read, or whose time is over, an event makes nothing held."""
    desk.warm("1")
    desk.hear("1", inbox=token(7))
    assert desk.mirror.held("1", ["inbox"]) is None
    desk.clock.now += LIFE
    desk.hear("1", label=token(7))
    assert desk.label() is None


def test_an_event_is_merged_into_a_reading_in_flight(desk: Desk) -> None:
    """When an event overtakes an older answer, the reader is told, and the mirror holds, the event's token."""
    desk.warm("1")
    reading = desk.begin("1")
    desk.hear("1", label=token(9), inbox=token(8))
    assert reading.done({"label": token(2)}) == {"label": token(9)}
    assert desk.label() == 9
    assert desk.mirror.held("1", ["inbox"]) is None


def test_a_newer_answer_wins_over_an_event(desk: Desk) -> None:
    """An answer that is newer than what was heard during the reading stays as it is."""
    desk.warm("1")
    reading = desk.begin("1")
    desk.hear("1", label=token(3))
    assert reading.done({"label": token(4)}) == {"label": token(4)}
    assert desk.label() == 4


def test_readings_may_overtake_each_other(desk: Desk) -> None:
    """Of two readings the later answer that is older changes nothing of what is held."""
    desk.warm("1")
    first = desk.begin("1")
    desk.clock.now += 1
    second = desk.begin("1")
    second.done({"label": token(8)})
    first.done({"label": token(2)})
    assert desk.label() == 8
    desk.clock.now += LIFE - 0.5
    desk.wire.settle()
    assert desk.label() == 8


def test_a_smaller_answer_is_held_when_the_larger_is_over(desk: Desk) -> None:
    """A store that has lost tokens answers smaller ones: they are held as soon as the larger one's time is over."""
    desk.warm("1", label=9)
    desk.clock.now += 1
    desk.wire.settle()
    assert desk.read("1", label=3) == {"label": token(3)}
    assert desk.label() == 9
    desk.clock.now += LIFE - 1
    desk.wire.settle()
    assert desk.label() is None
    desk.read("1", label=3)
    assert desk.label() == 3


def test_life_counts_from_the_asking(desk: Desk) -> None:
    """However late the answer comes, it is held for `life` from when it was asked for."""
    desk.warm("1")
    desk.clock.now += LIFE
    desk.wire.settle()
    reading = desk.begin("1")
    desk.clock.now += LIFE - 0.5
    desk.wire.settle()
    reading.done({"label": token(2)})
    assert desk.label() == 2
    desk.clock.now += 0.5
    desk.wire.settle()
    assert desk.label() is None


def test_silence_is_believed_for_a_while(desk: Desk) -> None:
    """What is held is answered while the last answered ping is believed, and again after the next."""
    desk.warm("1")
    desk.clock.now += 2.9
    assert desk.label() == 1
    desk.clock.now += 0.1
    assert desk.label() is None
    desk.wire.settle()
    assert desk.label() == 1


def test_a_ping_that_is_answered_late_is_believed_from_when_it_was_sent(desk: Desk) -> None:
    """A wire that is slow is believed for less."""
    desk.warm("1")
    desk.clock.now += 1
    desk.wire.ping()
    desk.clock.now += 2.5
    assert desk.label() is None
    desk.wire.serve()
    desk.wire.deliver()
    assert desk.label() == 1
    desk.clock.now += 0.5
    assert desk.label() is None


def test_nothing_is_held_after_a_loss(desk: Desk) -> None:
    """When the subscription is lost, nothing is held; it is made anew when the tenant is next asked for."""
    desk.warm("1", "2")
    desk.wire.lose()
    assert desk.label("1") is None
    assert desk.label("2") is None
    assert desk.mirror.reading("1", LIFE) is None
    desk.wire.settle()
    assert desk.label("1") is None
    desk.read("1", label=4)
    assert desk.label("1") == 4
    assert desk.label("2") is None
    assert desk.wire.subscribed == {"#1"}


def test_lost_during_a_reading(desk: Desk) -> None:
    """What was being read when the subscription was lost is not held, even if there is a new one by then."""
    desk.warm("1")
    reading = desk.begin("1")
    desk.hear("1", label=token(5))
    desk.wire.lose()
    desk.mirror.reading("1", LIFE)
    desk.wire.settle()
    assert reading.done({"label": token(2)}) == {"label": token(5)}
    assert desk.label() is None


def test_a_server_that_is_down_is_asked_each_time(desk: Desk) -> None:
    """While nothing comes of subscribing, it is tried again with each reading, and works when the server is back."""
    desk.wire.is_down = True
    for _ in range(4):
        assert desk.mirror.reading("1", LIFE) is None
    desk.wire.is_down = False
    desk.mirror.reading("1", LIFE)
    desk.wire.settle()
    desk.read("1", label=2)
    assert desk.label() == 2


def test_own_tokens_raise_and_never_make(desk: Desk) -> None:
    """What this process has bumped raises what is held and what is being read, and makes nothing held."""
    desk.warm("1")
    reading = desk.begin("1")
    desk.mirror.raise_tokens({"1": {"label": token(6), "inbox": token(6)}, "2": {"label": token(6)}})
    assert desk.label() == 6
    assert desk.mirror.held("1", ["inbox"]) is None
    assert desk.label("2") is None
    desk.mirror.raise_tokens({"1": {"label": token(6)}})
    assert desk.label() == 6
    assert reading.done({"label": token(2), "inbox": token(2)}) == {"label": token(6), "inbox": token(6)}
    assert desk.stats.events == 0


def test_a_smaller_token_that_a_write_is_answered(desk: Desk) -> None:
    """What is larger than a write's answer may have been forgotten by the store: it is held no more."""
    desk.warm("1", label=6)
    reading = desk.begin("1")
    desk.mirror.raise_tokens({"1": {"label": token(5)}})
    assert desk.label() is None
    assert reading.done({"label": token(5)}) == {"label": token(5)}
    assert desk.label() is None
    desk.read("1", label=5)
    assert desk.label() == 5


def test_a_write_that_is_answered_late(desk: Desk) -> None:
    """When a write's answer comes after a larger token was read, no reading from before that makes it held."""
    desk.warm("1")
    early = desk.begin("1")
    assert desk.read("1", label=5) == {"label": token(5)}
    desk.mirror.raise_tokens({"1": {"label": token(3)}})
    assert early.done({"label": token(1)}) == {"label": token(3)}
    assert desk.label() is None


@pytest.mark.parametrize("own", [True, False], ids=["own", "heard"])
def test_a_drop(own: bool, desk: Desk) -> None:
    """What is dropped, here or by an event, is not held, even if it is being read; smaller tokens may follow."""
    desk.warm("1", label=9)
    desk.read("1", inbox=9)
    reading = desk.begin("1")
    if own:
        desk.mirror.drop({"1": ["label"], "2": ["label"]})
    else:
        desk.hear("1", label="")
    assert desk.label() is None
    reading.done({"label": token(9)})
    assert desk.label() is None
    assert desk.mirror.held("1", ["inbox"]) == {"inbox": token(9)}
    desk.read("1", label=2)
    assert desk.label() == 2


def test_a_failed_reading_changes_nothing(desk: Desk) -> None:
    """What was held stays so when a reading fails."""
    desk.warm("1")
    desk.begin("1").failed()
    assert desk.label() == 1


def test_the_least_recently_asked_for_goes_first(desk: Desk) -> None:
    """When there are too many tenants, the one that was asked for longest ago makes room, and is counted."""
    desk.warm("1", "2", "3")
    desk.read("1", label=1)
    desk.warm("4")
    assert desk.label("2") is None
    assert [desk.label(tenant) for tenant in ("1", "3", "4")] == [1, 1, 1]
    assert desk.wire.subscribed == {"#1", "#3", "#4"}
    assert desk.stats.evicted == 1
    assert desk.stats.tenants == 3


def test_room_is_made_before_it_is_taken(desk: Desk) -> None:
    """The server never has more subscriptions than tenants may be mirrored."""
    for tenant in map(str, range(20)):
        desk.read(tenant)
        desk.read(tenant)
        while desk.wire.commands:
            desk.wire.serve()
            assert len(desk.wire.subscribed) <= MOST
    assert desk.stats.evicted == 17


def test_evicted_during_a_reading(desk: Desk) -> None:
    """What is read of a tenant that has made room meanwhile is not held, even if it has come back."""
    desk.warm("1")
    reading = desk.begin("1")
    desk.warm("2", "3", "4")
    desk.warm("1", label=5)
    reading.done({"label": token(9)})
    assert desk.label() == 5


def test_who_is_asked_for_rarely_is_not_remembered_for_ever(desk: Desk) -> None:
    """As many tenants are remembered as asked for once as may be mirrored."""
    for tenant in map(str, range(100)):
        desk.mirror.reading(tenant, LIFE)
    assert len(desk.mirror._asked) == MOST
    desk.mirror.reading("0", LIFE)
    assert desk.stats.tenants == 0
    desk.mirror.reading("99", LIFE)
    assert desk.stats.tenants == 1


def test_idle_tenants_leave(desk: Desk) -> None:
    """A tenant that nobody has asked for in a minute is left when others are asked for."""
    desk.warm("1", "2", "3")
    desk.clock.now += 30
    desk.read("3", label=2)
    desk.clock.now += 30
    desk.wire.settle()
    assert desk.stats.tenants == 3
    desk.mirror.reading("9", LIFE)
    desk.wire.settle()
    assert desk.wire.subscribed == {"#3"}
    assert desk.stats.tenants == 1
    assert desk.stats.evicted == 0


def test_a_long_life_is_no_idleness(desk: Desk) -> None:
    """A tenant that is held for a minute, and so asked for but once a minute, stays."""
    for _ in range(2):
        desk.mirror.reading("1", 60.0)
    desk.wire.settle()
    desk.clock.now += 61
    desk.mirror.reading("1", 60.0)
    assert desk.wire.subscribed == {"#1"}
    assert desk.stats.tenants == 1


def test_closed(desk: Desk) -> None:
    """A closed mirror holds nothing, has left all channels, and takes no notice of what was being read."""
    desk.warm("1", "2")
    reading = desk.begin("1")
    desk.mirror.close()
    assert reading.done({"label": token(5)}) == {"label": token(5)}
    assert desk.label() is None
    desk.wire.settle()
    assert desk.wire.subscribed == set()
    assert desk.stats.tenants == 0


def test_counts(desk: Desk) -> None:
    """Hits, misses and events are counted."""
    desk.warm("1")
    desk.label()
    desk.label("2")
    desk.hear("1", label=token(2))
    desk.hear("2", label=token(2))
    assert (desk.stats.hits, desk.stats.misses, desk.stats.events) == (1, 1, 1)
