"""The configuration page names every option, with the type and default that the code gives it."""

import inspect
import re
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

import cache_revalidate
from cache_revalidate import (
    CacheControl,
    CachePolicy,
    CacheRevalidateMiddleware,
    Hub,
    HubSettings,
    MemoryStore,
    Revalidator,
    Tickets,
)
from cache_revalidate.fastapi import Fresh
from cache_revalidate.litestar import RevalidateConfig
from cache_revalidate.starlette import FreshWhen
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate_sqlalchemy import DurableStore, Triggers, add_tables, attach, bind_snapshot, touch
from tests.docs.pages import DOCS, tables

OPTIONS = {
    table.heading.strip("`"): table.rows
    for table in tables(DOCS / "configuration.md")
    if table.first_column == "option"
}

DOCUMENTED: dict[str, Callable[..., Any]] = {
    "Revalidator": Revalidator,
    "CacheRevalidateMiddleware": CacheRevalidateMiddleware,
    "CachePolicy": CachePolicy,
    "CacheControl": CacheControl,
    "Hub": Hub,
    "HubSettings": HubSettings,
    "Tickets": Tickets,
    "FreshWhen": FreshWhen,
    "fresh_when(...)": FreshWhen.__call__,
    "fresh_when.keys_route": FreshWhen.keys_route,
    "fresh_when.push_routes": FreshWhen.push_routes,
    "Fresh": Fresh,
    "fresh.install": Fresh.install,
    "fresh(...)": Fresh.__call__,
    "fresh.keys_router": Fresh.keys_router,
    "RevalidateConfig": RevalidateConfig,
    "MemoryStore": MemoryStore,
    "RedisStore.from_url": RedisStore.from_url,
    "RedisStore": RedisStore,
    "attach": attach,
    "add_tables": add_tables,
    "DurableStore": DurableStore,
    "bind_snapshot": bind_snapshot,
    "touch": touch,
    "Triggers": Triggers,
}

# What the defaults in the page may name.
NAMES = {**vars(cache_revalidate), "signal": signal, "time": time}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_option_is_documented(name: str) -> None:
    """The page's table has the options of the signature, in its order, each with its type and default."""
    rows = OPTIONS[name]
    parameters = [p for p in inspect.signature(DOCUMENTED[name]).parameters.values() if p.name != "self"]
    assert [row["option"] for row in rows] == [f"`{_name(parameter)}`" for parameter in parameters]
    for row, parameter in zip(rows, parameters, strict=True):
        annotation, default = _type_and_default(row["type = default"])
        assert annotation == _type(parameter), parameter.name
        assert default == parameter.default, parameter.name
        assert row["what it is"] or parameter.name == "revalidator"


def test_no_table_of_options_is_left_unchecked() -> None:
    """Every table of options in the page is compared with a signature."""
    assert OPTIONS.keys() == DOCUMENTED.keys()


def _name(parameter: inspect.Parameter) -> str:
    return f"*{parameter.name}" if parameter.kind is parameter.VAR_POSITIONAL else parameter.name


def _type(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"(?:\w+\.)+(\w)", r"\1", text)  # without the modules


def _type_and_default(cell: str) -> tuple[str, object]:
    if match := re.fullmatch(r"`(.+)`, required", cell):
        return match[1], inspect.Parameter.empty
    match = re.fullmatch(r"`(.+)` = `(.+)`", cell)
    assert match is not None, cell
    return match[1], eval(match[2], dict(NAMES))
