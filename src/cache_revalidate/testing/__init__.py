"""What helps to test a store of your own; needs pytest and pytest-asyncio, so only tests import it."""

import pytest

# Before the import, so that a failing assert in the suite shows its values in your project too.
for _module in ("contract", "copy_contract", "ear"):
    pytest.register_assert_rewrite(f"cache_revalidate.testing.{_module}")

from cache_revalidate.testing.contract import StoreContract  # noqa: E402
from cache_revalidate.testing.copy_contract import CopyContract  # noqa: E402

__all__ = ["CopyContract", "StoreContract"]
