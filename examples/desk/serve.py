"""Running one of the apps by hand, as `make demo` does."""

import os
import sys

import uvicorn

from examples.desk.settings import Settings, SettingsError, new_secret

HOST = "127.0.0.1"


def serve(app: str, *, framework: str) -> None:
    """Say where the app is and what it stands on, and serve it on the loopback address until interrupted."""
    if not os.environ.get("SECRET"):
        os.environ["SECRET"] = new_secret()  # for the workers, which are given this environment
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        sys.exit(str(error))
    workers = "1 worker" if settings.workers == 1 else f"{settings.workers} workers"
    print(  # noqa: T201
        f"The support desk on {framework}: http://{HOST}:{settings.port}/",
        f"  tokens:    {settings.consistency}",
        f"  database:  {settings.database.render_as_string()}",
        f"  processes: {workers}",
        sep="\n",
        flush=True,
    )
    uvicorn.run(app, host=HOST, port=settings.port, workers=settings.workers, log_level="warning")
