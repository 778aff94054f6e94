"""The Litestar plugin keeps the plugins' contract, and fits Litestar's own ways."""

from typing import cast

from cache_revalidate.types import ASGIApp
from tests.plugins import litestar_app
from tests.plugins.contract import PluginContract
from tests.plugins.desk import Desk


class TestOpt(PluginContract):
    """Handlers declared by their router's `opt`, behind its guard."""

    def make_app(self, desk: Desk) -> ASGIApp:
        """Return the Litestar app."""
        return cast("ASGIApp", litestar_app.make_app(desk))
