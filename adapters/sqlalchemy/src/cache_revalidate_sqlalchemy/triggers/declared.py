"""Makes of the mapping that `attach` takes what triggers are to note, table by table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Table

from cache_revalidate import ConfigurationError
from cache_revalidate_sqlalchemy.rules import Touch, many_to_many, mapper_of, related, sql, touch_of, underscore
from cache_revalidate_sqlalchemy.sources import mapped_source
from cache_revalidate_sqlalchemy.triggers.notes import Note, Step, Tracked
from cache_revalidate_sqlalchemy.triggers.ways import Hop, Way, hops_to, join_on, tenant_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy.orm import Mapper, RelationshipProperty

    from cache_revalidate import Revalidator
    from cache_revalidate_sqlalchemy.rules import Tenant

    Noted: TypeAlias = dict[tuple[str, tuple[Step, ...]], dict[tuple[str, ...], set[str]]]


def declared(
    revalidator: Revalidator, models: Mapping[Any, Tenant | Touch], canonical: str | None
) -> tuple[Tracked, ...]:
    """Return the tables that triggers have to track for `models`; raise `ConfigurationError` if they can't."""
    if not models:
        raise ConfigurationError('Nothing is tracked: name at least one class, as in {Label: "account_id"}.')
    if canonical is not None and "{tenant}" not in canonical:
        raise ConfigurationError(f'canonical is {canonical!r}: write {{tenant}} in it, as in "lower({{tenant}})".')
    if canonical is None and not revalidator.has_default_canonical:
        raise ConfigurationError(
            "The revalidator makes tenants canonical by a function, which no trigger can call: say the same in SQL, as "
            'in canonical="lower({tenant})".'
        )
    return _Declaring(revalidator, models, canonical).tracked()


class _Declaring:
    def __init__(self, revalidator: Revalidator, models: Mapping[Any, Tenant | Touch], canonical: str | None) -> None:
        self._canonical = canonical
        self._noted: dict[Table, Noted] = {}
        self._classes: dict[Mapper[Any], Touch] = {}
        tables: list[tuple[Table, Touch]] = []
        for key, given in models.items():
            if isinstance(key, Table):
                tables.append((key, touch_of(revalidator, given, key.name, f"the table {key.name}")))
            else:
                touched = touch_of(revalidator, given, underscore(key.__name__), key.__name__)
                self._classes[mapper_of(key)] = touched
        self._relationships = many_to_many(self._classes)
        for mapper, touched in self._classes.items():
            self._add_class(mapper, touched)
        for table, touched in tables:
            self._add(table, touched.models, self._way_of_table(table, touched))
        for relationship in self._relationships:
            self._add_association(relationship)

    def tracked(self) -> tuple[Tracked, ...]:
        """Return all that was declared."""
        ordered = sorted(self._noted, key=lambda table: (table.schema or "", table.name))
        return tuple(Tracked(table.name, tuple(_notes(self._noted[table])), table.schema) for table in ordered)

    def _add_class(self, mapper: Mapper[Any], touched: Touch) -> None:
        for sub in mapper.self_and_descendants:
            for table in sub.tables:
                if not isinstance(table, Table):
                    raise ConfigurationError(
                        f"{sub.class_.__name__} is mapped to {table}, which is no table: name the tables behind it."
                    )
                self._add(table, touched.models, self._way(sub, table, touched.tenant))

    def _add_association(self, relationship: RelationshipProperty[Any]) -> None:
        """Count a row that is linked to another, or no longer, as one that is written: `attach` does the same."""
        for end, hop in _ends(relationship):
            for mapper, touched in self._classes.items():
                if related(mapper.class_, end.class_) and isinstance(relationship.secondary, Table):
                    way = self._way(mapper if mapper.isa(end) else end, hop.table, touched.tenant)
                    self._add(relationship.secondary, touched.models, _after(hop, way))

    def _way(self, mapper: Mapper[Any], table: Table, tenant: object) -> Way:
        if isinstance(tenant, sql):
            if len(mapper.tables) > 1:
                raise ConfigurationError(
                    f"{mapper.class_.__name__} is spread over the tables {', '.join(map(str, mapper.tables))}: "
                    "give each of those an sql() of its own columns, instead of the class."
                )
            return Way((), str(tenant), None)
        if not isinstance(tenant, str):
            raise ConfigurationError(
                f"The tenant of {mapper.class_.__name__} is given as a function, which no trigger can call: write it "
                "in SQL for the triggers, {**models, " + mapper.class_.__name__ + ': sql("lower(changed.account_id)")}.'
            )
        names = tenant.split(".")
        mapped_source(mapper, names)  # which says what is wrong with a path, if anything is
        hops, column = hops_to(mapper, table, names)
        return Way(hops, tenant_in(column, self._canonical), (column.name,))

    def _way_of_table(self, table: Table, touched: Touch) -> Way:
        tenant = touched.tenant
        if isinstance(tenant, sql):
            return Way((), str(tenant), None)
        if isinstance(tenant, str) and tenant in table.c:
            column = table.c[tenant]
            return Way((), tenant_in(column, self._canonical), (column.name,))
        head, *rest = tenant.split(".") if isinstance(tenant, str) else ("",)
        for relationship in self._relationships:
            for end, hop in _ends(relationship):
                if rest and relationship.secondary is table and underscore(end.class_.__name__) == head:
                    return _after(hop, self._way(end, hop.table, ".".join(rest)))
        raise ConfigurationError(
            f"The table {table.name} has no column {tenant!r} to find its tenant by: it has "
            f'{", ".join(table.c.keys())}. Name one of them, give sql("...") or, for the secondary table of a '
            "many-to-many relationship beside the declared classes, a path that begins with the class at one of its "
            "ends, such as 'inbox.account_id'."
        )

    def _add(self, table: Table, models: Iterable[str], way: Way) -> None:
        self._put(table, models, way, ())
        # The rows on the way may move, too, or be gone, by the cascade that deletes the written row, when its own
        # trigger looks for them. So they note for it.
        for position, hop in enumerate(way.hops):
            rest = Way(way.hops[position + 1 :], way.tenant, way.columns)
            leads_by = [here for here, _ in rest.hops[0].on] if rest.hops else way.columns
            found_by = [there for _, there in hop.on]
            self._put(hop.table, models, rest, () if leads_by is None else tuple(dict.fromkeys([*found_by, *leads_by])))

    def _put(self, table: Table, models: Iterable[str], way: Way, moved: tuple[str, ...]) -> None:
        key = (way.tenant, tuple(hop.step for hop in way.hops))
        self._noted.setdefault(table, {}).setdefault(key, {}).setdefault(moved, set()).update(models)


def _notes(noted: Noted) -> Iterator[Note]:
    for (tenant, via), by_moved in noted.items():
        whole = by_moved.get((), set())
        for moved, models in by_moved.items():
            if left := models - whole if moved else models:
                yield Note(tuple(sorted(left)), tenant, via, moved)


def _ends(relationship: RelationshipProperty[Any]) -> Iterator[tuple[Mapper[Any], Hop]]:
    """Tell the classes at both ends of a many-to-many relationship, and how its secondary table joins theirs."""
    yield relationship.parent, join_on([pair[::-1] for pair in relationship.synchronize_pairs])
    yield relationship.mapper, join_on([pair[::-1] for pair in relationship.secondary_synchronize_pairs or []])


def _after(hop: Hop, way: Way) -> Way:
    return Way((hop, *way.hops), way.tenant, way.columns)
