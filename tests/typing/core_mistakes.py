"""What a type checker refuses of the core: each ignored error is one that it must find. Checked, never run."""

from cache_revalidate import CacheRevalidateMiddleware, MemoryStore, Revalidator
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


def what_is_final(revalidator: Revalidator) -> None:
    """Models and store stay what they were made with."""
    revalidator.models = ("team",)  # type: ignore[misc]
    revalidator.store = MemoryStore()  # type: ignore[misc]
