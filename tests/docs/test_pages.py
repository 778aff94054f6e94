"""The code blocks of the other pages run as they stand."""

import pytest

from tests.docs.pages import DOCS, Block, blocks

PAGES = ["concepts.md", "configuration.md", "http.md", "push.md"]


@pytest.mark.parametrize(
    "block", [block for page in PAGES for block in blocks(DOCS / page) if block.language == "python"], ids=str
)
def test_a_block_runs(block: Block) -> None:
    """Each Python block imports what it uses and does what it says, by its own asserts."""
    exec(compile(block.code, str(block), "exec"), {"__name__": "pasted"})
