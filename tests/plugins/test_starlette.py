"""The Starlette plugin keeps the plugins' contract, and fits Starlette's own ways."""

from cache_revalidate.types import ASGIApp
from tests.plugins import starlette_app
from tests.plugins.contract import PluginContract
from tests.plugins.desk import Desk


class TestDecorator(PluginContract):
    """Endpoints declared by decorator, below `@requires`."""

    def make_app(self, desk: Desk) -> ASGIApp:
        """Return the Starlette app."""
        return starlette_app.make_app(desk)
