"""Writes by the calls that each library documents: the session's for us, a repository's for advanced-alchemy."""

from adapters.sqlalchemy.tests.desk import Conversation, Inbox, Label
from adapters.sqlalchemy.tests.peers.database import CONVERSATIONS, LABELS, MEMBERS, OTHER_LABELS
from adapters.sqlalchemy.tests.peers.library import Library
from adapters.sqlalchemy.tests.peers.scenario import Group
from sqlalchemy import select

GROUP = Group("Writes by the documented calls")


@GROUP.scenario("rows are added")
def added(library: Library) -> None:
    """New rows are served."""
    with library.sessions() as session:
        library.add(session, [Label(account_id=1, title="new"), Label(account_id=1, title="newer")])
        session.commit()


@GROUP.scenario("a row is deleted")
def deleted(library: Library) -> None:
    """A deleted row is served no more."""
    with library.sessions() as session:
        library.delete(session, session.get_one(Label, 2))
        session.commit()


@GROUP.scenario("several rows are updated in one call")
def several_updated(library: Library) -> None:
    """All changed rows are served."""
    with library.sessions() as session:
        labels = session.scalars(select(Label).where(Label.account_id == 1)).all()
        for label in labels:
            label.title = "renamed"
        library.change_many(session, labels)
        session.commit()


@GROUP.scenario("several rows are deleted in one call")
def several_deleted(library: Library) -> None:
    """All deleted rows are served no more."""
    with library.sessions() as session:
        library.delete_many(session, [session.get_one(Label, 2), session.get_one(Label, 3)])
        session.commit()


@GROUP.scenario("a row moves to another tenant", LABELS, OTHER_LABELS)
def moved(library: Library) -> None:
    """The tenant that the row left is told, and so is the one that it has entered."""
    with library.sessions() as session:
        label = session.get_one(Label, 2)
        label.account_id = 2
        library.change(session, label)
        session.commit()


@GROUP.scenario("another tenant's row changes", LABELS)
def of_another_tenant(library: Library) -> None:
    """One tenant's change is none of another's."""
    with library.sessions() as session:
        label = session.get_one(Label, 3)
        label.title = "renamed"
        library.change(session, label)
        session.commit()


@GROUP.scenario("an object is removed from a collection that deletes orphans", MEMBERS)
def orphaned(library: Library) -> None:
    """A row that its parent's flush deleted is served no more."""
    with library.sessions() as session:
        inbox = session.get_one(Inbox, 1)
        inbox.members.pop()
        library.change(session, inbox)
        session.commit()


@GROUP.scenario("a many-to-many relationship changes", CONVERSATIONS)
def associated(library: Library) -> None:
    """A list that shows what is related shows what is related now."""
    with library.sessions() as session:
        conversation = session.get_one(Conversation, 1)
        conversation.labels.append(session.get_one(Label, 2))
        library.change(session, conversation)
        session.commit()
