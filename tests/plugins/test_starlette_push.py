"""The Starlette plugin pushes as all plugins do, by routes that stand wherever an app has its own."""

import uuid

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.routing import Mount

from cache_revalidate import ConfigurationError, Hub, Revalidator, Tickets, allow_everyone
from cache_revalidate.starlette import FreshWhen
from tests.plugins.contract import client_of
from tests.plugins.desk import Desk
from tests.plugins.driving import driven
from tests.plugins.push_contract import EVENTS, SOCKET, PushContract
from tests.plugins.starlette_app import PREFIX, BearerBackend, agent_of_account
from tests.push.waiting import until


class TestPush(PushContract):
    """The routes of push, by the keys endpoint's."""

    app = "tests.plugins.starlette_app:serve"


async def test_authentication_of_a_mount(desk: Desk) -> None:
    """The routes may stand in a mount, whose own authentication has run when it is asked who may see the tenant."""
    fresh_when = FreshWhen(desk.revalidator, authorize=agent_of_account)
    backend = Middleware(AuthenticationMiddleware, backend=BearerBackend(desk))
    routes = fresh_when.push_routes(desk.hub, keys_path="/cache_keys")
    app = Starlette(routes=[Mount(PREFIX, routes=routes, middleware=[backend])])
    for path, kind, status in ((EVENTS, "http", 200), (SOCKET, "websocket", 101)):
        async with driven(app, path, type=kind) as ann, driven(app, path, type=kind, headers=[]) as nobody:
            assert (ann.status, nobody.status) == (status, 403)


async def test_other_tenants() -> None:
    """A tenant may be a UUID, however a message spells it."""
    revalidator = Revalidator(["label"])
    fresh_when = FreshWhen(revalidator, authorize=allow_everyone, tenant="desk")
    app = Starlette(routes=fresh_when.push_routes(keys_path="/{desk:uuid}/keys"))
    one, other = uuid.uuid4(), uuid.uuid4()
    async with driven(app, f"/{one}/keys/socket", type="websocket") as socket:
        socket.say({"type": "subscribe", "account_id": other.hex.upper()})
        await until(lambda: f'"account_id":"{other}"' in socket.text, "the first event")
        socket.say({"type": "subscribe", "account_id": "1"})
        await until(lambda: '"code":4400' in socket.text, "an error")


async def test_tickets_where_the_hub_has_some(revalidator: Revalidator) -> None:
    """The routes have names to link to; there is one for tickets if the hub has any."""
    fresh_when = FreshWhen(revalidator, authorize=allow_everyone)
    with_tickets = Hub(revalidator, tickets=Tickets("not a secret, but 32 characters long"))
    for hub, status in ((None, 404), (with_tickets, 200)):
        app = Starlette(routes=fresh_when.push_routes(hub))
        assert app.url_path_for("cache_events", account_id=1) == EVENTS
        assert app.url_path_for("cache_socket", account_id=1) == SOCKET
        async with client_of(app) as client:
            assert (await client.post(EVENTS.replace("events", "ticket"))).status_code == status


@pytest.mark.parametrize(("hub", "mend"), [(Hub(Revalidator(["label"])), "another revalidator"), (True, "a bool")])
def test_hub_that_could_not_work_is_an_error(revalidator: Revalidator, hub: Hub, mend: str) -> None:
    """A hub tells of one revalidator's tokens: another's is refused at once, and so is what is none."""
    with pytest.raises(ConfigurationError, match=mend):
        FreshWhen(revalidator, authorize=allow_everyone).push_routes(hub)
