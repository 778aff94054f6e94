"""The FastAPI plugin keeps the plugins' contract, and fits FastAPI's own ways."""

from cache_revalidate.types import ASGIApp
from tests.plugins import fastapi_app
from tests.plugins.contract import PluginContract
from tests.plugins.desk import Desk


class TestDependency(PluginContract):
    """Routes declared by a dependency behind the app's own authentication."""

    def make_app(self, desk: Desk) -> ASGIApp:
        """Return the FastAPI app."""
        return fastapi_app.make_app(desk)
