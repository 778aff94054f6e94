"""`attachment.bump`: what the adapter can't see is bumped by hand, with the transaction that it is part of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import (
    ATTACHED,
    TABLES,
    Label,
    RecordingStore,
    Team,
    new_revalidator,
)
from sqlalchemy import Engine, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate import ConfigurationError, InvalidTenantError, UnknownModelError
from cache_revalidate_sqlalchemy import Attachment, DurableStore, attach

Bumped = Callable[[], set[str]]
RAW = text("UPDATE labels SET title = 'x'")


@pytest.fixture(params=["sessions", "engine"])
def attached(request: pytest.FixtureRequest, any_engine: Engine, store: RecordingStore) -> Iterator[Any]:
    """Give sessions that are attached, by themselves or by their engine, and what attached them."""
    sessions = sessionmaker(any_engine)
    attachment = attach(new_revalidator(store), sessions if request.param == "sessions" else any_engine, ATTACHED)
    yield sessions, attachment
    attachment.detach()


def test_it_is_bumped_when_the_transaction_commits(attached: Any, store: RecordingStore) -> None:
    """Hole 2 of Chatwoot's: not before the commit, and in one bump with what was seen."""
    sessions, attachment = attached
    with sessions() as session:
        session.execute(RAW)
        attachment.bump(session, 1, "label")
        session.add(Team(account_id=1))
        session.flush()
        assert store.bumps == []
        session.commit()
        assert store.bumps == [{"label 1", "team 1"}]
        session.commit()
    assert len(store.bumps) == 1


def test_a_session_that_has_done_nothing_yet_may_be_named(attached: Any, bumped: Bumped) -> None:
    """The transaction is begun for it, if nothing else does."""
    sessions, attachment = attached
    with sessions.begin() as session:
        attachment.bump(session, "two", "label", "team")
    assert bumped() == {"label two", "team two"}


def test_what_is_rolled_back_bumps_nothing(attached: Any, bumped: Bumped) -> None:
    """It goes with its transaction, and with its savepoint."""
    sessions, attachment = attached
    with sessions() as session:
        attachment.bump(session, 1, "label")
        session.rollback()
        session.execute(select(Label.id))
        attachment.bump(session, 2, "label")
        with session.begin_nested() as savepoint:
            attachment.bump(session, 3, "label")
            savepoint.rollback()
        with session.begin_nested():
            attachment.bump(session, 4, "label")
        session.commit()
        attachment.bump(session, 5, "label")
        session.close()
        session.commit()
    assert bumped() == {"label 2", "label 4"}


def test_autocommit_bumps_with_the_commit(attached: Any, any_engine: Engine, bumped: Bumped) -> None:
    """Where each statement is durable at once, what is asked for waits for `commit()` all the same."""
    sessions, attachment = attached
    with sessions(bind=any_engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
        session.execute(RAW)
        attachment.bump(session, 1, "label")
        session.commit()
    assert bumped() == {"label 1"}


def test_mistakes_are_told_at_once(engine: Engine, store: RecordingStore) -> None:
    """Unknown models, impossible tenants and foreign sessions raise where they are named."""
    sessions = sessionmaker(engine)
    attachment: Attachment = attach(new_revalidator(store), sessions, ATTACHED)
    with sessions() as session, Session(engine) as other:
        with pytest.raises(UnknownModelError, match="Unknown model 'tag'"):
            attachment.bump(session, 1, "tag")
        with pytest.raises(UnknownModelError, match="Name the models"):
            attachment.bump(session, 1)
        with pytest.raises(InvalidTenantError):
            attachment.bump(session, "a/b", "label")
        with pytest.raises(ConfigurationError, match="not one of the attached sessions"):
            attachment.bump(other, 1, "label")
    attachment.detach()


def test_a_session_that_lives_on_is_listened_to_once(any_engine: Engine, store: RecordingStore) -> None:
    """Of an attached engine's session, too, which is met again with each transaction; detaching takes all back."""
    attachment = attach(new_revalidator(store), any_engine, ATTACHED)
    with Session(any_engine) as session:
        for account in (1, 2):
            attachment.bump(session, account, "label")
            session.add(Team(account_id=account))
            session.commit()
        assert store.bumps == [{"label 1", "team 1"}, {"label 2", "team 2"}]
        attachment.detach()
        session.add(Team(account_id=3))
        session.commit()
    assert len(store.bumps) == 2


async def test_async_sessions_may_be_named(any_async_engine: AsyncEngine, store: RecordingStore) -> None:
    """Nothing is awaited: it is noted, and goes with the commit."""
    sessions = async_sessionmaker(any_async_engine)
    attachment = attach(new_revalidator(store), sessions, ATTACHED)
    async with sessions.begin() as session:
        await session.execute(RAW)
        attachment.bump(session, 1, "label")
    async with sessions.begin() as session:
        attachment.bump(session, 2, "label")
    assert store.bumps == [{"label 1"}, {"label 2"}]
    attachment.detach()


async def test_it_is_noted_in_the_transaction(any_async_engine: AsyncEngine) -> None:
    """With a `DurableStore` the transaction itself writes it down, so that no crash can lose it."""
    store = DurableStore(any_async_engine, TABLES)
    revalidator = new_revalidator()
    revalidator = type(revalidator)(revalidator.models, store)
    sessions = async_sessionmaker(any_async_engine)
    attachment = attach(revalidator, sessions, ATTACHED)
    before = await revalidator.tokens(1)
    async with sessions.begin() as session:
        await session.execute(RAW)
        attachment.bump(session, 1, "label")
    after = await revalidator.tokens(1)
    assert {model for model in after if after[model] != before[model]} == {"label"}
    attachment.detach()
