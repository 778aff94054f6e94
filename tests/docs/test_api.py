"""The API page names what is public."""

import cache_revalidate
from tests.docs.pages import DOCS


def test_api_page_shows_every_public_name() -> None:
    """Whatever the root exports is on the API page, the errors by way of their module."""
    page = (DOCS / "api.md").read_text()
    public = {name for name in [*cache_revalidate.__all__, "RedisStore"] if f":: cache_revalidate.{name}\n" not in page}
    errors = {name for name in public if getattr(cache_revalidate, name).__module__ == "cache_revalidate.exceptions"}
    assert "automodule:: cache_revalidate.exceptions\n" in page
    assert public == errors
