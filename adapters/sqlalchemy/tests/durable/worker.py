"""A worker process of an app: it does what it is told on its standard input, and answers on its standard output."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, cast

from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Label, use_savepoint_recipe
from adapters.sqlalchemy.tests.durable.databases import revalidator_on
from sqlalchemy import CursorResult, create_engine, select, update
from sqlalchemy.orm import Session, sessionmaker

from cache_revalidate_sqlalchemy import DurableStore, attach


def main(url: str) -> None:
    """Serve until standard input ends."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        use_savepoint_recipe(engine)
    revalidator = revalidator_on(DurableStore(engine, TABLES))
    sessions: sessionmaker[Session] = sessionmaker(engine)
    attach(revalidator, sessions, ATTACHED)

    def write(title: str) -> Any:
        with sessions.begin() as session:
            # Written first, or SQLite would fail transactions that have read what another writes.
            renamed = update(Label).where(Label.id == 1, Label.account_id == 1).values(title=title)
            if not cast("CursorResult[Any]", session.execute(renamed)).rowcount:
                session.add(Label(id=1, account_id=1, title=title))

    with asyncio.Runner() as runner:

        def read() -> Any:
            token = runner.run(revalidator.tokens(1, "label"))["label"]
            with sessions() as session:
                return token, session.scalar(select(Label.title))

        def answer(value: object) -> None:
            sys.stdout.write(json.dumps(value) + "\n")
            sys.stdout.flush()

        answer("ready")
        for line in sys.stdin:
            command, *arguments = json.loads(line)
            answer(write(*arguments) if command == "write" else read())


if __name__ == "__main__":
    main(sys.argv[1])
