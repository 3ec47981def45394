"""Who takes part: what is known of them, and how it is told or forgotten."""

from collections import Counter
from typing import Any

from labeler import people
from labeler.domain import Person, Role
from labeler.workspace import Workspace

ELSEWHERE_S = 86_400.0  # how long the link for another device of somebody works


def everybody(ws: Workspace) -> list[dict[str, Any]]:  # Any: JSON
    """Return everybody who took part, in order of arrival: name, role, answers, when they gave the last."""
    answers: Counter[int] = Counter()
    last_at: dict[int, str] = {}
    for session in ws.store.sessions():
        for person, (n, at) in ws.journal.by_person(session.id).items():
            answers[person] += n
            last_at[person] = max(at, last_at.get(person, at))
    return [
        {
            "person": p.id, "name": p.name, "role": p.role,
            "answers": answers[p.id], "last_at": last_at.get(p.id),
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


def set_role(ws: Workspace, person: int, role: Role) -> Person:
    """Let somebody do more, or less, from now on. Raises as `Roster.set_role`."""
    with ws.store.transaction():
        before = ws.roster.person(person).role
        known = ws.roster.set_role(person, role)
        if before != role and "own" in (before, role):
            for session in ws.store.sessions():
                ws.store.recount(session.id, person)
    ws.dealing.forget()
    return known


def step_back(ws: Workspace, person: int) -> Person:
    """Let an owner be somebody who answers, as they asked; every link that opens it as an owner is void.

    The owner's own link too: they have it. The next start prints another one. Browsers that were opened by
    that link step back together. Raises as `Roster.set_role`.
    """
    by_link = ws.roster.by_owners_link()
    known = set_role(ws, person, "swipe")
    for other in by_link if person in by_link else ():
        set_role(ws, other, "swipe")
    ws.roster.withdraw_owners_links()
    people.renew_owner_token(ws)
    return known


def link_of(ws: Workspace, person: Person) -> str:
    """Return the code of a new link that lets one more device of somebody in, once, within a day."""
    return people.make_link(
        ws, person.role, lasts_s=ELSEWHERE_S, most=1, person=person.id, made_by=person.id
    )[0]


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
