"""How the server is opened, started and followed from the command line."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labeler import opening
from labeler.errors import LabelerError
from labeler.waiting import leave

if TYPE_CHECKING:
    import socket
    from types import ModuleType

    from labeler.reach import Reach
    from labeler.workspace import Workspace

STOPPED = "Stopped. Every answer is kept; start again to go on."
STOP_S = 1.3  # after Ctrl-C or SIGTERM the server gets this long to close everything in order


def open_default(workspace: Path | None) -> "Workspace":
    """Return what `labeler start` opens without options, a session begun: for `streamlit run app.py`."""
    ws = opening.open_for_work(None, workspace)
    ws.catalog.refuse_damage()
    opening.start_session(ws, question=None, labels=None, goal=None, like=())
    return ws


def open_alone(held: ExitStack, host: str, port: int) -> None:
    """Open, lock and name the workspace for `streamlit run app.py`; what a person can mend ends it."""
    from labeler import people, reach
    from labeler.child import take_one_thread
    from labeler.workspace import ENV

    take_one_thread()
    named = os.environ.get(ENV)
    try:
        ws = open_default(Path(named) if named else None)
        held.enter_context(ws.lock("server"))
        os.environ[ENV] = str(ws.folder)
        here = reach.Reach(host, port)
        reach.use(here)
        if here.shared:
            click.echo(people.owner_link(ws, here.url))
    except LabelerError as e:
        click.echo(f"Error: {e.error}\n{e.do}", err=True)
        sys.stderr.flush()
        os._exit(1)


def load_site(ws: "Workspace") -> "ModuleType":
    """Return app.py. Meanwhile the whole database is read; raises Blocked when it is damaged."""
    from concurrent.futures import ThreadPoolExecutor

    from labeler import places

    def check() -> None:
        try:
            ws.catalog.refuse_damage()
        finally:
            ws.close()

    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(check)
        site = places.load_site()
        checked.result()
    return site


def serve(
    ws: "Workspace", site: "ModuleType", *, sockets: "list[socket.socket]", browser: bool, share: bool = False
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    sockets  that listen already. share: others join by a link that is printed.
    """
    import threading

    from labeler import inviting, people, places, reach
    from labeler.workspace import ENV

    here = reach.current()
    host, port = here.host, here.port
    link = people.owner_link(ws, here.url) if here.shared else here.url
    ws.serves_at(here.url)
    if share:
        code, made = people.make_link(ws, "swipe", lasts_s=inviting.DAYS * inviting.DAY_S, made_with="start")
        click.echo("\nFor everybody who helps:")
        inviting.show(people.join_url(here.url, code), made)
        click.echo("\nFor you alone; whoever opens one of these may do everything here:")
        click.echo(f"  {link}\n  on this computer: {people.owner_link(ws, here.local_url)}")
    elif here.shared:
        click.echo(f"\n  {link}\n")
        _say_links(ws, here)
    else:
        click.echo(f"\n  {link}\n")
        click.echo(f"Only the deck: {here.url}/swipe")
    click.echo("Ctrl-C stops; every answer is kept.")
    os.environ[ENV] = str(ws.folder)
    if browser:
        at_home = people.owner_link(ws, here.local_url) if here.proxies else link
        places.open_browser(at_home, host, port)
    threading.Thread(target=_follow, name="progress", daemon=True).start()
    try:
        site.serve(host=host, port=port, on_stop=lambda: _leave_in(STOP_S, STOPPED), sockets=sockets)
    except KeyboardInterrupt:  # uvicorn raises the signal again once all is closed
        pass
    click.echo(f"\n{STOPPED}")


def _say_links(ws: "Workspace", here: "Reach") -> None:
    """Say the other links by which a shared server is opened."""
    from labeler import people

    if here.proxies:
        click.echo(f"Past the proxy, on this computer: {people.owner_link(ws, here.local_url)}")
    else:
        click.echo(f"On this computer: {people.owner_link(ws, here.local_url)}")
    if here.plain_url != here.url and not here.proxies:
        click.echo(f"By number, where browsers warn of the name: {people.owner_link(ws, here.plain_url)}")
    click.echo(f"On a phone: {people.owner_link(ws, here.url, '/swipe')}")
    if here.proxies and not here.public:
        click.echo("Others put the proxy's name in place of what stands before the path.")
    click.echo("Whoever opens one of these links may do everything here; share them with care.")


def _follow() -> None:
    """Draw how far the images are while the server runs, until they are all there."""
    import time

    from labeler import worker
    from labeler.bar import Bar

    bar = Bar(sys.stderr)
    while True:
        time.sleep(0.5)
        running = worker.current()
        if running is None:
            continue
        progress, problem = running.progress(), running.problem()
        bar.show(progress)
        if problem or progress.stage == "done":
            bar.close()
            if problem:
                click.echo(problem, err=True)
            return


def _leave_in(seconds: float, message: str) -> None:
    """End after `seconds` if the process is still there then."""
    import threading

    last = threading.Timer(seconds, leave, (message, 0))
    last.daemon = True
    last.start()
