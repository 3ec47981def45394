"""The process that learns: `python -m labeler.trainer WORKSPACE`.

Reads the numbers of sessions, a line each; makes a round where one is due, and says so. A process of
its own, because Python lets one thread compute at a time: a server that learns answers late.
"""

import gc
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from labeler import coding, gold, heap, learning, loop, neighbourhood, samples
from labeler.child import begin, orders, say
from labeler.errors import LabelerError
from labeler.workspace import Workspace

log = logging.getLogger("labeler.trainer")


def main(folder: str) -> None:
    """Learn what is ordered until standard input closes."""
    begin()
    ws = Workspace.open(Path(folder))
    coming = orders(on_end=lambda: os._exit(0))  # a round is stored whole or not at all
    say({"ready": [session.id for session in loop.sessions(ws)[:1]]})
    warm = False
    sampler = threading.Thread()
    for line in coming:
        say({"learned": int(line)} | learn(ws, int(line)))
        heap.give_back()  # a round's arrays grow with the answers
        if not warm and has_round(ws, int(line)):
            warm = _warm_up()  # three seconds, in which the first round could not be made
        if warm and not sampler.is_alive() and wants_sample(ws):
            sampler = threading.Thread(target=keep_sample, args=(ws,), name="sample", daemon=True)
            sampler.start()


def learn(ws: Workspace, number: int) -> dict[str, Any]:  # Any: JSON
    """Make a round if one is due; return what went wrong, and whether a picture waits for its vector."""
    problem, waits = None, False
    try:
        session = loop.get_session(ws, number)
        loop.link_examples(ws, session)
        gold.link(ws, session)
        used = ws.registry.in_use()
        waits = bool(ws.store.examples(number) and (used is None or ws.store.unembedded_examples(used[0])))
        if learning.needs_round(ws, session, now=time.time()):
            learning.learn(ws, session, now=time.time())
    except LabelerError as e:
        problem = str(e)
    except Exception as e:  # a bug, or a disk in trouble, must not stop the deck: it has cards
        log.exception("learning failed for session %s", number)
        problem = f"Learning failed ({type(e).__name__}: {e}). The deck goes on; see the server's log."
    return {"problem": problem, "waits": waits}


def wants_sample(ws: Workspace) -> bool:
    """Return whether a sample, index or codes are to be made; False too while the database can't be read."""
    try:
        return samples.due(ws) is not None or neighbourhood.due(ws) is not None or coding.due(ws)
    except LabelerError:
        return False


def keep_sample(ws: Workspace) -> None:
    """Make the samples, the index and the codes that the pool is large enough for.

    In a thread, so that no round waits for them.
    """
    if sys.platform == "linux":
        os.nice(10)  # there it counts for this thread alone
    try:
        for work in (_sample, _index, _codes):  # rounds need the first two
            try:
                work(ws)
            except LabelerError as e:  # a full disk: rounds use what they have, and it is tried again
                log.warning("The sample, the index or the codes can't be kept: %s", e)
            heap.give_back()
    finally:
        ws.close()  # this thread's connection


def _sample(ws: Workspace) -> None:
    while (step := samples.due(ws)) is not None:
        samples.make(ws, step)
        heap.give_back()


def _index(ws: Workspace) -> None:
    if (items := neighbourhood.due(ws)) is not None:
        neighbourhood.make(ws, items)


def _codes(ws: Workspace) -> None:
    coding.keep(ws)


def has_round(ws: Workspace, number: int) -> bool:
    """Return whether a session has cards already; False too while the database can't be read."""
    try:
        return bool(ws.store.rounds(number, last=1))
    except LabelerError:
        return False


def _warm_up() -> bool:
    """Import what learning needs, once the first cards are out."""
    import modAL.models  # noqa: F401
    import sklearn.linear_model  # noqa: F401

    gc.collect()
    gc.freeze()
    return True


if __name__ == "__main__":
    main(sys.argv[1])
