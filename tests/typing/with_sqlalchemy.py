"""What a type checker infers of the SQLAlchemy adapter, takes and refuses. Checked, never run."""

from typing import assert_type

from sqlalchemy import Column, Integer, MetaData, Table, create_engine
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from cache_revalidate import Revalidator
from cache_revalidate_sqlalchemy import (
    Attachment,
    Finding,
    Inspection,
    Triggers,
    add_tables,
    attach,
    bind_snapshot,
    sql,
    touch,
)

revalidator = Revalidator(["label", "inbox"])


class Base(DeclarativeBase):
    """The classes that are mapped here."""


class Label(Base):
    """A row with its tenant in a column."""

    __tablename__ = "labels"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int]


class OwnSession(Session):
    """A session class of the app's own."""


class OwnAsyncSession(AsyncSession):
    """An asynchronous one."""


def tenant_of(label: Label) -> int:
    """Return a row's tenant."""
    return label.account_id


rows = Table("inboxes", MetaData(), Column("account_id", Integer))

sessions = async_sessionmaker(create_async_engine("sqlite+aiosqlite://"))
models = {Label: "account_id"}
attach(revalidator, sessionmaker(), models)
attachment = attach(revalidator, sessions, {Label: "account_id", rows: touch("inbox", "account_id")})
assert_type(attachment, Attachment)
assert_type(attachment.detach(), None)

attach(revalidator, sessionmaker(), {Label: tenant_of})
attach(revalidator, scoped_session(sessionmaker()), {Label: tenant_of})
attach(revalidator, async_scoped_session(sessions, lambda: None), {Label: tenant_of})
attach(revalidator, OwnSession, {Label: "account_id"}, timeout=0.5)
attach(revalidator, OwnAsyncSession, {Label: "account_id"}, on_unknown_tenant=lambda connection, statement: [1])
attach(revalidator, create_engine("sqlite://"), {Label: touch(["label", "inbox"], tenant_of)})
attach(revalidator, create_async_engine("sqlite+aiosqlite://"), {Label: "account_id"})

attach(revalidator, Session(), {Label: "account_id"})  # type: ignore[arg-type]
attach(revalidator, sessions, {Label: 1})  # type: ignore[dict-item]
attach(revalidator, sessions, {Label: "account_id"}, timeout="1s")  # type: ignore[arg-type]
attach(revalidator, sessions, {Label: "account_id"}, on_unknown_tenant="ignore")  # type: ignore[arg-type]

tables = add_tables(Base.metadata)
triggers = Triggers(revalidator, tables, {Label: "account_id", rows: touch("inbox", sql("lower(changed.account)"))})
Triggers(revalidator, tables, models, canonical="lower({tenant})")
Triggers(revalidator, tables, {Label: sql("changed.account_id")})

Triggers(revalidator, Base.metadata, models)  # type: ignore[arg-type]
Triggers(revalidator, tables, models, canonical=str.lower)  # type: ignore[arg-type]

with create_engine("postgresql://").begin() as connection:
    assert_type(triggers.create(connection), None)
    assert_type(triggers.inspect(connection), Inspection)
    assert_type(triggers.inspect(connection).findings, tuple[Finding, ...])
    triggers.attach_partition(connection, Label, "labels_1", "DEFAULT")
    triggers.detach_partition(connection, rows, "inboxes_1", schema="desk")

    triggers.attach_partition(connection, "labels", "labels_1", "DEFAULT")  # type: ignore[arg-type]
    triggers.create(sessions)  # type: ignore[arg-type]


async def handlers(
    session: Session,
    asynchronous: AsyncSession,
    scoped: scoped_session[Session],
    asynchronous_scoped: async_scoped_session[AsyncSession],
) -> None:
    """A session is bound by a call, an asynchronous one by awaiting it."""
    assert_type(bind_snapshot(revalidator, session, 1, "label"), dict[str, str | None])
    assert_type(await bind_snapshot(revalidator, asynchronous, 1, "label"), dict[str, str | None])
    assert_type(bind_snapshot(revalidator, scoped, 1, isolation="READ COMMITTED"), dict[str, str | None])
    assert_type(await bind_snapshot(revalidator, asynchronous_scoped, 1), dict[str, str | None])
    bind_snapshot(revalidator, session, 1, bind_arguments={"mapper": Label})

    bind_snapshot(revalidator, asynchronous, 1, "label")  # type: ignore[unused-coroutine]
    bind_snapshot(revalidator, sessions, 1, "label")  # type: ignore[call-overload]
    bind_snapshot(revalidator, session, 1, ["label"])  # type: ignore[call-overload]
    bind_snapshot(revalidator, session, 1, isolation="SERIALIZABLE")  # type: ignore[call-overload]
