"""How the tenants of an object are found: in a column, along a path of many-to-one relationships, by a function.

A source answers twice for an object that is written: `before` names the tenants of the row as the database has it,
`now` those of the object as it is. A row that moves between tenants has one of each.
"""

from __future__ import annotations

import inspect as python
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Column, bindparam, select
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapper, RelationshipDirection, RelationshipProperty, object_session
from sqlalchemy.orm.attributes import get_history
from sqlalchemy.orm.base import PassiveFlag

from cache_revalidate import ConfigurationError
from cache_revalidate_sqlalchemy.bulk import Held

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.orm import Session

_MISSING = object()


class Source(Protocol):
    """Finds the tenants of an object while the flush that writes it is under way."""

    held: Held | None
    """The columns that hold the tenant, where a bulk statement may name it; None if it is held elsewhere."""

    def before(self, obj: object) -> Iterable[object]:
        """Return the tenants of the object's row before this flush."""
        ...

    def now(self, obj: object) -> Iterable[object]:
        """Return the tenants of the object as this flush writes it."""
        ...


class ColumnSource:
    """The tenant is one of the object's own columns."""

    def __init__(self, mapper: Mapper[Any], key: str) -> None:
        # Concrete subclasses have columns of their own.
        kinds = [sub for sub in mapper.self_and_descendants if key in sub.column_attrs]
        columns = {column for sub in kinds for column in sub.column_attrs[key].columns}
        self.held: Held | None = Held.of(columns, key)
        self._mapper = mapper
        self._key = key
        self._identity_keys = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
        self._by_identity = select(getattr(mapper.class_, key)).where(
            *(column == bindparam(f"pk_{position}") for position, column in enumerate(mapper.primary_key))
        )

    def before(self, obj: object) -> Iterable[object]:
        """Return the value that was loaded, else the one that the database has."""
        history = get_history(obj, self._key, PassiveFlag.PASSIVE_NO_INITIALIZE)
        if history.deleted:
            return history.deleted
        # A value that was set while the attribute was expired or unloaded has no old value beside it.
        if history.unchanged and not history.added:
            return history.unchanged
        return self._look_up(obj, sa_inspect(obj).identity)

    def now(self, obj: object) -> Iterable[object]:
        """Return the object's value; where it is the database's to give, ask the database."""
        state = sa_inspect(obj)
        value = state.dict.get(self._key, _MISSING)
        if value is _MISSING:
            identity = tuple(state.dict.get(key) for key in self._identity_keys)
            return self._look_up(obj, state.identity if None in identity else identity)
        return (value,)

    def _look_up(self, obj: object, identity: tuple[Any, ...] | None) -> Iterable[object]:
        if identity is None:
            return ()
        return _scalars(obj, self._mapper, self._by_identity, identity)


class PathSource:
    """The tenant is a column of the object that a many-to-one relationship leads to, or found from that one on."""

    held: Held | None = None

    def __init__(self, mapper: Mapper[Any], relationship: RelationshipProperty[Any], rest: list[str]) -> None:
        pairs = relationship.local_remote_pairs or []
        self._foreign_keys = [ColumnSource(mapper, mapper.get_property_by_column(local).key) for local, _ in pairs]
        self._target = relationship.mapper
        self._tail = mapped_source(self._target, rest)
        remote = [column for _, column in pairs]
        self._has_identity = remote == list(self._target.primary_key)
        self._by_reference = _select_along(self._target, rest).where(
            *(column == bindparam(f"pk_{position}") for position, column in enumerate(remote))
        )

    def before(self, obj: object) -> Iterable[object]:
        """Return the tenants that the row's foreign key led to before this flush."""
        return self._follow(obj, [_only(source.before(obj)) for source in self._foreign_keys])

    def now(self, obj: object) -> Iterable[object]:
        """Return the tenants that the object's foreign key leads to."""
        return self._follow(obj, [_only(source.now(obj)) for source in self._foreign_keys])

    def _follow(self, obj: object, reference: list[Any]) -> Iterable[object]:
        if None in reference:
            return ()
        if self._has_identity:
            key = self._target.identity_key_from_primary_key(tuple(reference))
            target = _session(obj).identity_map.get(key)
            if target is not None:
                return (*self._tail.before(target), *self._tail.now(target))
        return _scalars(obj, self._target, self._by_reference, reference)


class FunctionSource:
    """The tenants are what a function of the object returns: one, an iterable of them, or None."""

    held: Held | None = None

    def __init__(self, function: Callable[[Any], object]) -> None:
        self._function = function

    def before(self, obj: object) -> Iterable[object]:
        """Call the function; it may read the old values in the attributes' history."""
        return as_tenants(self._function(obj))

    def now(self, obj: object) -> Iterable[object]:
        """Call the function."""
        return as_tenants(self._function(obj))


def source_of(mapper: Mapper[Any], tenant: str | Callable[[Any], object]) -> Source:
    """Return the source that `tenant` describes for a mapper's objects; raise `ConfigurationError` if there is none."""
    if isinstance(tenant, str):
        return mapped_source(mapper, tenant.split("."))
    if not callable(tenant) or python.iscoroutinefunction(tenant):
        raise ConfigurationError(
            f"The tenant of {mapper.class_.__name__} is given as {tenant!r}: write a column's name, a path such as "
            "'inbox.account_id', or a plain (not async) function of the object."
        )
    return FunctionSource(tenant)


def mapped_source(mapper: Mapper[Any], steps: list[str]) -> Source:
    """Return the source at the end of `steps`, attribute names of which all but the last are relationships."""
    name, *rest = steps
    if not rest and name in mapper.column_attrs and isinstance(mapper.column_attrs[name].columns[0], Column):
        return ColumnSource(mapper, name)
    if rest and name in mapper.relationships:
        relationship = mapper.relationships[name]
        if relationship.direction is RelationshipDirection.MANYTOONE:
            return PathSource(mapper, relationship, rest)
    kind, has = (
        ("many-to-one relationship", [r.key for r in mapper.relationships if _is_many_to_one(r)])
        if rest
        else ("column", mapper.column_attrs.keys())
    )
    raise ConfigurationError(
        f"{mapper.class_.__name__} has no {kind} named {name!r} to find its tenant by: it has "
        f"{', '.join(has) or 'none'}. Mend the name, or give a function of the object that returns its tenants."
    )


def as_tenants(given: object) -> tuple[object, ...]:
    """Return the tenants in `given`: None for none, one, or an iterable of them."""
    if given is None:
        return ()
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return tuple(given)
    return (given,)


def _is_many_to_one(relationship: RelationshipProperty[Any]) -> bool:
    return relationship.direction is RelationshipDirection.MANYTOONE


def _select_along(mapper: Mapper[Any], steps: list[str]) -> Select[Any]:
    """Return a SELECT of the last step's column, joined along the relationships before it."""
    entity, joins = mapper.class_, []
    for name in steps[:-1]:
        joins.append(getattr(entity, name))
        entity = mapper.relationships[name].mapper.class_
        mapper = mapper.relationships[name].mapper
    statement = select(getattr(entity, steps[-1]))
    if joins:
        statement = statement.select_from(joins[0].parent.class_)
    for join in joins:
        statement = statement.join(join)
    return statement


def _scalars(obj: object, mapper: Mapper[Any], statement: Select[Any], keys: Iterable[Any]) -> Iterable[object]:
    # The connection of the flush itself: the session's own loading would meet objects that it has yet to register.
    connection = _session(obj).connection(bind_arguments={"mapper": mapper})
    parameters = {f"pk_{position}": value for position, value in enumerate(keys)}
    return connection.execute(statement, parameters).scalars().all()


def _session(obj: object) -> Session:
    session = object_session(obj)
    if session is None:  # pragma: no cover - a flush writes the objects of its session
        raise RuntimeError(f"{obj!r} is in no session.")
    return session


def _only(values: Iterable[object]) -> object:
    return next(iter(values), None)
