"""Any sequence of edits, savepoints, rollbacks and commits changes the tokens that it should, and no others."""

from __future__ import annotations

import asyncio
from typing import Any

from adapters.sqlalchemy.tests.desk import ATTACHED, Inbox, InboxMember, Label, new_revalidator, sync_engine
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import StaticPool, delete, select, update
from sqlalchemy.orm import SessionTransaction, sessionmaker

from cache_revalidate import MemoryStore
from cache_revalidate_sqlalchemy import attach

ACCOUNTS = st.integers(1, 3)
Pairs = set[tuple[int, str]]


class Desk(RuleBasedStateMachine):
    """A session, and a model of what its transaction has touched, savepoint by savepoint."""

    def __init__(self) -> None:
        super().__init__()
        self.revalidator = new_revalidator(MemoryStore())
        self.opened = sync_engine("sqlite://", poolclass=StaticPool)
        sessions = sessionmaker(self.opened.__enter__())
        self.attachment = attach(self.revalidator, sessions, ATTACHED)
        self.session = sessions()
        self.savepoints: list[tuple[SessionTransaction, Pairs]] = []
        self.touched: Pairs = set()
        self.tokens = self.read()

    def read(self) -> dict[tuple[int, str], str]:
        """Return all tokens."""

        async def read() -> dict[tuple[int, str], str]:
            return {
                (account, model): token
                for account in (1, 2, 3)
                for model, token in (await self.revalidator.tokens(account, "label", "inbox")).items()
            }

        return asyncio.run(read())

    def touch(self, model: str, *accounts: int | None) -> None:
        """Note in the model what an action touches."""
        innermost = self.savepoints[-1][1] if self.savepoints else self.touched
        innermost.update((account, model) for account in accounts if account is not None)

    def some(self, cls: Any, number: int) -> Any:
        """Return one of the stored objects, or None."""
        objects = self.session.scalars(select(cls).order_by(cls.id)).all()
        return objects[number % len(objects)] if objects else None

    @initialize()
    def begin(self) -> None:
        """Have an inbox to begin with."""
        self.session.add(Inbox(account_id=1))
        self.touch("inbox", 1)
        self.session.flush()

    @rule(account=ACCOUNTS | st.none())
    def add_label(self, account: int | None) -> None:
        """Add a label."""
        self.session.add(Label(account_id=account))
        self.touch("label", account)
        self.session.flush()

    @rule(number=st.integers(0, 9), expired=st.booleans())
    def edit_label(self, number: int, expired: bool) -> None:
        """Edit a label."""
        if label := self.some(Label, number):
            self.touch("label", label.account_id)
            if expired:
                self.session.expire(label)
            label.title = f"{label.id} {len(self.savepoints)} {label.title}"[:50]
            self.session.flush()

    @rule(number=st.integers(0, 9), account=ACCOUNTS | st.none(), expired=st.booleans())
    def move_label(self, number: int, account: int | None, expired: bool) -> None:
        """Move a label to another account, or to none, or nowhere."""
        if label := self.some(Label, number):
            if account != label.account_id:
                self.touch("label", label.account_id, account)
            elif expired:
                self.touch("label", account)  # what is set over an expired value counts as changed
            if expired:
                self.session.expire(label)
            label.account_id = account
            self.session.flush()

    @rule(number=st.integers(0, 9), expired=st.booleans())
    def delete_label(self, number: int, expired: bool) -> None:
        """Delete a label."""
        if label := self.some(Label, number):
            self.touch("label", label.account_id)
            if expired:
                self.session.expire(label)
            self.session.delete(label)
            self.session.flush()

    @rule(account=ACCOUNTS)
    def add_inbox(self, account: int) -> None:
        """Add an inbox with a member."""
        self.session.add(Inbox(account_id=account, members=[InboxMember()]))
        self.touch("inbox", account)
        self.session.flush()

    @rule(number=st.integers(0, 9), to=st.integers(0, 9), expired=st.booleans())
    def move_member(self, number: int, to: int, expired: bool) -> None:
        """Move a member to another inbox."""
        member, inbox = self.some(InboxMember, number), self.some(Inbox, to)
        if member and inbox:
            if member.inbox_id != inbox.id or expired:
                self.touch("inbox", member.inbox.account_id, inbox.account_id)
            if expired:
                self.session.expire(member)
            member.inbox_id = inbox.id
            self.session.flush()

    @rule(account=ACCOUNTS, to=ACCOUNTS)
    def move_labels(self, account: int, to: int) -> None:
        """Move all labels of an account."""
        self.session.execute(update(Label).where(Label.account_id == account).values(account_id=to))
        self.touch("label", account, to)

    @rule(accounts=st.lists(ACCOUNTS, max_size=2))
    def delete_labels(self, accounts: list[int]) -> None:
        """Delete all labels of some accounts."""
        self.session.execute(delete(Label).where(Label.account_id.in_(accounts)))
        self.touch("label", *accounts)

    @precondition(lambda self: len(self.savepoints) < 3)
    @rule()
    def begin_savepoint(self) -> None:
        """Begin a savepoint."""
        self.savepoints.append((self.session.begin_nested(), set()))

    @precondition(lambda self: self.savepoints)
    @rule()
    def release_savepoint(self) -> None:
        """Release the innermost savepoint."""
        savepoint, touched = self.savepoints.pop()
        savepoint.commit()
        (self.savepoints[-1][1] if self.savepoints else self.touched).update(touched)

    @precondition(lambda self: self.savepoints)
    @rule(depth=st.integers(0, 2))
    def roll_back_savepoint(self, depth: int) -> None:
        """Roll a savepoint back, and those inside it."""
        del self.savepoints[min(depth, len(self.savepoints) - 1) + 1 :]
        self.savepoints.pop()[0].rollback()

    @rule()
    def commit(self) -> None:
        """Commit: the tokens of what was touched change, each once, and no others."""
        for _, touched in self.savepoints:
            self.touched |= touched
        self.session.commit()
        self.check(self.touched)

    @rule(close=st.booleans())
    def roll_back(self, close: bool) -> None:
        """Roll back, or close the session."""
        if close:
            self.session.close()
        else:
            self.session.rollback()
        self.check(set())

    def check(self, expected: Pairs) -> None:
        """Compare the tokens with those before the transaction, and begin another."""
        tokens = self.read()
        assert {pair for pair, token in tokens.items() if token != self.tokens[pair]} == expected
        self.tokens, self.touched, self.savepoints = tokens, set(), []

    @invariant()
    def nothing_changes_before_the_commit(self) -> None:
        """Inside a transaction all tokens stay as they are."""
        assert self.read() == self.tokens

    def teardown(self) -> None:
        """Let go of the session and its engine."""
        self.session.close()
        self.attachment.detach()
        self.opened.__exit__(None, None, None)


TestDesk = Desk.TestCase
TestDesk.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
