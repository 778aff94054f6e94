"""Which tenants and models the rows of a flush touch."""

from collections.abc import Callable
from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import (
    Conversation,
    Inbox,
    InboxMember,
    Label,
    Note,
    RecordingStore,
    Team,
    conversation_labels,
    new_revalidator,
)
from sqlalchemy import Engine, ForeignKey, event, func, inspect, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    WriteOnlyMapped,
    load_only,
    mapped_column,
    relationship,
    sessionmaker,
)

from cache_revalidate import ConfigurationError, Revalidator
from cache_revalidate_sqlalchemy import attach, touch

Sessions = sessionmaker[Session]
Bumped = Callable[[], set[str]]
Add = Callable[[Any], int]


def test_an_added_row_bumps_its_model_of_its_tenant(any_sessions: Sessions, store: RecordingStore) -> None:
    """A new label of account 1 bumps account 1's labels, once, and nothing else."""
    with any_sessions.begin() as session:
        session.add_all([Label(account_id=1), Label(account_id=1)])
        assert store.bumps == []
    assert store.bumps == [{"label 1"}]


def test_edits_and_deletions_bump(any_sessions: Sessions, bumped: Bumped) -> None:
    """An edit bumps, and so does a deletion, also where the object was expired."""
    with any_sessions() as session:
        label = Label(account_id=1)
        session.add(label)
        session.commit()
        bumped()
        label.title = "billing"
        session.commit()
        assert bumped() == {"label 1"}
        session.delete(label)
        session.commit()
        assert bumped() == {"label 1"}


def test_a_class_that_is_not_attached_bumps_nothing(sessions: Sessions, store: RecordingStore) -> None:
    """Rows of other classes touch nothing."""
    with sessions.begin() as session:
        session.add(Note())
    assert store.bumps == []


def test_an_assignment_that_changes_nothing_bumps_nothing(sessions: Sessions, add: Add, bumped: Bumped) -> None:
    """Fact 6: `session.dirty` is optimistic; an object that was assigned its own value is not modified."""
    key = add(Label(account_id=1, title="billing"))
    with sessions.begin() as session:
        label = session.get_one(Label, key)
        label.title = "billing"
        assert label in session.dirty
    assert bumped() == set()


def test_an_object_whose_collection_changed_is_not_edited(engine: Engine, store: RecordingStore) -> None:
    """A new member is a row of its own: it touches the inbox if its class does, not because it is in a collection."""
    sessions = sessionmaker(engine)
    attachment = attach(new_revalidator(store), sessions, {Inbox: "account_id"})
    with sessions.begin() as session:
        session.add(Inbox(id=1, account_id=1))
    assert store.bumped() == {"inbox 1"}
    with sessions.begin() as session:
        inbox = session.get_one(Inbox, 1)
        inbox.members.append(InboxMember())
        assert inbox in session.dirty
    assert store.bumped() == set()
    attachment.detach()


def test_a_moved_row_bumps_both_tenants(sessions: Sessions, add: Add, bumped: Bumped) -> None:
    """Fact 6: a row that moves from account 1 to account 2 bumps both."""
    key = add(Label(account_id=1))
    with sessions.begin() as session:
        session.get_one(Label, key).account_id = 2
    assert bumped() == {"label 1", "label 2"}


def test_a_moved_row_bumps_both_tenants_though_the_old_one_was_expired(any_sessions: Sessions, bumped: Bumped) -> None:
    """Fact 6: the old tenant of an expired object is read before its row is written."""
    with any_sessions() as session:
        label = Label(account_id=1)
        session.add(label)
        session.commit()
        bumped()
        label.account_id = 2
        assert inspect(label).attrs.account_id.history.deleted == ()
        session.commit()
    assert bumped() == {"label 1", "label 2"}


def test_a_moved_row_bumps_both_tenants_though_the_old_one_was_never_loaded(
    sessions: Sessions, add: Add, bumped: Bumped
) -> None:
    """Fact 6: nor need the tenant have been among the loaded columns."""
    key = add(Label(account_id=1))
    with sessions.begin() as session:
        label = session.scalars(select(Label).options(load_only(Label.title))).one()
        assert "account_id" not in inspect(label).dict
        label.account_id = 2
    assert bumped() == {"label 1", "label 2"}
    with sessions.begin() as session:
        session.scalars(select(Label).where(Label.id == key).options(load_only(Label.title))).one().title = "x"
    assert bumped() == {"label 2"}
    with sessions.begin() as session:
        session.delete(session.scalars(select(Label).options(load_only(Label.title))).one())
    assert bumped() == {"label 2"}


def test_a_tenant_that_the_database_computes_is_read_from_it(sessions: Sessions, add: Add, bumped: Bumped) -> None:
    """A tenant set to an SQL expression bumps the tenant that it came to."""
    key = add(Label(account_id=1))
    with sessions.begin() as session:
        session.get_one(Label, key).account_id = func.coalesce(3, 4)
    assert bumped() == {"label 1", "label 3"}
    with sessions.begin() as session:
        session.add(Label(account_id=func.abs(-4)))
    assert bumped() == {"label 4"}


def test_a_row_without_a_tenant_bumps_nothing(sessions: Sessions, add: Add, bumped: Bumped) -> None:
    """A NULL tenant is skipped; a row that leaves or enters a tenant bumps that one."""
    key = add(Label(account_id=None))
    with sessions.begin() as session:
        session.get_one(Label, key).title = "x"
    assert bumped() == set()
    with sessions.begin() as session:
        session.get_one(Label, key).account_id = 1
    assert bumped() == {"label 1"}
    with sessions.begin() as session:
        session.get_one(Label, key).account_id = None
    assert bumped() == {"label 1"}


def test_a_row_whose_key_changes_is_still_found(sessions: Sessions, add: Add, bumped: Bumped) -> None:
    """A changed primary key doesn't hide the tenant, though that must be looked up by it."""
    key = add(Label(account_id=1))
    with sessions.begin() as session:
        label = session.scalars(select(Label).where(Label.id == key).options(load_only(Label.title))).one()
        label.id, label.account_id = key + 100, func.abs(-2)
    assert bumped() == {"label 1", "label 2"}


def test_a_dependent_row_touches_its_owner(sessions: Sessions, add: Add, bumped: Bumped) -> None:
    """A new, an edited and a deleted member bump the inboxes of their inbox's account."""
    inbox = add(Inbox(account_id=1))
    with sessions.begin() as session:
        session.add(InboxMember(inbox_id=inbox))
    assert bumped() == {"inbox 1"}
    with sessions.begin() as session:
        session.scalars(select(InboxMember)).one().user_id = 7
    assert bumped() == {"inbox 1"}
    with sessions.begin() as session:
        session.delete(session.scalars(select(InboxMember)).one())
    assert bumped() == {"inbox 1"}


@pytest.mark.parametrize("loaded", [True, False])
def test_a_dependent_row_that_moves_touches_both_owners(
    sessions: Sessions, add: Add, bumped: Bumped, loaded: bool
) -> None:
    """A member that moves to another account's inbox bumps both accounts, by object or by foreign key."""
    first, second = add(Inbox(account_id=1)), add(Inbox(account_id=2))
    key = add(InboxMember(inbox_id=first))
    with sessions.begin() as session:
        member = session.get_one(InboxMember, key)
        if loaded:
            member.inbox = session.get_one(Inbox, second)
        else:
            session.expire(member)
            member.inbox_id = second
    assert bumped() == {"inbox 1", "inbox 2"}


def test_a_child_that_only_its_new_parent_knows_of_touches_both(sessions: Sessions, add: Add, bumped: Bumped) -> None:
    """A foreign key that the flush itself sets, of an object that was not dirty before, moves the row all the same."""
    first, second = add(Inbox(account_id=1)), add(Inbox(account_id=2))
    key = add(InboxMember(inbox_id=first))
    with sessions.begin() as session:
        member = session.get_one(InboxMember, key)
        target = session.get_one(Inbox, second)
        session.expire(member)
        target.members.append(member)
        assert member not in session.dirty
    assert bumped() == {"inbox 1", "inbox 2"}


def test_an_orphan_touches_its_owner(sessions: Sessions, add: Add, bumped: Bumped) -> None:
    """A child that is deleted because its parent let go of it bumps, though the session lists it nowhere."""
    key = add(Inbox(account_id=1, members=[InboxMember()]))
    with sessions.begin() as session:
        inbox = session.get_one(Inbox, key)
        member = inbox.members.pop()
        assert member not in session.deleted
        assert member not in session.dirty
    assert bumped() == {"inbox 1"}


def test_a_new_owner_and_its_new_member_are_found_in_one_flush(sessions: Sessions, bumped: Bumped) -> None:
    """A path leads to objects that the same flush adds; both may be deleted in one flush, too."""
    with sessions.begin() as session:
        session.add(Inbox(account_id=1, members=[InboxMember()]))
    assert bumped() == {"inbox 1"}
    with sessions.begin() as session:
        session.delete(session.scalars(select(Inbox)).one())
    assert bumped() == {"inbox 1"}


def test_an_owner_that_moves_in_the_same_flush_is_found_in_both_places(
    sessions: Sessions, add: Add, bumped: Bumped
) -> None:
    """A member written beside its moving inbox bumps the account that the inbox came from, and the one it goes to."""
    inbox = add(Inbox(account_id=1))
    other = sessionmaker(sessions.kw["bind"])
    store = RecordingStore()
    attachment = attach(new_revalidator(store), other, {InboxMember: touch("inbox", "inbox.account_id")})
    with other.begin() as session:
        moving = session.get_one(Inbox, inbox)
        moving.account_id = 2
        session.add(InboxMember(inbox_id=inbox))
    assert store.bumped() == {"inbox 1", "inbox 2"}
    attachment.detach()
    assert bumped() == set()


def test_a_many_to_many_change_bumps_both_sides(sessions: Sessions, add: Add, bumped: Bumped) -> None:
    """Fact 7: an append dirties the parent alone; the object at the other end is bumped with it."""
    label, conversation = add(Label(account_id=1)), add(Conversation(account_id=2))
    with sessions.begin() as session:
        parent = session.get_one(Label, label)
        parent.conversations.append(session.get_one(Conversation, conversation))
    assert bumped() == {"label 1", "conversation 2"}
    with sessions.begin() as session:
        other = session.get_one(Conversation, conversation)
        other.labels.clear()
    assert bumped() == {"label 1", "conversation 2"}


def test_a_deleted_end_of_a_many_to_many_bumps_the_other(sessions: Sessions, add: Add, bumped: Bumped) -> None:
    """Fact 7: a deleted label leaves the conversations that had it, which are bumped."""
    key = add(Label(account_id=1, conversations=[Conversation(account_id=2)]))
    with sessions.begin() as session:
        session.delete(session.get_one(Label, key))
    assert bumped() == {"label 1", "conversation 2"}


def test_a_new_parent_bumps_the_other_side(sessions: Sessions, add: Add, bumped: Bumped) -> None:
    """Fact 7: a new label on an existing conversation bumps both, also through a collection nobody loaded."""
    key = add(Conversation(account_id=2))
    with sessions.begin() as session:
        session.add(Label(account_id=1, conversations=[session.get_one(Conversation, key)]))
    assert bumped() == {"label 1", "conversation 2"}


def test_a_many_to_many_of_a_class_that_is_not_attached_bumps_the_attached_side(
    engine: Engine, bumped: Bumped, store: RecordingStore
) -> None:
    """Fact 7: labels alone are attached; a change on the conversation's side bumps them."""
    sessions = sessionmaker(engine)
    attachment = attach(new_revalidator(store), sessions, {Label: "account_id"})
    with sessions.begin() as session:
        session.add(Conversation(account_id=2, labels=[Label(account_id=1)]))
    bumped()
    with sessions.begin() as session:
        conversation = session.scalars(select(Conversation)).one()
        conversation.labels.clear()
    attachment.detach()
    assert bumped() == {"label 1"}


@pytest.mark.parametrize("path", ["conversation.account_id", "label.account_id"])
def test_an_association_table_touches_by_a_path_from_one_of_its_ends(
    engine: Engine, bumped: Bumped, store: RecordingStore, path: str
) -> None:
    """Fact 7: a table may be a key of the mapping; its rows' tenant is that of the object at the named end."""
    sessions = sessionmaker(engine)
    attachment = attach(
        new_revalidator(store), sessions, {Team: "account_id", conversation_labels: touch("team", path)}
    )
    tenant = "team 2" if path.startswith("conversation") else "team 1"
    with sessions.begin() as session:
        session.add(Conversation(account_id=2, labels=[Label(account_id=1)]))
    assert bumped() == {tenant}
    with sessions.begin() as session:
        label = session.scalars(select(Label)).one()
        label.conversations.clear()
    assert bumped() == {tenant}
    attachment.detach()


def test_a_function_says_which_tenants_an_object_has(engine: Engine, bumped: Bumped, store: RecordingStore) -> None:
    """A function of the object returns one tenant, several, or None."""
    answers: list[object] = [1, [2, 3], None, "four"]
    sessions = sessionmaker(engine)
    attachment = attach(new_revalidator(store), sessions, {Label: lambda label: answers[label.id - 1]})
    for expected in ({"label 1"}, {"label 2", "label 3"}, set[str](), {"label four"}):
        with sessions.begin() as session:
            session.add(Label())
        assert bumped() == expected
    attachment.detach()


def test_a_function_may_read_the_old_value(engine: Engine, bumped: Bumped, store: RecordingStore) -> None:
    """A function finds the tenant that a row leaves in the history of its attributes."""

    def accounts(label: Label) -> list[int | None]:
        return [label.account_id, *inspect(label).attrs.account_id.history.deleted]

    sessions = sessionmaker(engine, expire_on_commit=False)
    attachment = attach(new_revalidator(store), sessions, {Label: accounts})
    with sessions() as session:
        label = Label(account_id=1)
        session.add(label)
        session.commit()
        bumped()
        label.account_id = 2
        session.commit()
    assert bumped() == {"label 1", "label 2"}
    attachment.detach()


def test_a_touch_may_name_several_models(engine: Engine, bumped: Bumped, store: RecordingStore) -> None:
    """A row touches as many models as its touch names."""
    sessions = sessionmaker(engine)
    attachment = attach(new_revalidator(store), sessions, {Note: touch(["label", "team"], lambda _: 5)})
    with sessions.begin() as session:
        session.add(Note())
    assert bumped() == {"label 5", "team 5"}
    attachment.detach()


def test_subclasses_count_as_their_mapped_base(engine: Engine, store: RecordingStore) -> None:
    """A subclass, joined or in the same table, bumps its base's model; one that is attached as well bumps its own."""

    class Own(DeclarativeBase):
        pass

    class Contact(Own):
        __tablename__ = "contacts"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        account_id: Mapped[int]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "contact"}  # noqa: RUF012

    class Person(Contact):
        __mapper_args__ = {"polymorphic_identity": "person"}  # noqa: RUF012

    class Company(Contact):
        __tablename__ = "companies"
        id: Mapped[int] = mapped_column(ForeignKey("contacts.id"), primary_key=True)
        size: Mapped[int] = mapped_column(default=0)
        __mapper_args__ = {"polymorphic_identity": "company"}  # noqa: RUF012

    Own.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    attachment = attach(
        Revalidator(["contact", "company"], store), sessions, {Contact: "account_id", Company: "account_id"}
    )
    with sessions.begin() as session:
        session.add(Person(account_id=1))
    assert store.bumped() == {"contact 1"}
    with sessions.begin() as session:
        session.add(Company(account_id=2))
    assert store.bumped() == {"contact 2", "company 2"}
    with sessions.begin() as session:
        session.scalars(select(Company)).one().size = 3
    assert store.bumped() == {"contact 2", "company 2"}
    attachment.detach()


def test_paths_may_be_long_and_their_keys_composite(engine: Engine, store: RecordingStore) -> None:
    """A path may lead over several relationships, by foreign keys of several columns, or to no primary key."""

    class Own(DeclarativeBase):
        pass

    class Shelf(Own):
        __tablename__ = "shelves"
        id: Mapped[int] = mapped_column(primary_key=True)
        code: Mapped[int] = mapped_column(unique=True)
        account_id: Mapped[int]

    class Box(Own):
        __tablename__ = "boxes"
        row: Mapped[int] = mapped_column(primary_key=True)
        number: Mapped[int] = mapped_column(primary_key=True)
        shelf_code: Mapped[int] = mapped_column(ForeignKey("shelves.code"))
        shelf: Mapped[Shelf] = relationship()

    class Item(Own):
        __tablename__ = "items"
        id: Mapped[int] = mapped_column(primary_key=True)
        box_row: Mapped[int | None]
        box_number: Mapped[int | None]
        box: Mapped[Box | None] = relationship(
            primaryjoin="and_(foreign(Item.box_row) == Box.row, foreign(Item.box_number) == Box.number)"
        )

    Own.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    with sessions.begin() as session:
        session.add_all([Shelf(id=1, code=2, account_id=1), Shelf(id=2, code=1, account_id=2)])
        session.add(Box(row=1, number=2, shelf_code=2))
    attachment = attach(Revalidator(["item"], store), sessions, {Item: "box.shelf.account_id"})
    with sessions.begin() as session:
        session.add(Item(box_row=1, box_number=2))
    assert store.bumped() == {"item 1"}
    with sessions.begin() as session:
        loaded = session.scalars(select(Shelf)).all()  # one's code is the other's key
        session.add(Item(box=session.get_one(Box, (1, 2))))
        assert len(loaded) == 2
        session.flush()
    assert store.bumped() == {"item 1"}
    with sessions.begin() as session:
        session.add(Item(box_row=1, box_number=None))
    assert store.bumped() == set()
    attachment.detach()


def test_a_class_that_is_mapped_to_an_association_table_touches_without_its_objects(
    engine: Engine, store: RecordingStore
) -> None:
    """Fact 7: rows of an attached class's table that a relationship writes touch what its objects would."""

    class Own(DeclarativeBase):
        pass

    class Room(Own):
        __tablename__ = "rooms"
        id: Mapped[int] = mapped_column(primary_key=True)
        account_id: Mapped[int]

    class Seat(Own):
        __tablename__ = "seats"
        room_id: Mapped[int] = mapped_column(ForeignKey("rooms.id"), primary_key=True)
        guest_id: Mapped[int] = mapped_column(ForeignKey("guests.id"), primary_key=True)
        room: Mapped[Room] = relationship(overlaps="rooms")

    class Guest(Own):
        __tablename__ = "guests"
        id: Mapped[int] = mapped_column(primary_key=True)
        rooms: Mapped[list[Room]] = relationship(secondary="seats", overlaps="room")

    Own.metadata.create_all(engine)
    revalidator = Revalidator(["seat"], store)
    sessions = sessionmaker(engine)
    for source, expected in (("room.account_id", {"seat 5"}), ("room_id", {"seat 1"})):
        attachment = attach(revalidator, sessions, {Seat: source})
        with sessions.begin() as session:
            session.add(Guest(id=1, rooms=[Room(id=1, account_id=5)]))
        assert store.bumped() == expected
        with sessions.begin() as session:
            guest = session.get_one(Guest, 1)
            guest.rooms.clear()
        assert store.bumped() == expected
        attachment.detach()
        with sessions.begin() as session:
            session.delete(session.get_one(Guest, 1))
            session.delete(session.get_one(Room, 1))
    with pytest.raises(ConfigurationError, match="make the relationship viewonly"):
        attach(revalidator, sessions, {Seat: lambda seat: seat.room.account_id})


def test_a_write_only_many_to_many_is_seen(engine: Engine, store: RecordingStore) -> None:
    """Fact 7: a collection that can't be loaded tells what was added to it and removed from it."""

    class Own(DeclarativeBase):
        pass

    class Tag(Own):
        __tablename__ = "tags"
        id: Mapped[int] = mapped_column(primary_key=True)
        account_id: Mapped[int]

    class Link(Own):
        __tablename__ = "links"
        tag_id: Mapped[int] = mapped_column(ForeignKey("tags.id"), primary_key=True)
        page_id: Mapped[int] = mapped_column(ForeignKey("pages.id"), primary_key=True)

    class Page(Own):
        __tablename__ = "pages"
        id: Mapped[int] = mapped_column(primary_key=True)
        tags: WriteOnlyMapped[Tag] = relationship(secondary="links", passive_deletes=True)

    Own.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    attachment = attach(Revalidator(["tag"], store), sessions, {Tag: "account_id"})
    with sessions.begin() as session:
        session.add_all([Page(id=1), Tag(id=1, account_id=1)])
    store.bumped()
    with sessions.begin() as session:
        session.get_one(Page, 1).tags.add(session.get_one(Tag, 1))
    assert store.bumped() == {"tag 1"}
    with sessions.begin() as session:
        session.get_one(Page, 1).tags.remove(session.get_one(Tag, 1))
    assert store.bumped() == {"tag 1"}
    attachment.detach()


def test_nothing_is_asked_of_the_database_for_what_is_loaded(
    engine: Engine, sessions: Sessions, add: Add, bumped: Bumped
) -> None:
    """Collecting costs no statement where the old tenant is at hand."""
    from sqlalchemy import event

    key = add(Label(account_id=1))
    statements: list[str] = []
    with sessions.begin() as session:
        label = session.get_one(Label, key)
        event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
        label.account_id = 2
    assert bumped() == {"label 1", "label 2"}
    assert [statement.split()[0] for statement in statements] == ["UPDATE"]


def test_a_row_that_is_deleted_and_added_anew_in_one_flush_touches_both_tenants(
    sessions: Sessions, bumped: Bumped, add: Add
) -> None:
    """SQLAlchemy makes one UPDATE of the two, and tells of it by no event of an UPDATE's beginning."""
    add(Label(id=1, account_id=1))
    with sessions.begin() as session:
        session.delete(session.get_one(Label, 1))
        session.add(Label(id=1, account_id=2))
    assert bumped() == {"label 1", "label 2"}


def test_what_a_later_listener_changes_is_noted(sessions: Sessions, bumped: Bumped, add: Add) -> None:
    """An app's own `before_update` may be the one that makes an assigned object a changed one."""
    add(Label(id=1, account_id=1, title="a"))

    def stamp(_: object, __: object, label: Label) -> None:
        label.title = "stamped"

    event.listen(Label, "before_update", stamp)
    try:
        with sessions.begin() as session:
            label = session.get_one(Label, 1)
            label.title = "b"
            label.title = "a"
    finally:
        event.remove(Label, "before_update", stamp)
    assert bumped() == {"label 1"}


def test_foreign_keys_that_a_post_update_writes_are_noted(engine: Engine, store: RecordingStore) -> None:
    """`post_update` writes the children's foreign keys in an UPDATE of its own, which has no events."""

    class Own(DeclarativeBase):
        pass

    class Item(Own):
        __tablename__ = "items"
        id: Mapped[int] = mapped_column(primary_key=True)
        account_id: Mapped[int]
        shelf_id: Mapped[int | None] = mapped_column(ForeignKey("shelves.id"))

    class Shelf(Own):
        __tablename__ = "shelves"
        id: Mapped[int] = mapped_column(primary_key=True)
        items: Mapped[list[Item]] = relationship(post_update=True)

    Own.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    attachment = attach(Revalidator(["item"], store), sessions, {Item: "account_id"})
    with sessions.begin() as session:
        session.add_all([Shelf(id=1), Item(id=1, account_id=1)])
    store.bumped()
    with sessions.begin() as session:
        shelf, item = session.get_one(Shelf, 1), session.get_one(Item, 1)
        shelf.items.append(item)
    assert store.bumped() == {"item 1"}
    with sessions.begin() as session:
        session.delete(session.get_one(Shelf, 1))
    assert store.bumped() == {"item 1"}
    attachment.detach()
