"""What all contestants share: one path, one answer of fifty rows, and who may see it."""

import json
import os
from typing import Final

PATTERN: Final = "/api/v1/accounts/{account_id:int}/labels"
PATH: Final = "/api/v1/accounts/1/labels"
ROWS: Final[list[dict[str, int | str]]] = [
    {"id": number, "title": f"label {number}", "color": "#1f93ff"} for number in range(1, 51)
]
BODY: Final = json.dumps(ROWS, separators=(",", ":")).encode()

AUTHORIZATION: Final = "Bearer ann"
AGENTS: Final = {(AUTHORIZATION, "1"): "ann"}
"""The agent that a header and an account name."""

JWT_KEY: Final = "a key for the benchmark alone, of 32 bytes or more"


def redis_url() -> str:
    """Return the URL of the Redis that the benchmark has started."""
    return os.environ["BENCH_REDIS_URL"]


def database_url() -> str:
    """Return SQLAlchemy's URL of the database that the benchmark has created for this contestant."""
    return os.environ["BENCH_DATABASE_URL"]
