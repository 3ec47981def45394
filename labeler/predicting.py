"""What the newest head thinks of every image."""

import weakref
from dataclasses import dataclass

from active.arrays import Ids, Probs
from labeler import crowds, space
from labeler.arrays import load_arrays
from labeler.domain import Round, Session
from labeler.drawing import Material, labeled_rows
from labeler.looking import all_labels
from labeler.workspace import Workspace

AUDITS_FOR_TRUST = 30


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the newest head thinks of every item that has a vector.

    probs  (n, c) calibrated, in the order of the session's labels; row = item id.
    rough  True until cards drawn at random can check the calibration.
    """

    probs: Probs
    rough: bool
    round: int


def predict(ws: Workspace, session: Session, items: Ids | None = None) -> Predictions | None:
    """Return the newest head's probabilities, None before the first head.

    Neighbours have been heard about the likeliest items of each label: what a linear head says of one item
    alone ranks worse. items  only these, a row each; None: every embedded item.
    """
    sp = space.current(ws)
    for made in reversed(ws.store.rounds(session.id, last=20)):
        if sp is None or made.encoder != sp.key:
            continue
        which = (session.id, made.number, len(session.labels), sp.key, sp.basis, len(sp.rows))
        held = _newest.get(ws)
        if held is None or held[0] != which:
            found = _predict(ws, session, made, sp)
            if found is None:
                continue
            _newest[ws] = held = which, found
        probs, rough = held[1].probs, held[1].rough or _is_rough(ws, session)
        return Predictions(probs if items is None else probs[items], rough, made.number)
    return None


_newest: "weakref.WeakKeyDictionary[Workspace, tuple[tuple[int | str, ...], Predictions]]" = (
    weakref.WeakKeyDictionary()
)


def _predict(ws: Workspace, session: Session, made: Round, sp: space.Space) -> Predictions | None:
    """Return what a round's head thinks of the rows of `sp`, None where the round has none."""
    from active.kriging import Told, settle
    from active.learner import Head

    stored = load_arrays(ws.round_file(session.id, made.number)) or {}
    arrays = {k[5:]: v for k, v in stored.items() if k.startswith("head_")}
    if not arrays:
        return None
    rows, turn = sp.rows, sp.turn
    if made.basis != sp.basis:
        rows, turn = space.rows_of(ws, sp.key, made.basis, len(sp.rows))
    told = None
    if "expected" in stored:
        material = Material.load(ws.round_file(session.id, made.number))
        answers = crowds.answers(ws, session, made.last_event)
        labeled = labeled_rows(ws, session, made, material, answers, rows, turn)
        if len(labeled.x) == len(stored["expected"]):  # an example may have been withdrawn since
            told = Told(labeled.x, labeled.y == 0, stored["expected"])
    head = Head.from_arrays(arrays)
    probs = all_labels(head, rows, len(session.labels))
    return Predictions(settle(rows, probs, told), head.rough, made.number)


def _is_rough(ws: Workspace, session: Session) -> bool:
    """Return True until at least 30 cards drawn uniformly at random have been answered."""
    return ws.journal.count_reason(session.id, "audit") < AUDITS_FOR_TRUST
