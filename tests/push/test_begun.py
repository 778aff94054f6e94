"""A coroutine that one task begins and another one ends: `cache_revalidate.push.begun`."""

import asyncio
from contextvars import ContextVar, copy_context

import pytest

from cache_revalidate.push.begun import begun

place: ContextVar[str] = ContextVar("place")


async def test_what_does_not_wait_is_done_at_once() -> None:
    """Of a coroutine that waits for nothing nothing is left."""
    done: list[int] = []

    async def note(number: int) -> None:
        done.append(number)

    assert begun(copy_context(), note, 1) is None
    assert done == [1]


async def test_what_waits_is_ended_by_another() -> None:
    """What is left goes on where it stopped, in its own context, and waits for as many things as it likes."""
    first: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    found: list[object] = []

    async def wait(_: None) -> None:
        token = place.set("there")
        found.append(await first)
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        found.append(place.get())
        place.reset(token)

    rest = begun(copy_context(), wait, None)
    assert rest is not None
    first.set_result(7)
    await rest
    assert found == [7, "there"]


async def test_its_failure_is_that_of_who_ends_it() -> None:
    """What it raises after it has waited, and what comes of what it waits for, reaches who awaits the rest."""
    first: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    seen: list[type[BaseException]] = []

    async def fail(_: None) -> None:
        try:
            await first
        except ZeroDivisionError as error:
            seen.append(type(error))
            raise KeyError from error

    rest = begun(copy_context(), fail, None)
    assert rest is not None
    first.set_exception(ZeroDivisionError())
    with pytest.raises(KeyError):
        await rest
    assert seen == [ZeroDivisionError]


async def test_who_ends_it_may_be_cancelled() -> None:
    """A cancellation reaches what it waits for, and lets it clear up."""
    cleared: list[int] = []
    never = asyncio.Event()

    async def wait(_: None) -> None:
        try:
            await never.wait()
        finally:
            await asyncio.sleep(0)
            cleared.append(1)

    rest = begun(copy_context(), wait, None)
    assert rest is not None

    async def end() -> None:
        await rest

    task = asyncio.create_task(end())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleared == [1]


async def test_its_failure_at_once_is_that_of_who_begins_it() -> None:
    """What it raises before it waits is raised there."""

    async def fail(_: None) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        begun(copy_context(), fail, None)


async def test_what_is_called_need_not_be_a_coroutine() -> None:
    """A function that returns something to be awaited is called in the context, too, and waited for."""
    first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    context = copy_context()
    seen: list[str] = []

    def call(name: str) -> asyncio.Future[None]:
        place.set(name)
        return first

    async def end() -> None:
        rest = begun(context, call, "there")
        assert rest is not None
        await rest
        seen.append(context[place])

    task = asyncio.create_task(end())
    await asyncio.sleep(0)
    first.set_result(None)
    await task
    assert seen == ["there"]
