"""Plays a scenario and says what a reader of the lists saw."""

import asyncio
import inspect
from contextlib import closing

from adapters.sqlalchemy.tests.desk import async_engine
from adapters.sqlalchemy.tests.peers.database import View, new_database
from adapters.sqlalchemy.tests.peers.library import Library
from adapters.sqlalchemy.tests.peers.scenario import Scenario, settle

from cache_revalidate import StoreError

FRESH = "fresh"
EXTRA = "fresh, fetched once more"
EARLY = "stale if read before COMMIT"
STALE = "stale"
RAISES = "commit raises"
REFUSED = "refused"
UNCACHED = "not cached"


class Reader:
    """Reads the scenario's lists through the library, and compares them with the rows that there are."""

    def __init__(self, library: Library, scenario: Scenario) -> None:
        self._library = library
        self._views = scenario.views
        self._before = {view: library.read(view) for view in self._views}
        self.fetched_in_vain = False

    def caches(self) -> bool:
        """Say whether the lists are kept at all."""
        return not any(self._fetches(view) for view in self._views)

    def is_stale(self) -> bool:
        """Say whether a list is served that isn't right; note if one was fetched that hadn't changed."""
        stale = False
        for view in self._views:
            rows = self._library.database.rows(view)
            self.fetched_in_vain |= self._fetches(view) and rows == self._before[view]
            stale |= self._library.read(view) != rows
        return stale

    def look(self) -> None:
        """Read the lists, as any request may at any time."""
        for view in self._views:
            self._library.read(view)

    def _fetches(self, view: View) -> bool:
        selects = self._library.database.selects
        self._library.read(view)
        return self._library.database.selects > selects


def judge(scenario: Scenario, library: type[Library], url: str) -> str:
    """Return what is seen of the scenario's lists: the words of the documentation's tables."""
    seen = _play(scenario, library, url)
    if seen not in {FRESH, EXTRA}:
        return seen
    # The same again, and somebody reads the lists at the worst moment: when the rows are written but not committed.
    return EARLY if _play(scenario, library, url, reads_before_commit=True) == STALE else seen


def _play(scenario: Scenario, library_class: type[Library], url: str, *, reads_before_commit: bool = False) -> str:
    with new_database(url) as database, closing(library_class(database)) as library:
        reader = Reader(library, scenario)
        if not reader.caches():
            return UNCACHED
        if reads_before_commit:
            database.before_commit = reader.look
        raised = ""
        try:
            _tell(scenario, library)
        except library.refusals:
            return REFUSED
        except (ConnectionError, StoreError):  # the store's, which has reached the app
            raised = f"{RAISES}, "
        if reader.is_stale():
            return raised + STALE
        return raised + (EXTRA if reader.fetched_in_vain else FRESH)


def _tell(scenario: Scenario, library: Library) -> None:
    if inspect.iscoroutinefunction(scenario.story):
        asyncio.run(_tell_async(scenario, library))
    else:
        scenario.story(library)


async def _tell_async(scenario: Scenario, library: Library) -> None:
    engine = await async_engine(library.database.async_url)
    library.database.follow(engine.sync_engine)
    try:
        await scenario.story(library, engine)
        await settle()
    finally:
        await engine.dispose()
