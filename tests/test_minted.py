"""What was minted while one request was handled."""

import asyncio

from cache_revalidate import Revalidator
from cache_revalidate.minted import collect_minted, record_minted


async def test_record_holds_the_bumps_of_its_block() -> None:
    """The record has the newest tokens bumped inside the block, by tenant and model, and none from outside."""
    revalidator = Revalidator(["inbox", "label"])
    await revalidator.bump(1, "label")
    with collect_minted(revalidator) as minted:
        await revalidator.bump(1, "label")
        label = await revalidator.bump(1, "label")
        of_others = await revalidator.bump_many({1: ["inbox"], 2: ["label"]})
    await revalidator.bump(1, "inbox")
    assert minted == {"1": label | of_others["1"], "2": of_others["2"]}


async def test_record_is_closed_after_its_block() -> None:
    """A task that outlives the block adds nothing more, so that it can't fill the record for ever."""
    revalidator = Revalidator(["label"])
    is_over = asyncio.Event()

    async def late() -> None:
        await is_over.wait()
        await revalidator.bump(1, "label")

    with collect_minted(revalidator) as minted:
        task = asyncio.create_task(late())
        await asyncio.sleep(0)
    is_over.set()
    await task
    assert minted == {}


async def test_record_is_shared_with_tasks_and_threads() -> None:
    """Bumps in a task, in a thread and through the synchronous door are in the record too."""
    revalidator = Revalidator(["a", "b", "c"])
    with collect_minted(revalidator) as minted:
        await asyncio.create_task(revalidator.bump(1, "a"))
        await asyncio.to_thread(revalidator.sync.bump, 1, "b")
        revalidator.sync.bump(1, "c")
    assert minted.keys() == {"1"}
    assert minted["1"].keys() == {"a", "b", "c"}


async def test_parallel_requests_have_records_of_their_own() -> None:
    """What one request mints is not in the record of another that is handled at the same time."""
    revalidator = Revalidator(["label"])

    async def request(tenant: int) -> set[str]:
        with collect_minted(revalidator) as minted:
            await asyncio.sleep(0)
            await revalidator.bump(tenant, "label")
            await asyncio.sleep(0)
            return set(minted)

    assert await asyncio.gather(*(request(tenant) for tenant in range(10))) == [{str(n)} for n in range(10)]


async def test_records_are_kept_per_revalidator() -> None:
    """Two revalidators in one request have a record each; an inner block takes over until it ends."""
    first, second = Revalidator(["label"]), Revalidator(["label"])
    with collect_minted(first) as of_first, collect_minted(second) as of_second:
        await first.bump(1, "label")
        with collect_minted(second) as inner:
            await second.bump(2, "label")
        await second.bump(3, "label")
    assert (set(of_first), set(of_second), set(inner)) == ({"1"}, {"3"}, {"2"})


def test_nothing_is_recorded_without_a_record() -> None:
    """Outside of any block, recording does nothing."""
    record_minted(object(), {"1": {"label": "17954886434853037045"}})
