"""The ASGI app: Streamlit's pages, /api, /tiles and the light page /swipe on one port.

`labeler start` calls `serve`; `streamlit run app.py` finds `app` and serves the same.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from labeler import api, reach, serving, workspace
from labeler.server import running
from labeler.server.desk import Desk
from labeler.server.pages import Pages

if TYPE_CHECKING:
    import streamlit

HERE = Path(__file__).resolve().parent
place: dict[str, str | int] = {}  # Streamlit's options for host and port; empty when it has started this


def load_pages() -> "streamlit.App":
    """Return the pages. Cards come before Streamlit is imported."""
    with running.quiet_logs():
        import streamlit
        from streamlit.web import bootstrap

        streamlit.config._main_script_path = str(HERE / "app.py")  # .streamlit/config.toml is beside it
        if place:
            bootstrap.load_config_options(place)
        return streamlit.App(HERE / "pages" / "home.py")


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Hold the workspace open while the server runs."""
    with ExitStack() as held:
        if not place:
            from labeler import ui

            host, port = ui.address()
            serving.open_alone(held, host, port)
        async with desk.serving(workspace.current(), shared=reach.current().shared), pages.serving():
            yield


desk, pages = Desk(), Pages(load_pages)
app = Starlette(routes=api.routes(desk, pages), middleware=api.guarded(desk), lifespan=lifespan)


def serve(
    *, host: str, port: int, on_stop: Callable[[], None] = lambda: None, sockets: running.Sockets = None
) -> None:
    """Serve until Ctrl-C, which calls on_stop first. sockets: that listen there already, if any. The caller
    has locked the workspace, and said with `reach.use` how it is reached, if not only on this machine."""
    place.update({"server.address": host, "server.port": port})
    running.run(app, host=host, port=port, on_stop=on_stop, sockets=sockets)
