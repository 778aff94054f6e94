"""Path patterns: which request belongs to which declared route, and to which tenant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from uuid import UUID

from cache_revalidate.exceptions import ConfigurationError, InvalidTenantError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cache_revalidate.types import Scope

TargetT = TypeVar("TargetT")

_parameter = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([a-z]+))?\}")

# What a parameter's type matches in a path, and what makes a canonical tenant's value of it. Digits are ASCII's:
# `int` takes others too, and a framework that does would serve what we don't match, which is safe.
_TYPES: Final[Mapping[str, tuple[str, Callable[[str], object]]]] = {
    "int": ("[0-9]+", int),
    "uuid": ("[0-9A-Fa-f]{8}(?:-?[0-9A-Fa-f]{4}){3}-?[0-9A-Fa-f]{12}", UUID),
    "str": ("[^/]+", str),
}

# Of the paths that matched lately, so many are known, none of them longer.
_MOST_KEPT: Final = 8192
_LONGEST_KEPT: Final = 256

# Up to so many candidates are tried one by one: that costs less than to tell them apart first.
_FEW: Final = 4


@dataclass(slots=True)
class Match(Generic[TargetT]):
    """A request's path, matched."""

    target: TargetT
    """What stands for the matched pattern in the table."""

    segment: str
    """The tenant's part of the path, as it came."""

    convert: Callable[[str], object]
    """Makes the tenant's value of the segment, as the pattern's type says."""

    is_typed: bool
    """Whether that value is all that the tenant follows from, and not what a function of the app's own says today."""

    _tenant: str | None = None

    def tenant(self, canonical: Callable[[object], str]) -> str:
        """Return the canonical tenant; raise `InvalidTenantError` if the segment can't be one."""
        if self._tenant is not None:
            return self._tenant
        try:
            value = self.convert(self.segment)
        except ValueError as error:  # an int of more digits than Python converts
            raise InvalidTenantError("The tenant in this path is not valid.") from error
        tenant = canonical(value)
        if self.is_typed:
            self._tenant = tenant
        return tenant


class RouteTable(Generic[TargetT]):
    """All declared patterns, so that a path costs the same look-up however many there are.

    A pattern is a path with typed parameters, `/accounts/{account_id:int}/labels`; types are `int`, `uuid` and
    `str` (the default: one path segment). One of the parameters, `tenant_parameter`, is the tenant;
    `needs_type` says that it must be an int or a uuid, because nothing else makes it canonical.
    """

    # No parameter matches a slash, so a path has as many segments as its pattern, and the same ones where the pattern
    # has no parameter. Patterns are found by the last of those: how far from the end it stands, and what it is. As a
    # rule that leaves one candidate, whose expression then has the last word.

    def __init__(self, routes: Mapping[str, TargetT], *, tenant_parameter: str, needs_type: bool) -> None:
        endings: dict[int, dict[str, list[_Route[TargetT]]]] = {}
        for order, (pattern, target) in enumerate(routes.items()):
            expression, convert = _compiled(pattern, tenant_parameter, needs_type=needs_type)
            route = _Route(order, pattern, re.compile(expression).fullmatch, target, convert)
            segments = pattern.split("/")
            last = _literal_positions(segments)[-1]
            endings.setdefault(len(segments) - last, {}).setdefault(segments[last], []).append(route)
        self._is_typed = needs_type
        self._recent: dict[str, Match[TargetT]] = {}
        # None if one of the patterns has a parameter there.
        self._last_segments = frozenset(endings.get(1, ())) if endings.keys() <= {1} else None
        self._farthest = max(endings, default=1)
        self._endings = [
            (place, {segment: _group(routes) for segment, routes in by_segment.items()})
            for place, by_segment in endings.items()
        ]

    def match(self, path: str) -> Match[TargetT] | None:
        """Return what `path` matches, None if it matches nothing; of several patterns the first declared wins."""
        recent = self._recent.get(path)
        if recent is not None:
            return recent
        if self._last_segments is not None and path.rpartition("/")[2] not in self._last_segments:
            return None  # as most paths of an app end, that declares some of them
        return self._find(path)

    def _find(self, path: str) -> Match[TargetT] | None:
        segments = path.rsplit("/", self._farthest)
        candidates: Sequence[_Route[TargetT]] = ()
        for place, groups in self._endings:
            group = groups.get(segments[-place]) if place <= len(segments) else None
            if group is not None:
                routes = group if isinstance(group, tuple) else group.routes(path)
                candidates = _in_order(candidates, routes) if candidates else routes
        for route in candidates:
            if (found := route.fullmatch(path)) is not None:
                match = Match(route.target, found[1], route.convert, self._is_typed)
                self._remember(path, match)
                return match
        return None

    def _remember(self, path: str, match: Match[TargetT]) -> None:
        if len(path) <= _LONGEST_KEPT:
            if len(self._recent) >= _MOST_KEPT:
                self._recent.clear()
            self._recent[path] = match


@dataclass(frozen=True, slots=True)
class _Route(Generic[TargetT]):
    """One declared pattern."""

    order: int
    pattern: str
    fullmatch: Callable[[str], re.Match[str] | None]
    target: TargetT
    convert: Callable[[str], object]


class _Crowd(Generic[TargetT]):
    """Many routes that share the segment they are found by: told apart by all segments that have no parameter."""

    def __init__(self, routes: Iterable[_Route[TargetT]]) -> None:
        shapes: dict[tuple[int, tuple[int, ...]], dict[object, list[_Route[TargetT]]]] = {}
        for route in routes:
            segments = route.pattern.split("/")
            positions = _literal_positions(segments)
            by_literals = shapes.setdefault((len(segments), positions), {})
            by_literals.setdefault(itemgetter(*positions)(segments), []).append(route)
        self._shapes: dict[int, list[tuple[Callable[[list[str]], object], dict[object, list[_Route[TargetT]]]]]] = {}
        for (length, positions), by_literals in shapes.items():
            self._shapes.setdefault(length, []).append((itemgetter(*positions), by_literals))

    def routes(self, path: str) -> Sequence[_Route[TargetT]]:
        """Return those whose literal segments are the path's, first declared first."""
        segments = path.split("/")
        candidates: Sequence[_Route[TargetT]] = ()
        for literals, by_literals in self._shapes.get(len(segments), ()):
            if routes := by_literals.get(literals(segments)):
                candidates = _in_order(candidates, routes) if candidates else routes
        return candidates


def _group(routes: list[_Route[TargetT]]) -> tuple[_Route[TargetT], ...] | _Crowd[TargetT]:
    return tuple(routes) if len(routes) <= _FEW else _Crowd(routes)


def _in_order(some: Sequence[_Route[TargetT]], others: Sequence[_Route[TargetT]]) -> Sequence[_Route[TargetT]]:
    return sorted((*some, *others), key=attrgetter("order"))


def _literal_positions(segments: Iterable[str]) -> tuple[int, ...]:
    """Return which segments of a pattern have no parameter; the first, before the leading slash, never has one."""
    return tuple(position for position, segment in enumerate(segments) if "{" not in segment)


def local_path(scope: Scope) -> str:
    """Return the path below the point where the app is mounted.

    The ASGI specification has `path` include `root_path`, and not every server does so: it is taken off where it
    is there, at a segment's end.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :]
    return path


def tenant_converter(pattern: str, tenant_parameter: str, *, needs_type: bool) -> Callable[[str], object]:
    """Return what makes the tenant's value of its segment of a path that matches `pattern`."""
    return _compiled(pattern, tenant_parameter, needs_type=needs_type)[1]


def _compiled(pattern: str, tenant_parameter: str, *, needs_type: bool) -> tuple[str, Callable[[str], object]]:
    if not isinstance(pattern, str) or not pattern.startswith("/"):
        raise ConfigurationError(f"The path pattern {pattern!r} must begin with a slash.")
    expression, position, tenant_converter = "", 0, None
    names: set[str] = set()
    for parameter in _parameter.finditer(pattern):
        name, kind = parameter[1], parameter[2] or "str"
        if kind not in _TYPES:
            raise ConfigurationError(
                f"{parameter[0]} in {pattern!r} has a type that is not one of {', '.join(_TYPES)}."
            )
        if name in names:
            raise ConfigurationError(f"The path pattern {pattern!r} names {name!r} twice.")
        names.add(name)
        matcher, convert = _TYPES[kind]
        expression += _literal(pattern, position, parameter.start())
        position = parameter.end()
        if name == tenant_parameter:
            if needs_type and kind == "str":
                raise ConfigurationError(
                    f"{parameter[0]} in {pattern!r} may be spelled in several ways that mean one tenant: say "
                    f"{{{name}:int}} or {{{name}:uuid}}, or give Revalidator(canonical=...) the function that "
                    "makes a tenant canonical (str.lower, say)."
                )
            expression, tenant_converter = f"{expression}({matcher})", convert
        else:
            expression += f"(?:{matcher})"
    if tenant_converter is None:
        raise ConfigurationError(
            f"The path pattern {pattern!r} has no tenant: it needs the parameter {{{tenant_parameter}:int}} "
            f"(or name the parameter that is the tenant, tenant_parameter={tenant_parameter!r} at present)."
        )
    return expression + _literal(pattern, position, len(pattern)), tenant_converter


def _literal(pattern: str, start: int, end: int) -> str:
    text = pattern[start:end]
    if "{" in text or "}" in text:
        raise ConfigurationError(f"The path pattern {pattern!r} has a brace that is not a parameter: {text!r}.")
    return re.escape(text)
