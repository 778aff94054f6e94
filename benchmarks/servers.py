"""Servers as they are measured: on a core to themselves, one worker, access logs off."""

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from tests.support.nginx import NginxServer
from tests.support.servers import HOST, AppServer, Server, find_program

from benchmarks import cores
from benchmarks.bench import ServerName
from benchmarks.environments import REPOSITORY

SOURCES = os.pathsep.join(map(str, [REPOSITORY, REPOSITORY / "src", REPOSITORY / "adapters/sqlalchemy/src"]))
"""The path that contestants import from."""


class MeasuredApp(AppServer):
    """A contestant's app, served by the uvicorn or granian of its environment."""

    def __init__(
        self,
        python: Path,
        app: str,
        *,
        server: ServerName,
        is_factory: bool,
        env: Mapping[str, str],
        has_lifespan: bool,
    ) -> None:
        super().__init__(app, server=server, env={**env, "PYTHONPATH": SOURCES}, cwd=REPOSITORY)
        self._python = python
        self._is_factory = is_factory
        self._has_lifespan = has_lifespan

    def command(self) -> list[str]:
        """Return the command line: the servers' defaults, but for logs."""
        own = {
            "uvicorn": [
                "--no-access-log",
                "--log-level",
                "warning",
                "--lifespan",
                "on" if self._has_lifespan else "off",
            ],
            "granian": ["--interface", "asgi" if self._has_lifespan else "asginl", "--no-access-log"],
        }[self._server]
        common = ["--host", HOST, "--port", str(self.port), "--workers", "1", *(["--factory"] * self._is_factory)]
        return [*cores.pinned(cores.MEASURED), str(self._python), "-m", self._server, *common, *own, self._app]

    def is_ready(self) -> bool:
        """Say whether it answers: uvicorn, quiet as it is here, does not say when its one worker has started."""
        return self.answers() if self._server == "uvicorn" else super().is_ready()


class MeasuredNginx(NginxServer):
    """An nginx in front of `upstream` that answers from its cache, 304s too."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream, "keepalive_requests 100000000;")

    def command(self) -> list[str]:
        """Return the command line."""
        return [*cores.pinned(cores.MEASURED), *super().command()]


_VCL = """vcl 4.1;
backend default {{ .host = "{host}"; .port = "{port}"; }}
"""


class MeasuredVarnish(Server):
    """A Varnish in front of a port of this machine that answers from its cache, 304s too."""

    def __init__(self, upstream: int) -> None:
        super().__init__()
        self.folder.chmod(0o755)  # its worker gives up root
        self._vcl = self.folder / "default.vcl"
        self._vcl.write_text(_VCL.format(host=HOST, port=upstream))

    def command(self) -> list[str]:
        """Return the command line: what it keeps is in memory."""
        program = find_program("varnishd", "varnish", [Path("/usr/sbin")])
        options = ["-F", "-n", str(self.folder / "work"), "-a", f"{HOST}:{self.port}", "-f", str(self._vcl)]
        return [*cores.pinned(cores.MEASURED), program, *options, "-s", "malloc,16m"]

    def is_ready(self) -> bool:
        """Say whether it takes connections."""
        with socket.create_connection((HOST, self.port), timeout=1):
            return True


def is_there(program: str) -> bool:
    """Say whether a program is installed, on PATH or where Debian keeps those for administrators."""
    return shutil.which(program) is not None or shutil.which(program, path="/usr/sbin") is not None
