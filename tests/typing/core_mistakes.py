"""What a type checker refuses of the core: each ignored error is one that it must find. Checked, never run."""

from datetime import UTC, datetime

from cache_revalidate import CacheRevalidateMiddleware, Grant, MemoryStore, Revalidator, Tickets
from cache_revalidate.types import ASGIApp


async def wrong_arguments(revalidator: Revalidator) -> None:
    """Models are strings, and an asynchronous call is awaited."""
    await revalidator.tokens(1, 2)  # type: ignore[arg-type]
    await revalidator.bump(1, ["label"])  # type: ignore[arg-type]
    await revalidator.bump_many([(1, "label")])  # type: ignore[arg-type]
    revalidator.reset()  # type: ignore[call-arg, unused-coroutine]
    revalidator.bump(1, "label")["label"]  # type: ignore[index]


def wrong_configuration(app: ASGIApp) -> None:
    """Options have types, and only models and store go by position."""
    Revalidator([1])  # type: ignore[list-item]
    Revalidator(["label"], "redis://127.0.0.1")  # type: ignore[arg-type]
    Revalidator(["label"], MemoryStore(), "namespace")  # type: ignore[call-arg]
    Revalidator(["label"], expiry="72h")  # type: ignore[arg-type]
    CacheRevalidateMiddleware(app)  # type: ignore[call-arg]


def wrong_grants(tickets: Tickets) -> None:
    """A grant has a viewer, and its time is a number; a ticket is issued for a grant."""
    Grant(7, 2e9)  # type: ignore[arg-type]
    Grant("user-7")  # type: ignore[call-arg]
    Grant("user-7", expires_at=datetime.now(UTC))  # type: ignore[arg-type]
    Tickets(b"secret")  # type: ignore[arg-type]
    tickets.issue("1", "user-7")  # type: ignore[arg-type]
    tickets.opened(b"ticket", "1")  # type: ignore[arg-type]


def what_is_final(revalidator: Revalidator, grant: Grant) -> None:
    """Models, store and grants stay what they were made with."""
    grant.expires_at = 2e9  # type: ignore[misc]
    revalidator.models = ("team",)  # type: ignore[misc]
    revalidator.store = MemoryStore()  # type: ignore[misc]
