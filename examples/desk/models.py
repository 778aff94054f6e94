"""A support desk's records: accounts, and the labels, inboxes and teams of each."""

from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from cache_revalidate_sqlalchemy import add_tables


class Base(DeclarativeBase):
    """The tables' common base."""


# Beside the desk's own tables, made with them: the truth about its version tokens.
TOKEN_TABLES = add_tables(Base.metadata)


class Account(Base):
    """The tenant: who owns everything else."""

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]


class AccountRecord(Base):
    """What belongs to an account and is listed by model."""

    __abstract__ = True

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))

    def as_json(self) -> dict[str, Any]:
        raise NotImplementedError


class Label(AccountRecord):
    __tablename__ = "labels"
    __table_args__ = (UniqueConstraint("account_id", "title"),)

    title: Mapped[str]
    color: Mapped[str]

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "title": self.title, "color": self.color}


class Inbox(AccountRecord):
    __tablename__ = "inboxes"
    __table_args__ = (UniqueConstraint("account_id", "name"),)

    name: Mapped[str]
    channel_type: Mapped[str]
    members: Mapped[list["InboxMember"]] = relationship(
        back_populates="inbox", cascade="all, delete-orphan", lazy="selectin", order_by="InboxMember.user_id"
    )

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "channel_type": self.channel_type,
            "member_ids": sorted(member.user_id for member in self.members),
        }


class InboxMember(Base):
    """A join row: it is no cached model of its own, but an inbox shows its members, so it bumps `inbox`."""

    __tablename__ = "inbox_members"

    inbox_id: Mapped[int] = mapped_column(ForeignKey("inboxes.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    inbox: Mapped[Inbox] = relationship(back_populates="members")


class Team(AccountRecord):
    __tablename__ = "teams"
    __table_args__ = (UniqueConstraint("account_id", "name"),)

    name: Mapped[str]
    description: Mapped[str]

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.name, "description": self.description}
