"""The mirror beside a toy store, in whatever order readings, events, losses and time come: a state machine."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cache_revalidate.stores.listening import Line
from cache_revalidate.stores.mirror import _CLOSED, Mirror, MirrorStats, Reading, _Entry
from cache_revalidate.types import Tokens
from tests.stores.wire import BELIEVED_FOR, Clock, Wire

TENANTS = ["1", "2", "3"]
MODELS = ["label", "inbox"]
MOST = 2
AT_ONCE = 4
LIFE = 5.0
HIGH, LOW = "1", "0"
"""The first digits of tokens; what follows a drop may be lower than all before."""

MISHAPS = [
    "drop",
    "drop here",
    "drop, lower",
    "drop here, lower",
    "expire",
    "lose",
    "lose, down",
    *["lose, miss a bump, and again"] * 3,
    *["lose, miss a bump, and again, late"] * 2,
    "wait long",
    *["come back"] * 2,
]

Pair = tuple[str, str]
Hear = Callable[[_Entry, Tokens], None]

# One tenant more often than the others, so that much happens to it before it makes room for them.
tenants = st.sampled_from(["1"] * 8 + ["2", "3"])
rarely = st.sampled_from([False] * 7 + [True])
models = st.sampled_from(MODELS)


@dataclass
class Asked:
    """A reading under way: when it was begun, whether its answer is to be held, and the store's answer, if given."""

    tenant: str
    at: float
    reading: Reading | None
    answer: Tokens | None = None


@dataclass
class Held:
    """A token that the toy store has held, and until when it may be believed to."""

    token: str
    until: float = float("inf")


class MirrorMachine(RuleBasedStateMachine):
    """What a mirror answers, compared with what the store held in the seconds before.

    The store is a register per tenant and model. It tells of its changes over a wire that may be slow or be lost, and
    now and then forgets a token without telling, as Redis does when a key expires.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.wire = Wire(self.clock)
        self.stats = MirrorStats()
        self.mirror = Mirror(self.wire, channel, self.stats, most=MOST, monotonic=self.clock)
        self.truth: dict[Pair, Held] = {}
        self.history: dict[Pair, list[Held]] = defaultdict(list)
        self.minted = 0
        self.asked: list[Asked] = []
        self.own: list[tuple[Pair, str]] = []
        # Since the subscription was confirmed: when what has been read was asked for, the newest heard or read, the
        # newest answered.
        self.read: dict[Pair, float] = {}
        self.newest: dict[Pair, str] = {}
        self.answered: dict[Pair, str] = {}

    @initialize()
    def warm(self) -> None:
        """Begin with a tenant that is mirrored."""
        for _ in range(3):
            self.read_at_once("1", may_mint=True)
            self.settle()

    @rule(tenant=tenants, answered=st.booleans())
    def begin(self, tenant: str, answered: bool) -> None:
        """Begin a reading; the store may answer at once, but not be heard yet."""
        if len(self.asked) < AT_ONCE:
            was_confirmed = channel(tenant) in self.wire.confirmed
            reading = self.mirror.reading(tenant, LIFE)
            assert was_confirmed or reading is None
            self.forget_what_is_over()
            self.asked.append(Asked(tenant, self.clock.now, reading))
            if answered:
                self.answer(-1, may_mint=True)

    @precondition(lambda self: any(asked.answer is None for asked in self.asked))
    @rule(which=st.integers(-4, 3), may_mint=st.booleans())
    def answer(self, which: int, may_mint: bool) -> None:
        """Let the store answer a reading, minting what is missing or not, as in `read` and `peek`."""
        waiting = [asked for asked in self.asked if asked.answer is None]
        asked = waiting[which % len(waiting) if which >= 0 else -1]
        for model in MODELS if may_mint else ():
            if (asked.tenant, model) not in self.truth:
                self.change((asked.tenant, model))
        asked.answer = {
            model: self.truth[asked.tenant, model].token for model in MODELS if (asked.tenant, model) in self.truth
        }

    @precondition(lambda self: any(asked.answer is not None for asked in self.asked))
    @rule(which=st.integers(-4, 3), fails=rarely)
    def finish(self, which: int, fails: bool) -> None:
        """Let an answer arrive, or a failure in its place."""
        waiting = [asked for asked in self.asked if asked.answer is not None]
        asked = waiting[which % len(waiting) if which >= 0 else -1]
        self.asked.remove(asked)
        if asked.reading is None or asked.answer is None:
            return
        counts = asked.reading in self.readings_of(asked.tenant)
        dropped = set(asked.reading.dropped)
        if fails:
            asked.reading.failed()
            return
        told = asked.reading.done(asked.answer)
        assert told.keys() == asked.answer.keys()
        assert all(told[model] >= token for model, token in asked.answer.items())
        for model, token in told.items() if counts else ():
            if model not in dropped:
                self.read[asked.tenant, model] = max(asked.at, self.read.get((asked.tenant, model), 0.0))
                self.note((asked.tenant, model), token)

    @rule(tenant=tenants, may_mint=st.booleans())
    def read_at_once(self, tenant: str, may_mint: bool) -> None:
        """Read, and be answered, before anything else happens."""
        if len(self.asked) < AT_ONCE:
            self.begin(tenant, answered=False)
            self.answer(-1, may_mint)
            self.finish(-1, fails=False)

    @rule(tenant=tenants, model=models, whose=st.sampled_from(["another's", "another's, and read", "own"]))
    def bump(self, tenant: str, model: str, whose: str) -> None:
        """Let another process bump, which may be read here before it is heard; or this one, which learns of it late."""
        token = self.change((tenant, model))
        if whose == "own":
            self.own.append(((tenant, model), token))
        elif whose == "another's, and read":
            self.read_at_once(tenant, may_mint=False)

    @precondition(lambda self: self.own)
    @rule(which=st.integers(0, 9))
    def raise_own(self, which: int) -> None:
        """Let this process learn what it has bumped."""
        (tenant, model), token = self.own.pop(which % len(self.own))
        self.mirror.raise_tokens({tenant: {model: token}})

    @rule()
    def ping(self) -> None:
        """Send a ping."""
        self.wire.ping()

    @precondition(lambda self: self.wire.commands)
    @rule()
    def serve(self) -> None:
        """Let a command reach the server."""
        self.wire.serve()

    @precondition(lambda self: self.wire.stream)
    @rule()
    def deliver(self) -> None:
        """Let what the server has sent arrive."""
        kind, of, content = self.wire.deliver()
        self.forget_what_is_over()
        for tenant in TENANTS:
            if kind == "message" and of == channel(tenant) and of in self.wire.confirmed:
                assert isinstance(content, dict)
                for model, token in content.items():
                    if token:
                        self.note((tenant, model), token)
                    else:
                        self.forget((tenant, model))

    @rule()
    def settle(self) -> None:
        """Let everything arrive; what is held then is what the store holds."""
        self.wire.ping()
        while self.wire.commands:
            self.serve()
        while self.wire.stream:
            self.deliver()
        for pair, held in self.truth.items():
            tenant, model = pair
            if (answer := self.mirror.held(tenant, [model])) is not None:
                gone = [past.token for past in self.history[pair] if past.until >= self.clock.now and past is not held]
                assert answer[model] in {held.token, *gone}

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 2.9]), quietly=st.booleans())
    def wait(self, seconds: float, quietly: bool) -> None:
        """Let time pass; if not quietly, things arrive meanwhile."""
        self.clock.now += seconds
        if not quietly:
            self.settle()

    @rule(what=st.sampled_from(MISHAPS), tenant=tenants, model=models)
    def mishap(self, what: str, tenant: str, model: str) -> None:
        """Let something happen that is not rare, and yet rarer than the rest."""
        pair = tenant, model
        if what.startswith("drop"):
            self.drop(pair, own="here" in what, lower="lower" in what)
        elif what == "expire" and pair in self.truth:  # and nobody is told
            self.truth.pop(pair).until = self.clock.now + LIFE
        elif what.startswith("lose"):
            self.wire.is_down = "down" in what
            if "late" in what:
                self.begin(tenant, answered=True)
            self.wire.lose()
            self.forget_what_is_over()
            if "again" in what:
                self.change(pair)
                self.begin(tenant, answered=False)
                self.settle()
            if "late" in what and any(asked.answer is not None for asked in self.asked):
                self.finish(-1, fails=False)
                self.wait(BELIEVED_FOR, quietly=False)
        elif what == "wait long":
            self.clock.now += 61.0
        else:
            self.wire.is_down = False

    @invariant()
    def what_is_held_is_believed_rightly(self) -> None:
        """Nothing is held but what was read, nothing older than known here, and nothing that the store gave up."""
        for tenant in TENANTS:
            for model in MODELS:
                held = self.mirror.held(tenant, [model])
                if held is not None:
                    self.check((tenant, model), held[model])

    @invariant()
    def counts_are_right(self) -> None:
        """No more tenants are held than allowed, as the counts say."""
        assert self.stats.tenants == len(self.mirror._entries) <= MOST

    def check(self, pair: Pair, token: str) -> None:
        """Check what the mirror answers."""
        now = self.clock.now
        assert channel(pair[0]) in self.wire.confirmed, "held without a subscription"
        assert now < self.wire.believed_until, "believed though no ping was answered"
        assert pair in self.read, "held though nobody has read it"
        assert now < self.read[pair] + LIFE, "held too long"
        if token.startswith(HIGH):
            assert token >= self.newest[pair], "older than what was read or heard"
            assert token >= self.answered.get(pair, ""), "went backward"
        assert any(past.token == token and past.until >= now - BELIEVED_FOR for past in self.history[pair]), "stale"
        self.answered[pair] = token

    def drop(self, pair: Pair, *, own: bool, lower: bool) -> None:
        """Let a token be dropped, after which a smaller one may be held."""
        tenant, model = pair
        # An answer that is on its way to the one who drops would raise the mirror again.
        self.own = [(other, token) for other, token in self.own if other != pair]
        if pair in self.truth:
            self.truth.pop(pair).until = self.clock.now
        self.wire.publish(channel(tenant), {model: ""})
        if own:
            self.mirror.drop({tenant: [model]})
            self.forget(pair)
        if lower:
            self.minted += 1
            self.hold(pair, f"{LOW}{self.minted:09d}{'0' * 10}")

    def change(self, pair: Pair) -> str:
        """Let the store hold a token larger than all before."""
        self.minted += 1
        token = f"{HIGH}{self.minted:09d}{'0' * 10}"
        self.hold(pair, token)
        return token

    def hold(self, pair: Pair, token: str) -> None:
        """Let the store hold a token from now on, and publish it."""
        if pair in self.truth:
            self.truth[pair].until = self.clock.now
        self.truth[pair] = Held(token)
        self.history[pair].append(self.truth[pair])
        tenant, model = pair
        self.wire.publish(channel(tenant), {model: token})

    def note(self, pair: Pair, token: str) -> None:
        """Note that a token was read or heard of."""
        self.newest[pair] = max(token, self.newest.get(pair, ""))

    def forget(self, pair: Pair) -> None:
        """Note that what is held next may be smaller, and must have been read."""
        self.read.pop(pair, None)
        self.newest.pop(pair, None)
        self.answered.pop(pair, None)

    def forget_what_is_over(self) -> None:
        """Note that all is new for those who have no subscription now."""
        for tenant in TENANTS:
            if channel(tenant) not in self.wire.confirmed:
                for model in MODELS:
                    self.forget((tenant, model))

    def readings_of(self, tenant: str) -> set[Reading]:
        """Return the readings whose answers are to be held."""
        entry = self.mirror._entries.get(tenant)
        return set() if entry is None else entry._readings


def channel(tenant: str) -> str:
    """Name a tenant's channel."""
    return f"#{tenant}"


def test_the_machine_passes() -> None:
    """A mirror as it is answers nothing that the machine finds wrong."""
    run_state_machine_as_test(
        MirrorMachine, settings=settings(max_examples=100, stateful_step_count=100, deadline=None)
    )


def no_merging(_: Reading, tokens: Tokens) -> None:
    """Tell a reading in flight nothing."""


def adding(entry: _Entry, tokens: Tokens, *, is_answer: bool = False, _hear: Hear = _Entry.hear) -> None:
    """Hold what an event tells, even if nobody has read it."""
    line, held = entry._known
    new = {model: (token, entry.asked + LIFE) for model, token in tokens.items() if token and model not in held}
    entry._known = (line, {**held, **new})
    _hear(entry, tokens)


def keeping_on_loss(entry: _Entry, line: Line) -> None:
    """Go on with what was held under the lost subscription."""
    entry._known = (line, entry._known[1])


def keeping(entry: _Entry) -> None:
    """Give up nothing but the line, and what is being read."""
    entry._known = (_CLOSED, entry._known[1])
    entry._readings.clear()


def reading_on(entry: _Entry) -> None:
    """Hold nothing after a loss, and yet what is being read."""
    entry._known = (_CLOSED, {})


def last_event_wins(entry: _Entry, tokens: Tokens, *, is_answer: bool = False) -> None:
    """Hold whatever an event tells, larger or not."""
    for reading in entry._readings:
        reading.hear(tokens)
    line, held = entry._known
    known = dict(held)
    for model, token in tokens.items():
        if model in known:
            known.pop(model) if not token else known.update({model: (token, known[model][1])})
    entry._known = (line, known)


def deaf_to_drops(entry: _Entry, tokens: Tokens, *, is_answer: bool = False, _hear: Hear = _Entry.hear) -> None:
    """Take no notice of what is dropped."""
    _hear(entry, {model: token for model, token in tokens.items() if token})


def last_answer_wins(entry: _Entry, reading: Reading, tokens: Tokens) -> Tokens:
    """Hold whatever was answered last."""
    raised = {model: max(token, reading.raised.get(model, "")) for model, token in tokens.items()}
    if reading in entry._readings:
        entry._readings.discard(reading)
        line, held = entry._known
        new = {model: (token, reading.until) for model, token in raised.items() if model not in reading.dropped}
        entry._known = (line, {**held, **new})
    return raised


def living_long(
    entry: _Entry, until: float, _reading: Callable[[_Entry, float], Reading | None] = _Entry.reading
) -> Reading | None:
    """Hold what is read for twice as long."""
    return _reading(entry, until + LIFE)


def believing(entry: _Entry, models: list[str]) -> Tokens | None:
    """Believe a line that is silent."""
    _, held = entry._known
    tokens = {model: held[model][0] for model in models if model in held and entry._monotonic() < held[model][1]}
    return tokens if len(tokens) == len(models) else None


FAULTS: Mapping[str, Sequence[tuple[type, str, Callable[..., object]]]] = {
    "readings in flight hear nothing": [(Reading, "hear", no_merging)],
    "events add": [(_Entry, "hear", adding)],
    "a loss leaves what was held": [(_Entry, "confirmed", keeping_on_loss), (_Entry, "lost", keeping)],
    "a loss leaves what is being read": [(_Entry, "lost", reading_on)],
    "the last event wins": [(_Entry, "hear", last_event_wins)],
    "drops are ignored": [(_Entry, "hear", deaf_to_drops)],
    "the last answer wins": [(_Entry, "end", last_answer_wins)],
    "what is read lives long": [(_Entry, "reading", living_long)],
    "silence is believed": [(_Entry, "tokens", believing)],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_machine_finds_the_fault(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror that lacks one of its rules fails."""
    for part in FAULTS[fault]:
        monkeypatch.setattr(*part)
    search = settings(
        max_examples=4_000,
        stateful_step_count=100,
        deadline=None,
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
        print_blob=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(AssertionError), contextlib.redirect_stdout(None):
        run_state_machine_as_test(MirrorMachine, settings=search)
