"""Where a workspace and its sessions stand, what is noted of it, and whether it is whole."""

import contextlib
from dataclasses import asdict
from typing import Any

import numpy as np

from labeler import certificate, judging
from labeler.database import HEAL
from labeler.domain import SKIP, UNSURE, Session
from labeler.errors import Missing
from labeler.lately import Kept
from labeler.standing import UNSURE_NUMBER
from labeler.workspace import Workspace

DRAWN = "drawn"  # the fact that marks a workspace of the demonstration set
COUNTS_S = 1.0  # how old the pool's counts may be where they are asked for all the time
COUNTED = 20.0  # and how many times as old as it takes to count: of ten million, half a second
OLDEST_S = 10.0
_counts: Kept[tuple[int, int, int]] = Kept(COUNTS_S, COUNTED, OLDEST_S)


def session_status(ws: Workspace, session: Session, person: int | None = None) -> dict[str, Any]:  # Any: JSON
    """Return the `session` object of `status`, and what the deck shows of progress.

    person  who looks: what they have answered on gold counts for them as any answer does, since by figures
            that stay as they were they would see which cards were gold. None: it counts nowhere.
    """
    store, journal = ws.store, ws.journal
    rounds = store.rounds(session.id)
    counts = journal.counts(session)
    last = rounds[-1] if rounds else None
    seen = last.last_event if last else 0
    fresh = journal.count_answered(session.id, after=seen)
    on_gold = [] if person is None else journal.gold_of(session.id, person)
    for seq, number in on_gold:
        name = session.labels[number] if number >= 0 else UNSURE if number == UNSURE_NUMBER else SKIP
        counts[name] += 1
        fresh += seq > seen and name != SKIP
    advice = judging.advice(ws, session, last)
    unfinished = journal.count_unfinished(session.id) if session.votes > 1 else 0
    return {
        "id": session.id,
        "question": session.question,
        "labels": list(session.labels),
        "goal": session.goal,
        "round": last.number if last else 0,
        "events": journal.count_events(session.id),
        "cards_shown": journal.count_shown(session.id) + len(on_gold),
        "counts": counts,
        "found": counts[session.target],
        "estimate": asdict(last.estimate) if last and last.estimate and session.goal == "find" else None,
        "target_share": session.target_share,
        "advice": asdict(advice) if advice else None,
        "certificate": certificate.to_json(certificate.look(ws, session)),
        "state": session.state,
        "notice": session.notice,
        "votes": session.votes,
        "unfinished": unfinished,
        "finished": max(0, sum(counts.values()) - counts[SKIP] - unfinished) if session.votes > 1 else 0,
        "batch_size": session.batch_size,
        "round_answered": min(fresh, session.batch_size),
        "per_minute": journal.count_since(session.id, 60),
        "rounds": [{"round": r.number, "shown": r.shown, "found": r.found} for r in rounds],
    }


def pool_status(ws: Workspace) -> dict[str, Any]:  # Any: JSON
    """Return how far the pool has come; cheap enough to ask every second."""
    catalog = ws.catalog
    used, coming = ws.registry.in_use(), ws.registry.coming()
    return {
        "workspace": str(ws.folder),
        "images": catalog.count_files(),
        "embedded": count_embedded_files(ws),
        "set_aside": [{"path": p, "reason": r} for p, r in catalog.set_aside()],
        "duplicates": catalog.count_duplicates(),
        "encoder": used[0] if used else None,
        "next_encoder": {"key": coming[0], "embedded": coming[2]} if coming else None,
        "drawn": is_drawn(ws),
    }


def status(ws: Workspace, session: Session | None = None) -> dict[str, Any]:  # Any: JSON
    """Return where a workspace stands, as `labeler status --json` prints it."""
    if session is None:
        with contextlib.suppress(Missing):
            session = ws.store.session(None)
    problems = check(ws)
    asked = None
    if session:
        more = {"quality": judging.quality_json(ws, session), "gold": ws.dealing.count_gold(session.id)}
        asked = session_status(ws, session) | more
    return pool_status(ws) | {
        "session": asked,
        "problem": noted_problem(ws),
        "integrity": problems or "ok",
    }


def note_problem(ws: Workspace, problem: str | None) -> None:
    """Leave word of what is wrong in the background, for `labeler status`; None: nothing is."""
    with contextlib.suppress(OSError):  # a full disk, say: the pages still show it
        if problem is None:
            ws.problem_file.unlink(missing_ok=True)
        else:
            ws.problem_file.write_text(problem, "utf-8")


def noted_problem(ws: Workspace) -> str | None:
    """Return what is wrong in the background of the server on this workspace, None if nothing is known."""
    try:
        return ws.problem_file.read_text("utf-8", errors="replace") or None
    except OSError:
        return None


def pool_counts(ws: Workspace) -> tuple[int, int, int]:
    """Return (image files, how many of them have a vector, distinct images), a second old or, if many, ten.

    Counting walks over all files, and every deck asks every few seconds.
    """
    catalog = ws.catalog
    return _counts.get(
        ws, "", lambda: (catalog.count_files(), count_embedded_files(ws), catalog.count_present())
    )


def count_embedded_files(ws: Workspace) -> int:
    """Return how many image files have a vector: byte-identical ones share theirs."""
    used = ws.registry.in_use()
    return ws.catalog.count_files_of(used[2]) if used else 0


def check(ws: Workspace) -> list[str]:
    """Return what is wrong with a workspace, one sentence each; empty when it is whole."""
    problems = [f"The database says: {line}." for line in ws.catalog.problems()]
    problems += [HEAL] if problems else []
    used = ws.registry.in_use()
    if used is None:
        return problems
    key, dim, n = used
    stored = ws.vectors(key, dim)
    if len(stored) < n:
        problems.append(
            f"{stored.path.name} holds {len(stored)} vectors where {n} are noted. Run: labeler index."
        )
    if n > ws.catalog.count_items():
        problems.append(f"{n} vectors are noted for {ws.catalog.count_items()} items.")
    sample = stored.rows(0, n)[:: max(1, n // 1000)]
    if len(sample) and not np.allclose(np.linalg.norm(sample, axis=1), 1, atol=1e-3):
        problems.append(f"{stored.path.name} holds vectors that are not of length 1.")
    return problems


def is_drawn(ws: Workspace) -> bool:
    """Return whether the images were drawn by the program (the demonstration set)."""
    own = str(ws.folder / "images")  # a workspace may have been given a person's images since
    return ws.config.images == own and ws.store.fact(DRAWN) == "1"


def mark_drawn(ws: Workspace) -> None:
    """State that the images were drawn by the program."""
    ws.store.set_fact(DRAWN, "1")
