"""The Lua scripts: a read or a bump is one call of one of them, whatever the number of models and tenants."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final


class Script:
    """A Lua script, and the SHA-1 by which Redis knows it once it has seen it."""

    def __init__(self, name: str) -> None:
        folder = files(__package__)
        self.text: Final = "".join(folder.joinpath(part).read_text("utf-8") for part in ("token.lua", name))
        self.sha: Final = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


HASH: Final = Script("hash.lua")
STRINGS: Final = Script("strings.lua")
