"""Which tenants a statement names. Whatever is not plain leaves them unknown."""

from __future__ import annotations

from typing import Any

import pytest
from adapters.sqlalchemy.tests.desk import Conversation, Label, label_table
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import aliased

from cache_revalidate_sqlalchemy.bulk import Held, tenants_of

HELD = Held.of([label_table.c.account_id], "account_id")
owner = Label.account_id
OTHER = aliased(Label)


def tenants(statement: Any, *parameters: dict[str, Any]) -> set[object] | None:
    """Return what is found in a statement on labels."""
    return tenants_of(statement, parameters, HELD)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (owner == 1, {1}),
        (literal(1) == owner, {1}),
        (label_table.c.account_id == 1, {1}),
        (owner.in_([1, 2]), {1, 2}),
        (owner.in_([]), set()),
        (and_(Label.title == "x", owner == 1), {1}),
        (and_(Label.title == "x", and_(Label.id > 3, owner.in_([1, 2]))), {1, 2}),
        (and_(or_(Label.title == "x", Label.id == 3), owner == 1), {1}),
        (and_(owner != 3, owner == 1), {1}),
        (and_(owner == Conversation.account_id, owner == 1), {1}),
        (bindparam("callable", callable_=lambda: 7, type_=label_table.c.account_id.type) == owner, {7}),
    ],
)
@pytest.mark.parametrize("make", [update, delete])
def test_a_where_that_compares_the_tenant_tells_it(make: Any, where: ColumnElement[bool], expected: set[int]) -> None:
    """Equality and IN with plain values, alone or joined by AND to whatever else."""
    assert tenants(make(Label).where(where)) == expected
    assert tenants(make(label_table).where(where)) == expected


@pytest.mark.parametrize(
    "where",
    [
        Label.title == "x",
        owner != 1,
        owner > 1,
        owner.is_(None),
        owner == null(),
        owner.not_in([1, 2]),
        not_(owner.in_([1, 2])),
        not_(owner == 1),
        not_(and_(owner == 1, Label.title == "x")),
        or_(owner == 1, owner == 2),
        or_(owner == 1, Label.title == "x"),
        and_(Label.title == "x", or_(owner == 1, Label.id == 2)),
        owner == Label.id,
        owner == Conversation.account_id,
        Conversation.account_id == 1,
        OTHER.account_id == 1,
        label_table.alias().c.account_id == 1,
        owner == select(func.max(Conversation.account_id)).scalar_subquery(),
        owner.in_(select(Conversation.account_id)),
        owner + 1 == 2,
        func.abs(owner) == 1,
        -owner == 1,
        owner == func.abs(-1),
        owner == literal_column("1"),
        owner.in_([1, func.abs(-2)]),
        tuple_(owner, Label.id).in_([(1, 2)]),
        text("account_id = 1"),
        owner.is_distinct_from(1),
        owner == bindparam("required"),
        literal(1) == literal(1),
        literal(1) < owner,
    ],
)
def test_a_where_that_does_not_is_unknown(where: Any) -> None:
    """OR, NOT, other operators, other columns and everything computed leave the tenants unknown."""
    assert tenants(update(Label).where(where).values(title="y")) is None
    assert tenants(delete(Label).where(where)) is None


def test_a_statement_without_where_is_unknown() -> None:
    """All rows of all tenants: nobody names them."""
    assert tenants(update(Label).values(title="x")) is None
    assert tenants(delete(label_table)) is None


def test_parameters_give_the_values() -> None:
    """A named parameter takes each of the values that the statement is executed with."""
    statement = update(Label).where(owner == bindparam("account")).values(title="x")
    assert tenants(statement, {"account": 1}) == {1}
    assert tenants(statement, {"account": 1}, {"account": 2}) == {1, 2}
    assert tenants(statement, {"account": 1}, {}) is None
    several = delete(Label).where(owner.in_(bindparam("accounts", expanding=True)))
    assert tenants(several, {"accounts": [1, 2]}) == {1, 2}
    assert tenants(several, {"accounts": None}) is None


def test_an_update_that_moves_rows_names_both_tenants() -> None:
    """Both the old tenant, of the WHERE, and the new one, of the SET, must be plain."""
    where = update(Label).where(owner == 1)
    assert tenants(where.values(account_id=2)) == {1, 2}
    assert tenants(where.values({Label.account_id: 2})) == {1, 2}
    assert tenants(where.ordered_values((Label.title, "x"), (Label.account_id, 2))) == {1, 2}
    assert tenants(where, {"account_id": 2, "title": "x"}) == {1, 2}
    assert tenants(where.values(account_id=bindparam("to")), {"to": 3}) == {1, 3}
    assert tenants(where.values(account_id=None)) == {1}
    assert tenants(where.values(account_id=Label.id)) is None
    assert tenants(update(Label).values(account_id=2)) is None


def test_an_update_by_primary_key_is_unknown() -> None:
    """The ORM's bulk UPDATE by primary key names no tenant."""
    assert tenants(update(Label), {"id": 1, "title": "x"}) is None


def test_an_insert_names_its_tenants_in_its_values() -> None:
    """One row or many, in VALUES or in parameters; NULL is no tenant."""
    assert tenants(insert(Label).values(account_id=1)) == {1}
    assert tenants(insert(Label).values({Label.account_id: 1})) == {1}
    assert tenants(insert(label_table).values((5, 1, "title"))) == {1}
    assert tenants(insert(Label).values([{"account_id": 1}, {"account_id": 2}])) == {1, 2}
    assert tenants(insert(Label), {"account_id": 1}, {"account_id": None}) == {1}
    assert tenants(insert(Label).values(account_id=1), {"title": "x"}, {"title": "y"}) == {1}
    assert tenants(insert(Label).values(account_id=bindparam("to")), {"to": 4}) == {4}


@pytest.mark.parametrize(
    "statement",
    [
        insert(Label),
        insert(Label).values(title="x"),
        insert(Label).values(account_id=func.abs(-1)),
        insert(Label).values(account_id=select(Conversation.account_id).scalar_subquery()),
        insert(Label).values([{"account_id": 1}, {"title": "x"}]),
        insert(label_table).values([(5, 1, "title"), (6, 2, "title")]),
        insert(Label).from_select(["account_id"], select(Conversation.account_id)),
        insert(Label).values(account_id=1).prefix_with("OR REPLACE"),
        mysql.insert(Label).values(account_id=1).on_duplicate_key_update(title="x"),
        postgresql.insert(Label).values(account_id=1).on_conflict_do_update(index_elements=["id"], set_={"title": "x"}),
        postgresql.insert(Label).values(account_id=1).on_conflict_do_update(constraint="labels_pkey", set_={"id": 1}),
        postgresql.insert(Label)
        .values(account_id=1)
        .on_conflict_do_update(index_elements=["account_id"], set_={"account_id": 2}),
        sqlite.insert(Label).values(account_id=1).on_conflict_do_update(index_elements=["id"], set_={"account_id": 2}),
    ],
)
def test_an_insert_that_does_not_is_unknown(statement: Any) -> None:
    """Computed tenants, INSERT ... SELECT, REPLACE, and upserts that may change another tenant's row are unknown."""
    assert tenants(statement) is None
    assert tenants(insert(Label), {"account_id": 1}, {"title": "x"}) is None


@pytest.mark.parametrize("dialect", [postgresql, sqlite])
def test_an_upsert_that_stays_within_its_tenant_is_known(dialect: Any) -> None:
    """DO NOTHING, and DO UPDATE of a conflict over the tenant itself, touch no tenant but those in VALUES."""
    plain = dialect.insert(Label).values(account_id=1, title="x")
    assert tenants(plain.on_conflict_do_nothing()) == {1}
    assert tenants(plain.on_conflict_do_update(index_elements=["account_id", "title"], set_={"title": "y"})) == {1}
    assert tenants(plain.on_conflict_do_update(index_elements=[Label.account_id], set_={Label.title: "y"})) == {1}


_rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=6)
_leaves = st.one_of(
    st.integers(0, 3).map(lambda value: owner == value),
    st.lists(st.integers(0, 3), min_size=1, max_size=3).map(owner.in_),
    st.integers(0, 3).map(lambda value: Label.id == value),
    st.integers(0, 3).map(lambda value: owner != value),
    st.just(owner == Label.id),
)
_conditions = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: and_(*parts)),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: or_(*parts)),
        inner.map(not_),
    ),
    max_leaves=6,
)


@given(_conditions, _rows)
def test_no_where_is_ever_misread(condition: Any, rows: list[tuple[int, int]]) -> None:
    """Whatever the condition: if tenants are found in it, every row that it selects is of one of them."""
    import sqlite3

    found = tenants(delete(Label).where(condition))
    if found is None:
        return
    compiled = str(select(Label.account_id).where(condition).compile(compile_kwargs={"literal_binds": True}))
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE labels (id INTEGER, account_id INTEGER)")
    connection.executemany("INSERT INTO labels VALUES (?, ?)", rows)
    assert {row[0] for row in connection.execute(compiled)} <= found
    connection.close()
