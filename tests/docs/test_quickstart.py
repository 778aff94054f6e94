"""The quickstart, followed to the letter: its files written, its server started, its commands typed."""

from pathlib import Path

import pytest

from tests.docs.console import run, steps
from tests.docs.pages import DOCS, Block, blocks
from tests.support.servers import AppServer, RedisServer, find_program

PAGE = blocks(DOCS / "quickstart.md")
FRAMEWORKS = ["Starlette", "FastAPI", "Litestar"]
ADDRESS = "http://127.0.0.1:8000"
REDIS_ADDRESS = "redis://localhost"


def python_block(heading: str) -> Block:
    """Return the one Python block under the heading."""
    (block,) = (block for block in PAGE if block.language == "python" and block.heading == heading)
    return block


@pytest.fixture(params=FRAMEWORKS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An empty folder with `desk.py` and a framework's `app.py` in it."""
    for heading, name in (("2. The data: `desk.py`", "desk.py"), (request.param, "app.py")):
        code = python_block(heading).code
        assert code.startswith(f"# {name}\n")
        (tmp_path / name).write_text(code)
    return tmp_path


def typed(server: AppServer, folder: Path) -> None:
    """Type every command of the page."""
    find_program("curl", "curl")
    for block in PAGE:
        if block.language == "console":
            for step in steps(block.code):
                run(step, folder, {ADDRESS: server.base_url})


@pytest.fixture
def on_redis(folder: Path, redis_server_own: RedisServer) -> None:
    """The folder's `desk.py`, changed as the page says for more than one worker."""
    block = python_block("5. More than one worker")
    imported, new = block.code.strip().split("\n\n")
    desk = (folder / "desk.py").read_text()
    old = 'revalidator = Revalidator(models=["label"])'
    assert desk.count(old) == desk.count("from cache_revalidate import Revalidator") == 1
    desk = desk.replace("from cache_revalidate import Revalidator", imported).replace(old, new)
    (folder / "desk.py").write_text(desk.replace(REDIS_ADDRESS, redis_server_own.url))


def test_the_quickstart_does_what_it_says(folder: Path) -> None:
    """Each command prints what the page shows, and the 304s and refusals read nothing from the database."""
    with AppServer("app:app", cwd=folder, ready_path="/none") as server:
        typed(server, folder)
        assert server.output().count("reading labels from the database") == 2


@pytest.mark.usefixtures("on_redis")
def test_the_quickstart_does_so_with_redis_and_two_workers(folder: Path) -> None:
    """With tokens in Redis, two workers do what one did."""
    with AppServer("app:app", cwd=folder, ready_path="/none"):
        pass  # a reader's database is there when he comes to this point; two workers that make it would race
    with AppServer("app:app", cwd=folder, workers=2, ready_path="/none") as server:
        typed(server, folder)


def test_every_block_of_the_quickstart_is_used() -> None:
    """No Python block stands in the page that these tests don't run."""
    used = ["2. The data: `desk.py`", *FRAMEWORKS, "5. More than one worker"]
    assert [block.heading for block in PAGE if block.language == "python"] == used
