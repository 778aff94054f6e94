"""Path patterns: which request belongs to which declared route, and to which tenant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from cache_revalidate.exceptions import ConfigurationError, InvalidTenantError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


class Match(NamedTuple, Generic[TargetT]):
    """A request's path, matched."""

    target: TargetT
    """What stands for the matched pattern in the table."""

    segment: str
    """The tenant's part of the path, as it came."""

    convert: Callable[[str], object]
    """Makes the tenant's value of the segment, as the pattern's type says."""

    def tenant(self, canonical: Callable[[object], str]) -> str:
        """Return the canonical tenant; raise `InvalidTenantError` if the segment can't be one."""
        try:
            value = self.convert(self.segment)
        except ValueError as error:  # an int of more digits than Python converts
            raise InvalidTenantError("The tenant in this path is not valid.") from error
        return canonical(value)


class RouteTable(Generic[TargetT]):
    """All declared patterns as one compiled expression, so that a path costs one look-up however many there are.

    A pattern is a path with typed parameters, `/accounts/{account_id:int}/labels`; types are `int`, `uuid` and
    `str` (the default: one path segment). One of the parameters, `tenant_parameter`, is the tenant;
    `needs_type` says that it must be an int or a uuid, because nothing else makes it canonical.
    """

    def __init__(self, routes: Mapping[str, TargetT], *, tenant_parameter: str, needs_type: bool) -> None:
        alternatives: list[str] = []
        self._targets: dict[int, tuple[TargetT, int, Callable[[str], object]]] = {}
        group = 0
        for pattern, target in routes.items():
            expression, convert = _compiled(pattern, tenant_parameter, needs_type=needs_type)
            alternatives.append(f"({expression})")
            # Each pattern has two groups: itself, which closes last and so is the match's lastindex, and the tenant.
            self._targets[group + 1] = (target, group + 2, convert)
            group += 2
        self._fullmatch = re.compile("|".join(alternatives)).fullmatch if alternatives else None

    def match(self, path: str) -> Match[TargetT] | None:
        """Return what `path` matches, None if it matches nothing; of several patterns the first declared wins."""
        found = self._fullmatch(path) if self._fullmatch else None
        if found is None or found.lastindex is None:
            return None
        target, group, convert = self._targets[found.lastindex]
        return Match(target, found[group], convert)


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
