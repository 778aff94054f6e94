"""What can be attached, and what is refused when it is."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import (
    ATTACHED,
    Conversation,
    Inbox,
    InboxMember,
    Label,
    Note,
    RecordingStore,
    Team,
    async_engine,
    conversation_labels,
    label_table,
    new_revalidator,
)
from sqlalchemy import Engine, Integer, column, insert, select, table, update
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from cache_revalidate import ConfigurationError, Revalidator
from cache_revalidate_sqlalchemy import UnknownTenantError, attach, touch
from cache_revalidate_sqlalchemy.rules import underscore

Bumped = Callable[[], set[str]]


class OwnSession(Session):
    """An app's own class of sessions."""


class OwnAsyncSession(AsyncSession):
    """An app's own class of async sessions."""


class OwnPairedSession(AsyncSession):
    """An app's own class of async sessions, on its own class of synchronous ones."""

    sync_session_class = OwnSession


def test_a_session_class_of_ones_own_is_attached(engine: Engine, store: RecordingStore) -> None:
    """All sessions of the class and of its subclasses are followed."""
    attachment = attach(new_revalidator(store), OwnSession, ATTACHED)
    with OwnSession(engine) as session:
        session.add(Label(account_id=1))
        session.commit()
    with sessionmaker(engine, class_=OwnSession).begin() as session:
        session.add(Label(account_id=2))
    attachment.detach()
    assert store.bumped() == {"label 1", "label 2"}


def test_a_scoped_session_is_attached_by_its_sessionmaker(engine: Engine, store: RecordingStore) -> None:
    """A registry's sessions are those of its factory."""
    scoped = scoped_session(sessionmaker(engine))
    attachment = attach(new_revalidator(store), scoped, ATTACHED)
    scoped.add(Label(account_id=1))
    scoped.commit()
    scoped.remove()
    attachment.detach()
    assert store.bumped() == {"label 1"}


@pytest.mark.parametrize("cls", [OwnAsyncSession, OwnPairedSession])
async def test_an_async_session_class_of_ones_own_is_attached(
    tmp_path: Path, store: RecordingStore, cls: type[AsyncSession]
) -> None:
    """Fact 11: its synchronous class is subclassed for it; the global one, and a shared one, stay as they are."""
    engine = await async_engine(f"sqlite+aiosqlite:///{tmp_path / 'desk.sqlite'}")
    for account in (1, 2):
        attachment = attach(new_revalidator(store), cls, ATTACHED)
        async with cls(engine) as session:
            session.add(Label(account_id=account))
            await session.commit()
        async with AsyncSession(engine) as session:
            session.add(Label(account_id=3))
            await session.commit()
        assert store.bumped() == {f"label {account}"}
        attachment.detach()
    assert AsyncSession.sync_session_class is Session
    assert len(cls.sync_session_class.__mro__) <= len(OwnSession.__mro__) + 1
    await engine.dispose()


async def test_an_engine_that_is_met_at_work_is_listened_to_without_harm(tmp_path: Path, store: RecordingStore) -> None:
    """A session class says nothing of its engines: they are met when several sessions are in their listeners."""
    engine = await async_engine(f"sqlite+aiosqlite:///{tmp_path / 'desk.sqlite'}")
    attachment = attach(new_revalidator(store), OwnAsyncSession, ATTACHED)

    async def write(account: int) -> None:
        async with OwnAsyncSession(engine) as session:
            session.add(Label(account_id=account))
            await session.commit()

    await asyncio.gather(*(write(account) for account in range(5)))
    assert store.bumped() == {f"label {account}" for account in range(5)}
    async with engine.begin() as connection, OwnAsyncSession(connection) as session:
        session.add(Label(account_id=7))
        await session.commit()
        assert store.bumps == []
    assert store.bumped() == {"label 7"}
    attachment.detach()
    await engine.dispose()


async def test_async_factories_are_attached(tmp_path: Path, store: RecordingStore) -> None:
    """An async_sessionmaker with a synchronous class of its own, and an async registry."""
    engine = await async_engine(f"sqlite+aiosqlite:///{tmp_path / 'desk.sqlite'}")
    sessions = async_sessionmaker(engine, sync_session_class=OwnSession)
    scoped = async_scoped_session(sessions, scopefunc=lambda: 0)
    attachment = attach(new_revalidator(store), scoped, ATTACHED)
    async with sessions.begin() as session:
        assert isinstance(session.sync_session, OwnSession)
        session.add(Label(account_id=1))
    assert store.bumped() == {"label 1"}
    attachment.detach()
    await engine.dispose()


@pytest.mark.parametrize("cls", [Session, AsyncSession])
def test_the_global_session_class_is_refused(cls: Any) -> None:
    """It would follow the sessions of every library in the process."""
    with pytest.raises(ConfigurationError, match="global Session"):
        attach(new_revalidator(), cls, ATTACHED)


def test_attaching_twice_is_refused_until_detached(engine: Engine, store: RecordingStore) -> None:
    """One attachment per session class: else each commit would bump twice. Detached, it may be attached again."""
    sessions = sessionmaker(engine)
    first = attach(new_revalidator(store), sessions, {Label: "account_id"})
    with pytest.raises(ConfigurationError, match="attached already"):
        attach(new_revalidator(store), sessions, {Team: "account_id"})
    first.detach()
    first.detach()
    with sessions.begin() as session:
        session.add(Label(account_id=1))
        session.execute(update(Label).values(title="x"))
    assert store.bumps == []
    second = attach(new_revalidator(store), sessions, {Team: "account_id"})
    with sessions.begin() as session:
        session.add_all([Label(account_id=1), Team(account_id=2)])
    assert store.bumps == [{"team 2"}]
    second.detach()


def test_a_class_and_its_subclass_are_not_attached_both(engine: Engine, store: RecordingStore) -> None:
    """Sessions of the subclass would be followed twice, whichever comes first."""
    sessions = sessionmaker(engine, class_=OwnSession)
    for first, second in ((OwnSession, sessions), (sessions, OwnSession)):
        attachment = attach(new_revalidator(store), first, ATTACHED)
        with pytest.raises(ConfigurationError, match="attached already"):
            attach(new_revalidator(store), second, ATTACHED)
        attachment.detach()


@pytest.mark.parametrize("is_async", [True, False])
def test_any_factory_or_engine_is_refused_twice(engine: Engine, is_async: bool) -> None:
    """Async factories and engines, too."""
    async_engine = create_async_engine("sqlite+aiosqlite://")
    for target in (async_sessionmaker(async_engine), OwnAsyncSession, async_engine) if is_async else (engine,):
        attachment = attach(new_revalidator(), target, ATTACHED)
        with pytest.raises(ConfigurationError, match="attached already"):
            attach(new_revalidator(), target, ATTACHED)
        attachment.detach()


def test_attaching_an_async_factory_again_makes_no_chain_of_classes() -> None:
    """Reloads reuse the class that was made for the factory."""
    sessions = async_sessionmaker(create_async_engine("sqlite+aiosqlite://"))
    made = set()
    for _ in range(3):
        attach(new_revalidator(), sessions, ATTACHED).detach()
        made.add(sessions.kw["sync_session_class"])
    assert len(made) == 1


def test_async_factories_of_one_base_are_attached_side_by_side(engine: Engine) -> None:
    """Each is attached by a class of its own, whatever classes they share above it."""
    async_engine = create_async_engine("sqlite+aiosqlite://")
    attachments = [
        attach(new_revalidator(), sessions, ATTACHED)
        for sessions in (
            sessionmaker(engine),
            async_sessionmaker(async_engine),
            async_sessionmaker(async_engine),
            async_sessionmaker(async_engine, sync_session_class=OwnSession),
            async_sessionmaker(async_engine, sync_session_class=OwnSession),
        )
    ]
    for attachment in attachments:
        attachment.detach()


def test_two_factories_are_attached_side_by_side(engine: Engine, store: RecordingStore) -> None:
    """Each sessionmaker has a class of its own; each bumps for its own revalidator."""
    other_store = RecordingStore()
    one, other = sessionmaker(engine), sessionmaker(engine)
    attachments = [attach(new_revalidator(s), m, ATTACHED) for s, m in ((store, one), (other_store, other))]
    with one.begin() as session:
        session.add(Label(account_id=1))
    with other.begin() as session:
        session.add(Label(account_id=2))
    assert store.bumps == [{"label 1"}]
    assert other_store.bumps == [{"label 2"}]
    for attachment in attachments:
        attachment.detach()


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({}, "Nothing is attached"),
        ({Label: "accountid"}, r"Label has no column named 'accountid'.*account_id.*function"),
        ({Label: "conversations"}, "Label has no column named 'conversations'"),
        (
            {InboxMember: touch("inbox", "inboxes.account_id")},
            r"no many-to-one relationship named 'inboxes'.*: it has inbox",
        ),
        ({InboxMember: touch("inbox", "inbox.accountid")}, "Inbox has no column named 'accountid'"),
        ({Label: "conversations.account_id"}, r"Label has no many-to-one relationship named 'conversations'.*none"),
        ({InboxMember: "inbox.account_id"}, r"InboxMember touches 'inbox_member'.*touch\("),
        ({Label: touch("tag", "account_id")}, r"Unknown model 'tag': this revalidator has conversation, inbox"),
        ({Label: touch([], "account_id")}, "Label touches no model"),
        ({Label: 5}, "The tenant of Label is given as 5"),
        ({"Label": "account_id"}, "'Label' is neither a mapped class nor a Table"),
        ({RecordingStore: "account_id"}, "neither a mapped class nor a Table"),
        ({table("plain", column("account_id", Integer)): "account_id"}, "neither a mapped class nor a Table"),
        ({conversation_labels: touch("team", "account_id")}, r"conversation_labels has no column 'account_id'"),
        ({conversation_labels: touch("team", len)}, "has no column <built-in"),
        ({conversation_labels: touch("team", "label.account_id")}, "no many-to-many relationship"),
        ({Label: "account_id", conversation_labels: touch("team", "inbox.account_id")}, r"begins with '(label|conv)"),
        ({Label: "account_id", conversation_labels: touch("team", "label.account")}, "Label has no column"),
        ({conversation_labels: "label_id"}, "the table conversation_labels touches 'conversation_labels'"),
    ],
)
def test_a_mapping_that_could_not_work_is_refused(models: Any, message: str) -> None:
    """A wrong name, path or key is an error when it is attached, which says what there is and how to mend it."""
    with pytest.raises(ConfigurationError, match=f"(?s){message}"):
        attach(new_revalidator(), sessionmaker(), models)


def test_an_async_function_is_refused() -> None:
    """A flush can't await: the function of an object is a plain one."""

    async def tenant(label: Label) -> int | None:
        return label.account_id

    with pytest.raises(ConfigurationError, match="not async"):
        attach(new_revalidator(), sessionmaker(), {Label: tenant})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("revalidator", sessionmaker(), ATTACHED), "as its revalidator"),
        ((new_revalidator(), "sessions", ATTACHED), "can't be attached"),
        ((new_revalidator(), Session(), ATTACHED), "can't be attached"),
        ((new_revalidator(), int, ATTACHED), "can't be attached"),
    ],
)
def test_wrong_arguments_are_refused(arguments: Any, message: str) -> None:
    """What is no revalidator or no factory of sessions is an error."""
    with pytest.raises(ConfigurationError, match=message):
        attach(*arguments)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), True, "1", None])
def test_a_time_limit_is_a_number_of_seconds(timeout: Any) -> None:
    """Above 0, and finite."""
    with pytest.raises(ConfigurationError, match="timeout"):
        attach(new_revalidator(), sessionmaker(), ATTACHED, timeout=timeout)


def test_on_unknown_tenant_is_error_or_a_function() -> None:
    """Any other word is a mistake."""
    with pytest.raises(ConfigurationError, match="on_unknown_tenant"):
        attach(new_revalidator(), sessionmaker(), ATTACHED, on_unknown_tenant="ignore")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Label", "label"),
        ("InboxMember", "inbox_member"),
        ("HTTPServer", "http_server"),
        ("CannedResponseV2", "canned_response_v2"),
        ("OAuth2Token", "o_auth2_token"),
        ("label", "label"),
    ],
)
def test_models_are_named_as_rails_names_them(name: str, expected: str) -> None:
    """`underscore` is Rails'."""
    assert underscore(name) == expected


def test_a_factorys_engine_is_listened_to_once(engine: Engine) -> None:
    """Its connections need no listeners of their own, however many there are."""
    sessions = sessionmaker(engine)
    attachment = attach(new_revalidator(), sessions, ATTACHED)
    before = set(attachment._listening._listeners)
    with sessions() as session:
        session.scalars(select(Label)).all()
        assert set(attachment._listening._listeners) == before
    attachment.detach()


def test_a_class_is_named_in_snake_case(engine: Engine, store: RecordingStore) -> None:
    """InboxMember's own model is inbox_member."""
    sessions = sessionmaker(engine)
    attachment = attach(Revalidator(["inbox_member"], store), sessions, {InboxMember: "inbox.account_id"})
    with sessions.begin() as session:
        session.add(Inbox(account_id=1, members=[InboxMember()]))
    assert store.bumped() == {"inbox_member 1"}
    attachment.detach()


@pytest.fixture
def engine_attached(engine: Engine, store: RecordingStore) -> Any:
    """Give an engine that is attached itself."""
    attachment = attach(
        new_revalidator(store), engine, {**ATTACHED, conversation_labels: touch("team", "label.account_id")}
    )
    yield engine
    attachment.detach()


def test_an_engines_sessions_are_followed(engine_attached: Engine, store: RecordingStore) -> None:
    """Whatever session writes rows through an attached engine: savepoints, rollbacks and moves as elsewhere."""
    with Session(engine_attached) as session:
        session.add(Label(account_id=1))
        with session.begin_nested() as savepoint:
            session.add(Label(account_id=2))
            savepoint.rollback()
        session.commit()
        assert store.bumps == [{"label 1"}]
        session.scalars(select(Label)).one().account_id = 3
        session.commit()
        assert store.bumps == [{"label 1"}, {"label 1", "label 3"}]
        session.add(Label(account_id=4))
        session.rollback()
        session.add(Label(account_id=5))
        session.flush()
        session.close()
        session.commit()
    assert len(store.bumps) == 2


def test_an_engines_bulk_statements_are_followed(engine_attached: Engine, bumped: Bumped) -> None:
    """Bulk statements are judged on its connections, before and after the session's first flush."""
    with Session(engine_attached) as session:
        session.execute(insert(Label), [{"account_id": 1}, {"account_id": 2}])
        session.execute(update(Label).where(Label.account_id == 1).values(title="x"))
        with pytest.raises(UnknownTenantError):
            session.execute(update(Label).values(title="x"))
        session.commit()
        assert bumped() == {"label 1", "label 2"}
        session.execute(update(Label).values(title="x").execution_options(cache_tenants=[5]))
        session.rollback()
        assert bumped() == set()
        session.add(Team(account_id=6))
        session.flush()
        session.execute(update(Label).where(Label.account_id == 1).values(title="y"))
        session.commit()
        assert bumped() == {"team 6", "label 1"}
    with engine_attached.begin() as connection:
        connection.execute(label_table.insert().values(account_id=7))
    assert bumped() == {"label 7"}
    with engine_attached.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(label_table.insert().values(account_id=8))
        assert bumped() == {"label 8"}
        connection.rollback()
    assert bumped() == set()


def test_an_engines_many_to_many_changes_are_followed(engine_attached: Engine, bumped: Bumped) -> None:
    """The rows of an association table are told by the objects at its ends."""
    with Session(engine_attached) as session:
        session.add(Conversation(id=1, account_id=2, labels=[Label(account_id=1)]))
        session.commit()
        assert bumped() == {"conversation 2", "label 1", "team 1"}
    with Session(engine_attached) as session:
        session.delete(session.get_one(Conversation, 1))
        session.commit()
    assert bumped() == {"conversation 2", "label 1", "team 1"}


def test_an_engines_other_connections_are_left_alone(engine_attached: Engine, bumped: Bumped, tmp_path: Path) -> None:
    """Sessions on another engine are not followed, and those that write nothing attached send nothing."""
    from adapters.sqlalchemy.tests.desk import sync_engine

    with sync_engine(f"sqlite:///{tmp_path / 'other.sqlite'}") as other, Session(other) as session:
        session.add(Label(account_id=1))
        session.commit()
    with Session(engine_attached) as session:
        session.add(Note())
        session.commit()
    assert bumped() == set()


async def test_an_async_engine_is_attached(tmp_path: Path, store: RecordingStore) -> None:
    """An AsyncEngine's sessions await their bumps."""
    engine = await async_engine(f"sqlite+aiosqlite:///{tmp_path / 'desk.sqlite'}")
    attachment = attach(new_revalidator(store), engine, ATTACHED)
    async with AsyncSession(engine) as session:
        session.add(Label(account_id=1))
        await session.commit()
        assert store.bumped() == {"label 1"}
        await session.execute(insert(Label).values(account_id=2))
        await session.commit()
        assert store.bumped() == {"label 2"}
    async with AsyncSession(engine) as session:
        await session.execute(insert(Label).values(account_id=3))
        await session.commit()
    assert store.bumped() == {"label 3"}
    attachment.detach()
    await engine.dispose()


def test_sessions_that_are_gone_leave_nothing_behind(engine_attached: Engine, bumped: Bumped) -> None:
    """An attached engine's sessions are listened to one by one, and forgotten with them."""
    from weakref import ref

    session = Session(engine_attached)
    session.add(Label(account_id=1))
    session.commit()
    reference = ref(session)
    session.close()
    del session
    gc.collect()
    assert reference() is None
    assert bumped() == {"label 1"}
