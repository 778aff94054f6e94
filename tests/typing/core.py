"""What a type checker infers of the core, and takes. Checked, never run."""

from collections.abc import Callable
from typing import assert_type

from cache_revalidate import (
    EVERYONE,
    CacheRevalidateMiddleware,
    Connection,
    Grant,
    Keyspace,
    MemoryStore,
    NullStore,
    RedisStore,
    Revalidator,
    Stats,
    Store,
    Tickets,
    Viewer,
    allow_everyone,
    canonical_tenant,
)
from cache_revalidate.types import ASGIApp


async def tokens_by_model(revalidator: Revalidator) -> None:
    """Tokens are strings by model, whoever asks for them."""
    assert_type(await revalidator.tokens(1), dict[str, str])
    assert_type(await revalidator.tokens("1", "label", "team"), dict[str, str])
    assert_type(await revalidator.bump(1, "label"), dict[str, str])
    assert_type(await revalidator.bump_many({1: ["label"], 2: {"team"}}), dict[str, dict[str, str]])
    assert_type(await revalidator.reset(1), dict[str, str])
    assert_type(revalidator.sync.bump(1, "label"), dict[str, str])
    assert_type(revalidator.sync.bump_many({1: ("label",)}), dict[str, dict[str, str]])
    assert_type(revalidator.sync.reset(1), dict[str, str])


def what_a_revalidator_tells(revalidator: Revalidator) -> None:
    """Its parts have types of their own."""
    assert_type(revalidator.models, tuple[str, ...])
    assert_type(revalidator.store, Store)
    assert_type(revalidator.keyspace, Keyspace)
    assert_type(revalidator.stats, Stats)
    assert_type(revalidator.stats.bumps, int)
    assert_type(revalidator.tenant(1), str)
    assert_type(revalidator.bind(1, {"label": None}), Callable[[], None])
    assert_type(revalidator.tag("agent-1"), str)
    assert_type(revalidator.tag(EVERYONE), str)
    assert_type(canonical_tenant(1), str)


async def the_lifespan(revalidator: Revalidator, app: object) -> None:
    """Enter it with the app or without."""
    async with revalidator.lifespan(app) as nothing:
        assert_type(nothing, None)
    async with revalidator.lifespan():
        pass


stores: list[Store] = [NullStore(), MemoryStore(), RedisStore.from_url("redis://127.0.0.1")]


def sync_rule(connection: Connection, tenant: str) -> Viewer | None:
    """Refuse by returning None."""
    return connection.headers.get("x-agent") if tenant else None


async def async_rule(connection: Connection, tenant: str) -> Viewer:
    """Tell who asks, asynchronously."""
    return EVERYONE if tenant else str(connection.user)


def rule_with_an_end(connection: Connection, tenant: str) -> Grant | None:
    """Grant until a time."""
    return Grant(tenant, expires_at=connection.user["exp"]) if connection.user else None


async def mixed_rule(connection: Connection, tenant: str) -> Viewer | Grant | None:
    """Grant until a time, or without end, or refuse."""
    return rule_with_an_end(connection, tenant) or sync_rule(connection, tenant)


def what_a_grant_says(grant: Grant) -> None:
    """It names a viewer and a time."""
    assert_type(grant.viewer, Viewer)
    assert_type(grant.expires_at, float)


def the_tickets() -> None:
    """They are made of one secret or several, and give back what they were issued for."""
    tickets = Tickets("secret")
    tickets = Tickets(["new", "old"], 10, time=lambda: 0.0)
    assert_type(tickets.issue("1", Grant(EVERYONE, 2e9)), str)
    assert_type(tickets.opened("ticket", "1"), Grant)
    assert_type(tickets.lifetime, float)


def the_middleware(app: ASGIApp, revalidator: Revalidator) -> None:
    """Give it synchronous and asynchronous rules; what comes out is an ASGI app itself."""
    wrapped: ASGIApp = CacheRevalidateMiddleware(app, revalidator=revalidator, authorize=sync_rule)
    wrapped = CacheRevalidateMiddleware(wrapped, revalidator=revalidator, authorize=async_rule)
    wrapped = CacheRevalidateMiddleware(wrapped, revalidator=revalidator, authorize=rule_with_an_end)
    wrapped = CacheRevalidateMiddleware(wrapped, revalidator=revalidator, authorize=mixed_rule)
    CacheRevalidateMiddleware(
        app=wrapped,
        revalidator=revalidator,
        authorize=allow_everyone,
        routes={"/accounts/{account_id:int}/labels": ["label"]},
    )
