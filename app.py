"""The ASGI app: Streamlit's pages, /api, /tiles and the light page /swipe on one port.

`labeler start` calls `serve`; `streamlit run app.py` finds `app` and serves the same.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import streamlit
from starlette.middleware import Middleware
from streamlit import config

from labeler import api, cli, people, workspace
from labeler.server import running
from labeler.server.desk import Desk
from labeler.server.guard import Guard

HERE = Path(__file__).resolve().parent
config._main_script_path = str(HERE / "app.py")  # Streamlit reads .streamlit/config.toml beside this

desk = Desk()


@asynccontextmanager
async def lifespan(_: streamlit.App) -> AsyncIterator[None]:
    """Hold the workspace open while the server runs."""
    address = config.get_option("server.address") or "0.0.0.0"
    with ExitStack() as held:
        if not desk.is_locked:
            cli.open_alone(held, address, config.get_option("server.port"))
        async with desk.serving(workspace.current(), shared=not people.is_local(address)):
            yield


app = streamlit.App(
    HERE / "pages" / "home.py",
    routes=api.routes(desk),
    middleware=[Middleware(Guard, desk=desk)],
    lifespan=lifespan,
)


def serve(*, host: str, port: int, on_stop: Callable[[], None] = lambda: None) -> None:
    """Serve until Ctrl-C. The caller holds the workspace's lock and has set LABELER_WORKSPACE.

    on_stop  called at the first signal to stop, before anything is closed.
    """
    from streamlit.web import bootstrap

    desk.is_locked = True
    bootstrap.load_config_options({"server.address": host, "server.port": port})
    running.run(app, host=host, port=port, on_stop=on_stop)
