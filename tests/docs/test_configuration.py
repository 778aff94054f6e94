"""The configuration page names every option, with the type and default that the code gives it."""

import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest

import cache_revalidate
from cache_revalidate import CacheControl, CachePolicy, CacheRevalidateMiddleware, MemoryStore, Revalidator
from cache_revalidate.stores.redis import RedisStore
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
    "MemoryStore": MemoryStore,
    "RedisStore.from_url": RedisStore.from_url,
    "RedisStore": RedisStore,
}

# What the defaults in the page may name.
NAMES = {**vars(cache_revalidate), "time": time}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_option_is_documented(name: str) -> None:
    """The page's table has the options of the signature, in its order, each with its type and default."""
    rows = OPTIONS[name]
    parameters = inspect.signature(DOCUMENTED[name]).parameters.values()
    assert [row["option"] for row in rows] == [f"`{parameter.name}`" for parameter in parameters]
    for row, parameter in zip(rows, parameters, strict=True):
        assert row["type"] == f"`{_type(parameter)}`", parameter.name
        assert _default(row["default"]) == parameter.default, parameter.name
        assert row["what it is"] or parameter.name == "revalidator"


def test_no_table_of_options_is_left_unchecked() -> None:
    """Every table of options in the page is compared with a signature."""
    assert OPTIONS.keys() == DOCUMENTED.keys()


def _type(parameter: inspect.Parameter) -> str:
    return str(parameter.annotation)


def _default(cell: str) -> object:
    return inspect.Parameter.empty if cell == "required" else eval(cell.strip("`"), dict(NAMES))
