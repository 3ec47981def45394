"""Who takes part: what is known of them, and how it is told or forgotten."""

from typing import Any

from labeler.workspace import Workspace


def everybody(ws: Workspace) -> list[dict[str, Any]]:  # Any: JSON
    """Return everybody who took part, in order of arrival: name, role, answers, when they gave the last."""
    known = ws.journal.answers_by_person()
    return [
        {
            "person": p.id, "name": p.name, "role": p.role,
            "answers": known.get(p.id, (0, None))[0], "last_at": known.get(p.id, (0, None))[1],
        }
        for p in ws.roster.people()
    ]  # fmt: skip


def kept_of(ws: Workspace, person: int) -> dict[str, Any]:  # Any: JSON
    """Return all that is kept of one person. Raises Missing for nobody.

    Hashes of cookies and codes are left out: they open nothing and say nothing.
    """
    known = ws.roster.person(person)
    sessions = {s.id: s for s in ws.store.sessions()}
    return {
        "person": known.id,
        "name": known.name,
        "role": known.role,
        **ws.roster.kept_of(person),
        "questions": {number: s.question for number, s in sorted(sessions.items())},
        "events": [
            {
                "event": e.id, "session": number, "item": e.item, "path": ws.catalog.last_path(e.item),
                "label": e.answer, "at": e.at.isoformat(), "ms": e.ms, "card": e.card,
            }
            for number, s in sorted(sessions.items())
            for e in ws.journal.log(s, person=person)
        ],
    }  # fmt: skip


def send_away(ws: Workspace, person: int) -> str:
    """End somebody's access on all of their devices; return their name. Raises Missing for nobody."""
    known = ws.roster.person(person)
    ws.roster.send_away(person)
    return known.name


def erase(ws: Workspace, person: int, *, with_answers: bool = False) -> int:
    """Forget who somebody was; return how many answers were taken back.

    with_answers  their answers are taken back. Events are never deleted: what is left of a person are
                  answers under a number that nobody can tell apart from others.
    Raises Missing for nobody, NotReady for the owner.
    """
    with ws.store.transaction():
        ws.roster.erase(person)
        if not with_answers:
            return 0
        return sum(ws.journal.take_back_all(s.id, person) for s in ws.store.sessions())
