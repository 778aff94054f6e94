"""How the hunter's requests reach the app, and its writes the data: through a worker, or past them all by SQL."""

import asyncio
import random
from dataclasses import dataclass
from typing import Final

import httpx
import psycopg

from tests.hunt.history import History, Unanswered, Write
from tests.hunt.topology import Worker
from tests.hunt.worker.desk import color_of, revision_of
from tests.hunt.worker.orders import HEADER, Order

PATIENCE: Final = 4.0
"""Seconds after which a client gives a request up."""

METHODS: Final = {"post": "POST", "patch": "PATCH", "bulk": "PUT"}
WAYS: Final = (*METHODS, "raw")
_FAILURE: Final = 500
_SQL_TIMEOUT: Final = "5s"


class RefusedError(Exception):
    """A worker answered that it could not."""


@dataclass(frozen=True)
class Answer:
    """A worker's answer."""

    worker: int
    response: httpx.Response

    @property
    def is_stored(self) -> bool:
        """Whether a client may keep it."""
        return "no-store" not in self.response.headers.get("cache-control", "")


class Door:
    """Sends each request to one of the workers, by chance, and sends nothing twice."""

    def __init__(self, workers: list[Worker], dsn: str, history: History, chance: random.Random) -> None:
        self.history: Final = history
        self._workers = workers
        self._dsn = dsn
        self._chance = chance
        self._http = httpx.AsyncClient(timeout=PATIENCE, limits=httpx.Limits(max_connections=None))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    def any_worker(self) -> int:
        """Return the number of a worker."""
        return self._chance.randrange(len(self._workers))

    async def get(
        self, client: str, tenant: int, what: str, *, worker: int | None = None, headers: dict[str, str] | None = None
    ) -> Answer | None:
        """Ask for something of a tenant; return None if there is no answer to be used."""
        asked, chosen = self.history.now(), self.any_worker() if worker is None else worker
        try:
            return await self._send(chosen, "GET", tenant, what, headers or {})
        except (httpx.HTTPError, RefusedError) as error:
            self.history.append(Unanswered(client, tenant, chosen, asked, repr(error)))
            return None

    async def write(
        self, tenant: int, way: str, *, scene: str, worker: int | None = None, order: Order | None = None
    ) -> Write:
        """Make a commit, and write down when it was known; the worker that is asked may have an order to die."""
        asked = self.history.now()
        try:
            if way == "raw":
                revision = await self._write_past_the_app(tenant)
            else:
                chosen = self.any_worker() if worker is None else worker
                answer = await self._send(chosen, METHODS[way], tenant, "labels", {HEADER: order} if order else {})
                revision = answer.response.json()["revision"]
            known, answered = self.history.now(), True
        except (httpx.HTTPError, RefusedError, psycopg.OperationalError):
            # In doubt: its author looks, until he knows.
            revision = await self._newest(tenant)
            known, answered = self.history.now(), False
        write = Write(tenant, way, scene, asked, known, revision, answered)
        self.history.append(write)
        return write

    async def _send(self, worker: int, method: str, tenant: int, what: str, headers: dict[str, str]) -> Answer:
        url = f"{self._workers[worker].base_url}/api/v1/accounts/{tenant}/{what}"
        response = await self._http.request(method, url, headers=headers)
        if response.status_code >= _FAILURE:
            raise RefusedError(f"{response.status_code} {response.text:.200}")
        if response.is_client_error:
            raise RuntimeError(f"{method} {url} was answered {response.status_code}: {response.text}")
        return Answer(worker, response)

    async def _write_past_the_app(self, tenant: int) -> int:
        async with await psycopg.AsyncConnection.connect(self._dsn) as connection:
            revision = await self._locked_revision(connection, tenant) + 1
            await connection.execute(
                "UPDATE labels SET color = %s WHERE id = (SELECT min(id) FROM labels WHERE account_id = %s)",
                (color_of(revision), tenant),
            )
            await note_by_hand(connection, tenant)
        return revision

    async def _newest(self, tenant: int) -> int:
        """Return the newest revision in the database, once no transaction that writes it is under way."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._dsn) as connection:
                    return await self._locked_revision(connection, tenant)
            except psycopg.OperationalError:
                await asyncio.sleep(0.05)

    @staticmethod
    async def _locked_revision(connection: psycopg.AsyncConnection, tenant: int) -> int:
        await connection.execute("SELECT set_config('lock_timeout', %s, true)", (_SQL_TIMEOUT,))
        await connection.execute("SELECT FROM accounts WHERE id = %s FOR UPDATE", (tenant,))
        found = await connection.execute("SELECT max(color) FROM labels WHERE account_id = %s", (tenant,))
        row = await found.fetchone()
        assert row is not None
        return revision_of([{"color": row[0]}])


async def note_by_hand(connection: psycopg.AsyncConnection, tenant: int) -> None:
    """Note in a transaction that it has touched labels: level 3's triggers do this by themselves."""
    await connection.execute(
        "INSERT INTO cache_revalidate_pending (namespace, model, tenant) VALUES ('cache_revalidate', 'label', %s)",
        (str(tenant),),
    )
