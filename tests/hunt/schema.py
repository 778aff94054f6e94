"""The tables of the hunt: the example desk's, and the durable level's, beside them in metadata of their own."""

from examples.desk.models import Account, Base, Label
from sqlalchemy import MetaData, create_engine
from sqlalchemy.orm import Session

from cache_revalidate_sqlalchemy import add_tables
from tests.hunt.plan import Plan

_own = MetaData()  # the desk's metadata are those of the tests of the examples, too, in one process
TABLES = add_tables(_own)


def create(url: str, plan: Plan) -> None:
    """Make the tables in an empty database, and the accounts of the hunt with three labels each, at revision 1."""
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    _own.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all(Account(id=tenant, name=f"Account {tenant}") for tenant in plan.tenants)
        session.flush()
        session.add_all(
            Label(account_id=tenant, title=title, color="#000001")
            for tenant in plan.tenants
            for title in ("one", "two", "three")
        )
    engine.dispose()
