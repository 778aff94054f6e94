"""The API page names what is public."""

import cache_revalidate
import cache_revalidate_sqlalchemy
from cache_revalidate import exceptions
from tests.docs.pages import DOCS


def test_api_page_shows_every_public_name() -> None:
    """Whatever the root exports is on the API page, the errors by way of their module."""
    page = (DOCS / "api.md").read_text()
    absent = {name for name in [*cache_revalidate.__all__, "RedisStore"] if f":: cache_revalidate.{name}\n" not in page}
    errors = {name for name, value in vars(exceptions).items() if value.__class__ is type}
    assert ":: cache_revalidate.exceptions\n" in page
    assert absent <= errors


def test_api_page_shows_the_adapter() -> None:
    """Whatever the SQLAlchemy adapter exports is on the API page."""
    page = (DOCS / "api.md").read_text()
    names = cache_revalidate_sqlalchemy.__all__
    assert [name for name in names if f":: cache_revalidate_sqlalchemy.{name}\n" not in page] == []
