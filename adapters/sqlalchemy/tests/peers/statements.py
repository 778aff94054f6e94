"""Writes by SQLAlchemy's own calls, which no library stands before."""

from adapters.sqlalchemy.tests.desk import Label, label_table
from adapters.sqlalchemy.tests.peers.library import Library
from adapters.sqlalchemy.tests.peers.scenario import Group
from sqlalchemy import delete, insert, text, update

GROUP = Group("Writes by SQLAlchemy's own calls")


@GROUP.scenario("an object of the session, changed and committed")
def unit_of_work(library: Library) -> None:
    """What the session's own flush wrote is served."""
    with library.sessions() as session:
        session.get_one(Label, 1).title = "renamed"
        session.commit()


@GROUP.scenario("`session.execute(update(Label)...)`")
def bulk_update(library: Library) -> None:
    """What a bulk UPDATE wrote is served."""
    with library.sessions.begin() as session:
        session.execute(update(Label).where(Label.account_id == 1).values(title="renamed"))


@GROUP.scenario("`session.execute(delete(Label)...)`")
def bulk_delete(library: Library) -> None:
    """What a bulk DELETE took is served no more."""
    with library.sessions.begin() as session:
        session.execute(delete(Label).where(Label.account_id == 1, Label.id == 2))


@GROUP.scenario("`session.execute(insert(Label), [...])`")
def bulk_insert(library: Library) -> None:
    """What a bulk INSERT brought is served."""
    with library.sessions.begin() as session:
        session.execute(insert(Label), [{"account_id": 1, "title": "new"}, {"account_id": 1, "title": "newer"}])


@GROUP.scenario("`session.query(Label)...update(...)`")
def query_update(library: Library) -> None:
    """What `Query.update()` wrote is served."""
    with library.sessions.begin() as session:
        session.query(Label).filter(Label.account_id == 1).update({"title": "renamed"})


@GROUP.scenario("`session.execute(table.update()...)`")
def table_update(library: Library) -> None:
    """What a statement on the table wrote is served."""
    with library.sessions.begin() as session:
        session.execute(label_table.update().where(label_table.c.account_id == 1).values(title="renamed"))


@GROUP.scenario("`session.connection().execute(table.update()...)`")
def connection_update(library: Library) -> None:
    """What was written on the session's connection is served."""
    with library.sessions.begin() as session:
        session.connection().execute(label_table.update().where(label_table.c.account_id == 1).values(title="renamed"))


@GROUP.scenario("`session.bulk_save_objects([...])`")
def bulk_save_objects(library: Library) -> None:
    """What a legacy bulk method wrote is served."""
    with library.sessions.begin() as session:
        session.bulk_save_objects([Label(account_id=1, title="new")])


@GROUP.scenario("a bulk UPDATE that names no tenant")
def bulk_update_without_tenants(library: Library) -> None:
    """Rows of tenants that only the database can tell are served."""
    with library.sessions.begin() as session:
        session.execute(update(Label).where(Label.title == "bug").values(title="renamed"))


@GROUP.scenario("a bulk UPDATE that moves rows from tenants that it doesn't name")
def bulk_move_from_unknown_tenants(library: Library) -> None:
    """Rows that leave tenants which nobody can tell are no longer served, or else not moved."""
    with library.sessions.begin() as session:
        session.execute(update(Label).where(Label.title == "bug").values(account_id=2))


@GROUP.scenario('`session.execute(text("UPDATE ..."))`')
def raw_sql(library: Library) -> None:
    """What raw SQL wrote is served."""
    with library.sessions.begin() as session:
        session.execute(text("UPDATE labels SET title = 'renamed' WHERE account_id = 1"))
