"""What the store does beside folding: it shares folds, raises what others took, marks what is not folded, sweeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Label, sync_engine
from adapters.sqlalchemy.tests.durable.databases import Database, by_steps, count_pending, empty, revalidator_on
from sqlalchemy import Engine, StaticPool, insert
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate import Keyspace, MemoryStore, Revalidator
from cache_revalidate_sqlalchemy import DurableStore, attach
from cache_revalidate_sqlalchemy import sharing as sharing_module
from cache_revalidate_sqlalchemy.behind import Behind
from cache_revalidate_sqlalchemy.sharing import Sharing

if TYPE_CHECKING:
    from cache_revalidate_sqlalchemy.copies import Tokens
    from cache_revalidate_sqlalchemy.pending import Pairs

GetDatabase = Callable[..., Database]
KEYSPACE = Keyspace("cache_revalidate", 60)


@pytest.fixture(params=["sqlite3", "psycopg", "psycopg by steps"])
def engine(request: pytest.FixtureRequest, shared_database: GetDatabase) -> Iterator[Engine]:
    """Give an engine of two databases."""
    driver, *way = request.param.split(maxsplit=1)
    with shared_database(driver, *way).sync_engine(driver) as engine:
        if way:
            by_steps(engine)
        empty(engine)
        yield engine


def note_labels(engine: Engine, *tenants: str) -> None:
    """Note that tenants' labels were touched, as a process does that dies after its commit."""
    with engine.begin() as connection:
        rows = [{"namespace": "cache_revalidate", "model": "label", "tenant": tenant} for tenant in tenants]
        connection.execute(insert(TABLES.pending), rows)


async def token(revalidator: Revalidator) -> str:
    """Return the token of one tenant's labels."""
    return (await revalidator.tokens(1, "label"))["label"]


async def test_what_another_fold_took_is_raised_all_the_same(engine: Engine) -> None:
    """A commit raises its token also when another's fold made it, which has not raised it yet, and may never."""
    copy = MemoryStore()
    ours = revalidator_on(DurableStore(engine, TABLES, copy))
    before = await token(ours)
    note_labels(engine, "1")
    without_copies = revalidator_on(DurableStore(engine, TABLES))
    now = await token(without_copies)
    assert await copy.peek(KEYSPACE, "1", ["label"]) == {"label": before}
    assert await ours.fold_many({1: ["label"]}) == {"1": {"label": now}}
    assert await copy.peek(KEYSPACE, "1", ["label"]) == {"label": now}


@pytest.mark.parametrize("background", [False, True])
async def test_own_writes_are_read_at_once(engine: Engine, background: bool) -> None:
    """In the background, too, a process never answers its own commits by the copies of before."""
    copy = MemoryStore()
    revalidator = revalidator_on(DurableStore(engine, TABLES, copy))
    sessions: sessionmaker[Session] = sessionmaker(engine)
    attachment = attach(revalidator, sessions, ATTACHED, background=background)
    last = await token(revalidator)
    for _ in range(10):

        def write() -> None:
            with sessions.begin() as session:
                session.add(Label(account_id=1))

        await asyncio.to_thread(write)
        now = await token(revalidator)
        assert now > last
        last = now
    deadline = asyncio.get_running_loop().time() + 5
    while count_pending(engine) or engine.pool.checkedout():  # type: ignore[attr-defined]
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    attachment.detach()


async def test_a_sweep_folds_what_nobody_has(engine: Engine) -> None:
    """While the app runs, what a dead process has noted is folded and raised, of however many tenants."""
    copy = MemoryStore()
    revalidator = revalidator_on(DurableStore(engine, TABLES, copy, sweep_every=0.05))
    before = await token(revalidator)
    async with revalidator.lifespan():
        note_labels(engine, *map(str, range(1, 701)), *["1"] * 3)
        deadline = asyncio.get_running_loop().time() + 20
        while count_pending(engine):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.02)
        while (held := await copy.peek(KEYSPACE, "1", ["label"]))["label"] == before:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.02)
    assert held["label"] > before


def test_many_rows_are_forwarded(database_of: GetDatabase) -> None:
    """However many rows another database holds, they are forwarded in turns, none twice."""
    with (
        database_of("sqlite3").sync_engine("sqlite3") as home,
        database_of("sqlite3", "other").sync_engine("sqlite3") as other,
    ):
        note_labels(other, *map(str, range(1203)))
        store = DurableStore(home, TABLES, others=[other])

        async def forward() -> None:
            await store._forwarding.forward(store._ledger(KEYSPACE))

        asyncio.run(forward())
        assert (count_pending(home), count_pending(other)) == (1203, 0)


def test_a_database_in_memory() -> None:
    """A database that one thread sees alone is asked in that thread."""
    with sync_engine("sqlite://", poolclass=StaticPool) as engine:
        revalidator = revalidator_on(DurableStore(engine, TABLES, MemoryStore()))
        sessions: sessionmaker[Session] = sessionmaker(engine)
        attachment = attach(revalidator, sessions, ATTACHED)
        before = asyncio.run(token(revalidator))
        with sessions.begin() as session:
            session.add(Label(account_id=1))
        assert asyncio.run(token(revalidator)) > before
        assert count_pending(engine) == 0
        attachment.detach()


class Answers:
    """Counts the batches that are begun, and ends each when it is told to."""

    def __init__(self) -> None:
        self.batches: list[Pairs] = []
        self.ends: list[asyncio.Future[dict[str, Tokens]]] = []

    async def __call__(self, _: str, pairs: Pairs) -> dict[str, Tokens]:
        """Begin a batch."""
        self.batches.append(pairs)
        self.ends.append(asyncio.get_running_loop().create_future())
        return await self.ends[-1]

    def end(self, number: int, token: str) -> None:
        """Answer a batch, each pair with the same token."""
        self.ends[number].set_result(
            {tenant: dict.fromkeys(models, token) for tenant, models in self.batches[number].items()}
        )

    async def begun(self, count: int) -> None:
        """Wait until so many were begun."""
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(self.batches) == count


def asking(sharing: Sharing[str]) -> Callable[..., asyncio.Task[dict[str, Tokens]]]:
    """Return a function that asks for a tenant's models in a task."""
    return lambda tenant, *models: asyncio.create_task(sharing.ask("folds", {tenant: models}))


async def test_an_answer_is_shared_by_those_who_came_before_it_began() -> None:
    """Who comes while a fold runs waits for the next, together with all who came meanwhile, of whatever tenant."""
    answers = Answers()
    ask = asking(Sharing(answers))
    first = [ask("1", "label"), ask("1", "inbox"), ask("2", "label")]
    await answers.begun(1)
    late = [ask("1", "label"), ask("1", "team"), ask("3", "label")]
    await answers.begun(1)
    assert answers.batches[0] == {"1": {"label", "inbox"}, "2": {"label"}}
    answers.end(0, "old")
    assert [await task for task in first] == [{"1": {"label": "old"}}, {"1": {"inbox": "old"}}, {"2": {"label": "old"}}]
    await answers.begun(2)
    assert answers.batches[1] == {"1": {"label", "team"}, "3": {"label"}}
    late[0].cancel()
    answers.end(1, "new")
    assert [await task for task in late[1:]] == [{"1": {"team": "new"}}, {"3": {"label": "new"}}]
    with pytest.raises(asyncio.CancelledError):
        await late[0]


async def test_a_failure_is_told_to_all_who_share_it() -> None:
    """An error reaches everyone who waits for the answer, and none who comes after."""
    answers = Answers()
    ask = asking(Sharing(answers))
    tasks = [ask("1", "label") for _ in range(3)]
    await answers.begun(1)
    answers.ends[0].set_exception(ConnectionError("gone"))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(result) for result in results] == ["gone"] * 3
    after = ask("1", "label")
    await answers.begun(2)
    answers.end(1, "new")
    assert await after == {"1": {"label": "new"}}


async def test_nobody_waits_long_for_a_fold_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who wait for a fold that waits for a lock, say, go ahead of it after a while; who comes then, later."""
    monkeypatch.setattr(sharing_module, "_PATIENCE", 0.01)
    answers = Answers()
    ask = asking(Sharing(answers))
    stuck = ask("1", "label")
    await answers.begun(1)
    late = [ask("2", "label"), ask("3", "label")]
    await answers.begun(1)
    await asyncio.sleep(0.03)
    await answers.begun(2)
    later = ask("2", "label")
    answers.end(0, "stuck")
    await answers.begun(3)
    for number in (1, 2):
        answers.end(number, f"{number}")
    assert [await task for task in (stuck, *late, later)] == [
        {"1": {"label": "stuck"}},
        {"2": {"label": "1"}},
        {"3": {"label": "1"}},
        {"2": {"label": "2"}},
    ]


async def test_few_wait_for_what_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a lock is kept, and however many come meanwhile, most of the pool's connections are the app's."""
    monkeypatch.setattr(sharing_module, "_PATIENCE", 0.001)
    answers = Answers()
    ask = asking(Sharing(answers))
    tasks = []
    for number in range(12):
        tasks.append(ask(f"{number}", "label"))
        await asyncio.sleep(0.005)
    await answers.begun(4)
    answers.end(0, "first")
    await answers.begun(5)
    assert answers.batches[4] == {f"{number}": {"label"} for number in range(4, 12)}
    for number in range(1, 5):
        answers.end(number, "then")
    assert [(await task)[f"{number}"]["label"] for number, task in enumerate(tasks)] == ["first"] + 11 * ["then"]


async def test_commits_in_the_background_share_folds() -> None:
    """The first is folded at once, the others all together when the pause is over, those in doubt apart."""
    folds: list[tuple[Pairs, bool]] = []

    async def fold(pairs: Pairs, in_doubt: bool) -> None:
        folds.append((pairs, in_doubt))

    behind = Behind(fold)
    behind.add({"1": {"label"}}, in_doubt=False)
    for _ in range(3):
        await asyncio.sleep(0)
    assert folds == [({"1": {"label"}}, False)]
    for tenant, model in (("1", "label"), ("2", "label"), ("1", "team")):
        behind.add({tenant: {model}}, in_doubt=False)
        await asyncio.sleep(0)
    behind.add({"4": {"label"}}, in_doubt=True)
    assert len(folds) == 1
    await asyncio.sleep(0.05)
    assert folds[1:] == [({"1": {"label", "team"}, "2": {"label"}}, False), ({"4": {"label"}}, True)]


async def test_a_fold_in_the_background_that_is_stuck() -> None:
    """What is committed later waits for it a while only, though it goes on."""
    folds: list[Pairs] = []
    is_over = asyncio.Event()

    async def fold(pairs: Pairs, _: bool) -> None:
        if "1" in pairs:
            await is_over.wait()
        folds.append(pairs)

    behind = Behind(fold)
    for tenant in ("1", "2"):
        behind.add({tenant: {"label"}}, in_doubt=False)
        await asyncio.sleep(0.02)
    async with asyncio.timeout(3):
        while not folds:
            await asyncio.sleep(0.005)
    assert folds == [{"2": {"label"}}]
    is_over.set()
    await asyncio.sleep(0.02)
    assert folds == [{"2": {"label"}}, {"1": {"label"}}]


async def test_a_fold_in_the_background_that_is_cancelled_before_it_begins() -> None:
    """It is made up for with the next commit's."""
    folds: list[Pairs] = []

    async def fold(pairs: Pairs, _: bool) -> None:
        folds.append(pairs)

    behind = Behind(fold)
    others = asyncio.all_tasks()
    behind.add({"1": {"label"}}, in_doubt=False)
    (task,) = asyncio.all_tasks() - others
    task.cancel()
    await asyncio.sleep(0)
    behind.add({"2": {"label"}}, in_doubt=False)
    await asyncio.sleep(0.05)
    assert folds == [{"1": {"label"}, "2": {"label"}}]
