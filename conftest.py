"""Fixtures for every test of the repository, those of `adapters/` among them."""

pytest_plugins = ["tests.support.fixtures", "tests.support.browser"]
