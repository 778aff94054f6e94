"""A real Caddy in front of an app."""

import os

from tests.support.servers import HOST, Server, answers, find_program


class CaddyServer(Server):
    """A Caddy with a site of its own at `base_url`, over plain HTTP; `site` is what stands between its braces."""

    def __init__(self, site: str) -> None:
        super().__init__()
        self.base_url = f"http://{HOST}:{self.port}"
        self._configuration = self.folder / "Caddyfile"
        self._configuration.write_text(f"{{\n    admin off\n}}\n{self.base_url} {{\n{site}\n}}\n")

    def command(self) -> list[str]:
        """Return the command line of Caddy."""
        return [find_program("caddy", "caddy"), "run", "--config", str(self._configuration), "--adapter", "caddyfile"]

    def environment(self) -> dict[str, str]:
        """Return this process's environment, with Caddy's files in a folder of their own."""
        return {**os.environ, "XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}

    def is_ready(self) -> bool:
        """Say whether Caddy answers, whatever its upstream does."""
        return answers(self.port)
