"""What a scenario is: a story of writes, and the lists that are looked at before and after it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from adapters.sqlalchemy.tests.peers.database import LABELS, View
from adapters.sqlalchemy.tests.peers.library import Library
from sqlalchemy.ext.asyncio import AsyncEngine

Story = Callable[[Library], None]
AsyncStory = Callable[[Library, AsyncEngine], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """A story with its name in the documentation's table, which `group` is the heading of."""

    group: str
    name: str
    story: Any
    views: tuple[View, ...]
    driver: str

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


class Group:
    """The scenarios of one of the documentation's tables, in order."""

    def __init__(self, heading: str) -> None:
        self.heading = heading
        self.scenarios: list[Scenario] = []

    def scenario(
        self, name: str, *views: View, driver: str = "sqlite"
    ) -> Callable[[Story | AsyncStory], Story | AsyncStory]:
        """Decorate a story; `views` are the lists that are looked at, those of account 1's labels by default."""

        def add(story: Story | AsyncStory) -> Story | AsyncStory:
            self.scenarios.append(Scenario(self.heading, name, story, views or (LABELS,), driver))
            return story

        return add


async def settle() -> None:
    """Wait for what other tasks have under way, as an app does that awaits something else for long enough."""
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
