"""What the handlers of both apps do with the records of an account."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

import msgspec
from sqlalchemy import exists, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from examples.desk.models import AccountRecord, Inbox, InboxMember
from examples.desk.users import may_be_member

Json: TypeAlias = dict[str, Any]
Record = TypeVar("Record", bound=AccountRecord)
Sessions: TypeAlias = async_sessionmaker[AsyncSession]

LARGEST_ID = 2**31 - 1


class NotFoundError(Exception):
    """The account has no such record: 404."""


class UnprocessableError(Exception):
    """The change can't be made, and nothing of it was: 422."""


@asynccontextmanager
async def transaction(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """Open a session that commits at the end, or rolls back if anything is raised."""
    try:
        async with sessions.begin() as session:
            await session.connection(execution_options={"writes": True})
            yield session
    except IntegrityError as error:
        raise UnprocessableError("That name has already been taken.") from error


async def listed(session: AsyncSession, model: type[Record], account_id: int) -> list[Json]:
    """Return the account's records, oldest first."""
    records = await session.scalars(select(model).where(model.account_id == account_id).order_by(model.id))
    return [record.as_json() for record in records]


async def found(session: AsyncSession, model: type[Record], account_id: int, record_id: int) -> Record:
    """Return one record of the account; raise `NotFoundError` if it has none with that id."""
    record = await session.get(model, record_id) if 0 < record_id <= LARGEST_ID else None
    if record is None or record.account_id != account_id:
        raise NotFoundError(f"Account {account_id} has no {model.__name__.lower()} {record_id}.")
    return record


async def added(session: AsyncSession, model: type[Record], account_id: int, body: msgspec.Struct) -> Json:
    """Add a record to the account; return it."""
    record = model(account_id=account_id, **msgspec.structs.asdict(body))
    session.add(record)
    await session.flush()
    await session.refresh(record)
    return record.as_json()


async def changed(session: AsyncSession, record: AccountRecord, changes: msgspec.Struct) -> Json:
    """Change what `changes` sets, leave the rest; return the record."""
    for name, value in msgspec.structs.asdict(changes).items():
        if value is not msgspec.UNSET:
            setattr(record, name, value)
    await session.flush()
    return record.as_json()


async def removed(session: AsyncSession, record: AccountRecord) -> None:
    """Delete a record. An account's last inbox can't go; its deletion is rolled back after it was flushed."""
    await session.delete(record)
    await session.flush()
    if isinstance(record, Inbox):
        another = select(exists().where(Inbox.account_id == record.account_id))
        if not await session.scalar(another):
            raise UnprocessableError("An account keeps at least one inbox.")


async def members_added(session: AsyncSession, inbox: Inbox, user_ids: list[int]) -> Json:
    """Make users members of an inbox, those that are not yet; return the inbox."""
    present = {member.user_id for member in inbox.members}
    for user_id in sorted(set(user_ids) - present):
        if not may_be_member(user_id, inbox.account_id):
            raise UnprocessableError(f"User {user_id} is no agent of account {inbox.account_id}.")
        inbox.members.append(InboxMember(user_id=user_id))
    await session.flush()
    return inbox.as_json()


async def members_removed(session: AsyncSession, inbox: Inbox, user_ids: list[int]) -> Json:
    """End users' membership of an inbox, where there is one; return the inbox."""
    inbox.members[:] = [member for member in inbox.members if member.user_id not in user_ids]
    await session.flush()
    return inbox.as_json()
