"""What a mapping makes triggers note, without a database, and what is refused before there is one."""

import uuid
from enum import Enum as PythonEnum
from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import ATTACHED, TABLES, Conversation, Label, conversation_labels, new_revalidator
from sqlalchemy import CHAR, BigInteger, Boolean, Enum, ForeignKey, Numeric, String, TypeDecorator, Uuid, select
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.types import TypeEngine

from cache_revalidate import ConfigurationError, MemoryStore, Revalidator
from cache_revalidate_sqlalchemy import Triggers, attach, sql, touch
from cache_revalidate_sqlalchemy.triggers.notes import Note, Step, Tracked
from cache_revalidate_sqlalchemy.triggers.text import (
    EVENTS,
    function_body,
    function_name,
    literal,
    quoted,
    trigger_name,
)

REVALIDATOR = new_revalidator()


def tracked(models: dict[Any, Any], **options: Any) -> dict[str, tuple[Note, ...]]:
    """Return what is noted, by table."""
    return {each.table: each.notes for each in Triggers(REVALIDATOR, TABLES, models, **options).tracked}


def test_the_desk() -> None:
    """Own tables, dependents by their way, the rows on that way, and the many-to-many table of two classes."""
    notes = tracked(ATTACHED)
    assert {*notes} == {"labels", "conversations", "inboxes", "inbox_members", "teams", "conversation_labels"}
    assert notes["labels"] == (Note(("label",), "changed.account_id"),)
    assert notes["inbox_members"] == (
        Note(("inbox",), "changed.account_id", (Step("inboxes", (("inbox_id", "id"),)),)),
    )
    assert notes["inboxes"] == (Note(("inbox",), "changed.account_id"),)
    assert {*notes["conversation_labels"]} == {
        Note(("conversation",), "changed.account_id", (Step("conversations", (("conversation_id", "id"),)),)),
        Note(("label",), "changed.account_id", (Step("labels", (("label_id", "id"),)),)),
    }


def test_a_declaration_survives_as_text() -> None:
    """What the database keeps beside a function is what it was made of."""
    for each in Triggers(REVALIDATOR, TABLES, ATTACHED).tracked:
        assert Tracked.from_json(each.to_json()) == each
        assert eval(repr(each)) == each  # so it is written into migrations


def test_sql_for_a_table() -> None:
    """A table that no class is mapped to may tell its tenants in SQL, too."""
    notes = tracked({conversation_labels: touch("label", sql("changed.label_id % 10"))})
    assert notes == {"conversation_labels": (Note(("label",), "changed.label_id % 10"),)}


def test_canonical() -> None:
    """Where tenants are made canonical by a function of the app's, the same in SQL is put around each column."""
    own = Revalidator(["label"], MemoryStore(), canonical=str)
    with pytest.raises(ConfigurationError, match="canonical="):
        Triggers(own, TABLES, {Label: "account_id"})
    (notes,) = (
        each.notes
        for each in Triggers(own, TABLES, {Label: "account_id"}, canonical="lower({tenant}::text)").tracked
        if each.table == "labels"
    )
    assert notes == (Note(("label",), "lower(changed.account_id::text)"),)
    with pytest.raises(ConfigurationError, match="in it, as in"):
        Triggers(own, TABLES, {Label: "account_id"}, canonical="lower(account_id)")


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({}, "Nothing is tracked"),
        ({Label: lambda label: label.account_id}, r"sql\(\"lower\(changed.account_id\)\"\)"),
        ({Label: "account"}, "no column named 'account'"),
        ({Label: touch("lable", "account_id")}, "lable"),
        ({Conversation: "labels.account_id"}, "no many-to-one relationship named 'labels'"),
        ({conversation_labels: touch("label", "account_id")}, "has no column 'account_id'"),
        ({conversation_labels: touch("label", "team.account_id")}, "a path that begins with the class"),
        ({"labels": "account_id"}, "neither a mapped class nor a Table|has no attribute"),
    ],
)
def test_refused(models: dict[Any, Any], message: str) -> None:
    """What can't work is an error that says what to write."""
    with pytest.raises((ConfigurationError, AttributeError), match=message):
        tracked(models)


@pytest.mark.parametrize("tenant", [sql("changed.account_id"), touch("label", sql("changed.account_id"))])
def test_sql_is_not_for_sessions(tenant: Any) -> None:
    """Attached sessions can't read SQL: the error says what they are given instead."""
    with pytest.raises(ConfigurationError, match="a column, a path or a function"):
        attach(REVALIDATOR, sessionmaker(), {Label: tenant})


def test_wrong_arguments() -> None:
    """So is what is no revalidator, and what are no tables."""
    wrong: Any = "x"
    with pytest.raises(ConfigurationError, match="as the first"):
        Triggers(wrong, TABLES, {Label: "account_id"})
    with pytest.raises(ConfigurationError, match="add_tables"):
        Triggers(REVALIDATOR, wrong, {Label: "account_id"})
    with pytest.raises(ConfigurationError, match="not among the declared"):
        Triggers(REVALIDATOR, TABLES, {Label: "account_id"})._tracked(Conversation)


class Colour(PythonEnum):
    """What a database holds by name."""

    RED = "red"


class Hex(TypeDecorator[uuid.UUID]):
    """What a database holds in another way than Python."""

    impl = CHAR(32)
    cache_ok = True


@pytest.mark.parametrize(
    ("kind", "is_plain"),
    [
        (BigInteger(), True),
        (String(36), True),
        (Uuid(), True),
        (UUID(as_uuid=False), True),
        (Uuid(native_uuid=False), False),
        (Boolean(), False),
        (Numeric(), False),
        (Enum(Colour), False),
        (Hex(), False),
    ],
)
def test_types(kind: TypeEngine[Any], is_plain: bool) -> None:
    """A column whose text in the database may not be the app's tenant is refused, unless SQL makes one of it."""

    class Base(DeclarativeBase):
        pass

    class Thing(Base):
        __tablename__ = "things"
        id: Mapped[int] = mapped_column(primary_key=True)
        owner: Mapped[Any] = mapped_column("the owner", kind)

    models: dict[Any, Any] = {Thing: touch("label", "owner")}
    if is_plain:
        assert tracked(models)["things"] == (Note(("label",), 'changed."the owner"'),)
    else:
        with pytest.raises(ConfigurationError, match="give an SQL expression"):
            tracked(models)
    by_hand = tracked({Thing: touch("label", sql("upper(changed.owner)"))})
    assert by_hand["things"] == (Note(("label",), "upper(changed.owner)"),)


def test_names() -> None:
    """Names fit PostgreSQL's 63 bytes, differ by namespace and table, and are quoted whatever is in them."""
    long, other = ("s" * 63, "é" * 40), ("s" * 63, "é" * 39 + "e")
    assert len(function_name("x", long).encode()) <= 63
    assert len({function_name(namespace, table) for namespace in "ab" for table in (long, other)}) == 4
    assert len({trigger_name(namespace, event) for namespace in "ab" for event in EVENTS}) == 8
    assert quoted(('a"b', "c%d")) == '"a""b"."c%d"'
    assert literal("it's") == "'it''s'"
    assert literal(r"a\d'") == r"E'a\\d'''"


def test_one_function_for_all_events() -> None:
    """A function's text names everything with its schema, and a rule for moved rows compares them in UPDATE alone."""
    note = Note(("a", "b"), "changed.owner", (Step("parents", (("parent", "id"),)),), moved=("id", "parent"))
    places = {note.via[0]: ("app", "parents")}
    body = function_body(Tracked("children", (note,)), "space", ("own", "pending"), places)
    assert body.count('INSERT INTO "own"."pending" (namespace, model, tenant)') == 3
    assert body.count('JOIN "app"."parents" AS rows_1 ON rows_1."id" = rows_0."parent"') == 2
    assert body.count("NOT EXISTS") == 2
    assert "VALUES ('a'), ('b')" in body


def test_classes_of_several_tables() -> None:
    """A class that is mapped to a query can't be tracked, nor one whose SQL would have to be that of several tables."""

    class Base(DeclarativeBase):
        pass

    class Person(Base):
        __tablename__ = "people"
        id: Mapped[int] = mapped_column(primary_key=True)
        account_id: Mapped[int]

    class Manager(Person):
        __tablename__ = "managers"
        id: Mapped[int] = mapped_column(ForeignKey(Person.id), primary_key=True)

    class View(Base):
        __table__ = select(Person.id, Person.account_id).subquery("view")
        __mapper_args__ = {"primary_key": [__table__.c.id]}  # noqa: RUF012

    with pytest.raises(ConfigurationError, match="No joins are known from the table people of View to view"):
        tracked({View: touch("label", "account_id")})
    with pytest.raises(ConfigurationError, match="spread over the tables"):
        tracked({Manager: touch("label", sql("account_id"))})
    notes = tracked({Manager: touch("label", "account_id")})
    assert notes["managers"][0].via == (Step("people", (("id", "id"),)),)
