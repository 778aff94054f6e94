"""The mapping that `attach` is given, checked and made ready: which models a written row touches, and of whom."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from sqlalchemy import Table
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapper, RelationshipProperty

from cache_revalidate import ConfigurationError, UnknownModelError
from cache_revalidate_sqlalchemy.bulk import Held
from cache_revalidate_sqlalchemy.sources import ColumnSource, Source, mapped_source, source_of

if TYPE_CHECKING:
    from cache_revalidate import Revalidator

Tenant: TypeAlias = str | Callable[[Any], object]
"""A column's name, a dotted path of many-to-one relationships that ends in one, or a function of the object."""


@dataclass(frozen=True, slots=True)
class Touch:
    """The models that the rows of a class or table touch, and where their tenant is found."""

    models: tuple[str, ...]
    tenant: Tenant


def touch(models: str | Collection[str], tenant: Tenant) -> Touch:
    """Say that rows touch `models` (a name, or several) rather than the model named after their class.

    As in Rails, a dependent record touches its owner: `InboxMember: touch("inbox", "inbox.account_id")`.
    """
    return Touch((models,) if isinstance(models, str) else tuple(models), tenant)


class sql(str):  # noqa: N801 - it is written as a function, beside `touch`
    """Say in SQL whose a row is, for triggers: an expression of the columns of `changed`, the rows that were written.

    `Agent: sql("unnest(string_to_array(changed.accounts, ' '))")` may give several tenants for a row, or NULL for none.
    Only `pg_catalog` is searched for names: write another table or function with its schema, `public.accounts` say.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RowRule:
    """What one object touches when its row is written."""

    models: tuple[str, ...]
    source: Source


@dataclass(frozen=True, slots=True)
class TableRule:
    """What a bulk statement on a table touches."""

    models: tuple[str, ...]
    held: Held | None
    has_tenant: bool
    """Whether this very table holds the tenant; a subclass's own table leaves it to its base's."""


@dataclass(frozen=True, slots=True)
class Link:
    """A many-to-many relationship whose change touches something: no object stands for the rows it writes."""

    key: str
    parent: tuple[RowRule, ...]
    """What the association table's rows touch, told by the object that has the relationship."""
    child: tuple[RowRule, ...]
    """The same, told by each object that the relationship leads to."""


@dataclass(frozen=True, slots=True)
class Rules:
    """All that one `attach` was told."""

    rows: Mapping[type, RowRule]
    tables: Mapping[Table, tuple[TableRule, ...]]
    links: Mapping[type, tuple[Link, ...]]
    associations: frozenset[Table]
    """The attached tables whose rows many-to-many relationships write."""

    def of(self, obj: object) -> Sequence[RowRule]:
        """Return the rules of an object's class and of its bases."""
        return [self.rows[cls] for cls in type(obj).__mro__ if cls in self.rows]

    def links_of(self, obj: object) -> Iterable[Link]:
        """Return the many-to-many relationships of an object whose change touches something."""
        return [link for cls in type(obj).__mro__ for link in self.links.get(cls, ())]


def compile_rules(revalidator: Revalidator, given: Mapping[Any, Tenant | Touch]) -> Rules:
    """Make rules of the mapping that `attach` was given; raise `ConfigurationError` if they can't work."""
    if not given:
        raise ConfigurationError('Nothing is attached: name at least one class, as in {Label: "account_id"}.')
    rows: dict[type, RowRule] = {}
    tables: dict[Table, tuple[TableRule, ...]] = {}
    associations: dict[Table, list[_Association]] = {}
    mappers: dict[type, Mapper[Any]] = {}
    for key, source in given.items():
        if isinstance(source.tenant if isinstance(source, Touch) else source, sql):
            raise ConfigurationError(
                f"The tenant of {key} is given in SQL, which is for triggers: give attach a column, a path or a "
                "function, and Triggers what differs, {**models, key: sql(...)}."
            )
        if isinstance(key, Table):
            touched = touch_of(revalidator, source, key.name, f"the table {key.name}")
            tables[key] = (*tables.get(key, ()), _table_rule(key, touched))
            associations.setdefault(key, []).append(_Association(touched, None))
            continue
        mapper = mappers[key] = mapper_of(key)
        touched = touch_of(revalidator, source, underscore(key.__name__), key.__name__)
        rule = rows[key] = RowRule(touched.models, source_of(mapper, touched.tenant))
        for table in _tables(mapper):
            has_tenant = rule.source.held is not None and not rule.source.held.columns.isdisjoint(table.c)
            tables[table] = (*tables.get(table, ()), TableRule(rule.models, rule.source.held, has_tenant))
            associations.setdefault(table, []).append(_Association(touched, mapper))
    relationships = many_to_many(mappers.values())
    written = {relationship.secondary for relationship in relationships}
    for table, found in associations.items():
        if table not in written and any(each.mapper is None and each.is_path for each in found):
            raise ConfigurationError(
                f"The table {table.name} is given a path to its tenant, but no many-to-many relationship beside the "
                "attached classes has it as its secondary: name one of its columns."
            )
    links = _links(relationships, rows, associations)
    return Rules(rows, tables, links, frozenset(table for table in tables if table in written))


def underscore(name: str) -> str:
    """Return a class's name in snake_case, as Rails' `underscore` does: `InboxMember` is `inbox_member`."""
    name = re.sub(r"([A-Z\d]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z\d])([A-Z])", r"\1_\2", name).lower()


def mapper_of(cls: Any) -> Mapper[Any]:
    """Return the mapper of a class that is a key of the mapping; raise `ConfigurationError` if it has none."""
    mapper = sa_inspect(cls, raiseerr=False)
    if not isinstance(mapper, Mapper) or not isinstance(cls, type):
        raise ConfigurationError(f"{cls!r} is neither a mapped class nor a Table: the keys of the mapping are those.")
    mapper.registry.configure()
    return mapper


def _tables(mapper: Mapper[Any]) -> set[Table]:
    return {table for sub in mapper.self_and_descendants for table in sub.tables if isinstance(table, Table)}


def touch_of(revalidator: Revalidator, given: Tenant | Touch, name: str, what: str) -> Touch:
    """Return what is said of a key, checked, with the models that it means by its own `name`, if none are said."""
    touched = given if isinstance(given, Touch) else Touch((name,), given)
    try:
        models = revalidator.known_models(touched.models)
    except UnknownModelError as error:
        raise ConfigurationError(
            f"{what} touches {', '.join(map(repr, touched.models))}. {error} "
            'Or say which models it touches, as in touch("label", "account_id").'
        ) from error
    if not models:
        raise ConfigurationError(f'{what} touches no model: name one, as in touch("label", "account_id").')
    return Touch(models, touched.tenant)


def _table_rule(table: Table, touched: Touch) -> TableRule:
    tenant = touched.tenant
    if isinstance(tenant, str) and tenant in table.c:
        return TableRule(touched.models, Held.of([table.c[tenant]], tenant), has_tenant=True)
    if isinstance(tenant, str) and "." in tenant:
        return TableRule(touched.models, None, has_tenant=False)
    raise ConfigurationError(
        f"The table {table.name} has no column {tenant!r} to find its tenant by: it has "
        f"{', '.join(table.c.keys())}. Name one of them or, for the secondary table of a many-to-many relationship, "
        "a path that begins with the class at one of its ends, such as 'inbox.account_id'."
    )


@dataclass(frozen=True, slots=True)
class _Association:
    """What is said of a table that may be the secondary of many-to-many relationships."""

    touched: Touch
    mapper: Mapper[Any] | None
    """That of the class which is mapped to the table and was attached in its place."""

    @property
    def is_path(self) -> bool:
        return isinstance(self.touched.tenant, str) and "." in self.touched.tenant

    def begins_at(self, end: Mapper[Any], head: str) -> bool:
        """Say whether the path that begins with `head` begins at this end of a relationship."""
        if self.mapper is None:
            return underscore(end.class_.__name__) == head
        return related(self.mapper.relationships[head].mapper.class_, end.class_)


def _links(
    relationships: Iterable[RelationshipProperty[Any]],
    classes: Iterable[type],
    associations: Mapping[Table, list[_Association]],
) -> dict[type, tuple[Link, ...]]:
    links: dict[type, tuple[Link, ...]] = {}
    for relationship in relationships:
        parent, child = relationship.parent, relationship.mapper
        said = associations.get(cast("Table", relationship.secondary), ())
        if not said and not any(related(end.class_, cls) for end in (parent, child) for cls in classes):
            continue
        told = [_told(relationship, association) for association in said]
        link = Link(
            relationship.key,
            tuple(rule for end, rule in told if end is parent),
            tuple(rule for end, rule in told if end is child),
        )
        links[parent.class_] = (*links.get(parent.class_, ()), link)
    return links


def related(cls: type, other: type) -> bool:
    """Say whether one of two classes is a subclass of the other."""
    return issubclass(cls, other) or issubclass(other, cls)


def many_to_many(mappers: Iterable[Mapper[Any]]) -> list[RelationshipProperty[Any]]:
    """Return the relationships of the mappers, and of those beside them, that write to a secondary table."""
    registries = {mapper.registry for mapper in mappers}
    return [
        relationship
        for registry in registries
        for mapper in registry.mappers
        for relationship in mapper.relationships
        if relationship.secondary is not None and not relationship.viewonly and relationship.parent is mapper
    ]


def _told(relationship: RelationshipProperty[Any], association: _Association) -> tuple[Mapper[Any], RowRule]:
    """Find the end of the relationship that tells the tenant of the rows that it writes."""
    tenant = association.touched.tenant
    head, *rest = tenant.split(".") if isinstance(tenant, str) else ("",)
    ends = (
        (relationship.parent, relationship.synchronize_pairs),
        (relationship.mapper, relationship.secondary_synchronize_pairs or []),
    )
    for end, pairs in ends:
        if rest and association.begins_at(end, head):
            return end, RowRule(association.touched.models, mapped_source(end, rest))
        for own, its in pairs:
            if not rest and head in {its.key, its.name}:
                source = ColumnSource(end, end.get_property_by_column(own).key)
                return end, RowRule(association.touched.models, source)
    raise ConfigurationError(
        f"The tenant of the rows that {relationship} writes can't be found by {tenant!r}: attach the table "
        f"{relationship.secondary} with a path that begins with {underscore(relationship.parent.class_.__name__)!r} or "
        f"{underscore(relationship.mapper.class_.__name__)!r}, or make the relationship viewonly."
    )
