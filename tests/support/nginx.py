"""A real nginx with a shared cache in front of an app."""

from pathlib import Path

from tests.support.servers import HOST, Server, answers, find_program

_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache keys_zone=shared:1m;
    server {{
        listen {host}:{port};
        {locations}
        location / {{
            proxy_pass {upstream};
            proxy_cache shared;
            {directives}
        }}
    }}
}}
"""


class NginxServer(Server):
    """An nginx that caches what `upstream` (a base URL) lets a shared cache keep; `directives` go into its location.

    `locations` are more of them, whole.
    """

    def __init__(self, upstream: str, directives: str = "", *, locations: str = "") -> None:
        super().__init__()
        self.base_url = f"http://{HOST}:{self.port}"
        self.folder.chmod(0o755)  # nginx's workers give up root
        self._configuration = self.folder / "nginx.conf"
        self._configuration.write_text(
            _CONFIGURATION.format(
                folder=self.folder,
                host=HOST,
                port=self.port,
                upstream=upstream,
                directives=directives,
                locations=locations,
            )
        )

    def command(self) -> list[str]:
        """Return the command line of nginx."""
        program = find_program("nginx", "nginx", [Path("/usr/sbin")])
        return [program, "-p", str(self.folder), "-c", str(self._configuration), "-e", "stderr"]

    def is_ready(self) -> bool:
        """Say whether nginx answers, whatever its upstream does."""
        return answers(self.port)
