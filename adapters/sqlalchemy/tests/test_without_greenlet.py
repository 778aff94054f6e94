"""The adapter in an app without greenlet, which SQLAlchemy 2.1 no longer brings along."""

import subprocess
import sys

PROGRAM = """
import asyncio
import sys
sys.modules["greenlet"] = None  # as if it were not installed

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from cache_revalidate import Revalidator
from cache_revalidate_sqlalchemy import attach


class Base(DeclarativeBase):
    pass


class Label(Base):
    __tablename__ = "label"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int]


engine = create_engine("sqlite://")
Base.metadata.create_all(engine)
revalidator = Revalidator(["label"])
sessions = sessionmaker(engine)
attach(revalidator, sessions, {Label: "account_id"})
before = revalidator.sync.bump(1, "label")
with sessions.begin() as session:
    session.add(Label(account_id=1))
assert asyncio.run(revalidator.tokens(1))["label"] > before["label"]
print("bumped")
"""


def test_synchronous_sessions_need_no_greenlet() -> None:
    """An app whose sessions are synchronous attaches them, and its commits bump, where greenlet is not installed."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("bumped\n", "")
