"""The tables of the hunt, which are those of the example desk; at level 3, with triggers."""

from examples.desk.models import TOKEN_TABLES, Account, Base, Label
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from cache_revalidate import Revalidator
from cache_revalidate_sqlalchemy import DurableStore, Triggers
from tests.hunt.plan import Plan


def create(url: str, plan: Plan) -> None:
    """Make the tables in an empty database, and the accounts of the hunt with three labels each, at revision 1."""
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    if plan.level == 3:
        triggers = Triggers(
            Revalidator(["label"], DurableStore(engine, TOKEN_TABLES)), TOKEN_TABLES, {Label: "account_id"}
        )
        with engine.begin() as connection:
            triggers.create(connection)
    with Session(engine) as session, session.begin():
        session.add_all(Account(id=tenant, name=f"Account {tenant}") for tenant in plan.tenants)
        session.flush()
        session.add_all(
            Label(account_id=tenant, title=title, color="#000001")
            for tenant in plan.tenants
            for title in ("one", "two", "three")
        )
    engine.dispose()
