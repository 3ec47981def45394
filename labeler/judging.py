"""What a round knows of itself: how much is found, what going on would cost, how right its head is."""

from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from active.arrays import Probs
from labeler import crowds
from labeler.arrays import load_arrays
from labeler.domain import Advice, Estimate, Precision, Quality, Round, Session
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.recall import Estimate as Whole

Json = dict[str, Any]  # Any: JSON
Lack = Literal["finds", "cards", "others", "looked", "round"]


def short(now: "Whole") -> Estimate:
    """Return what of an estimate is shown; the rest of it is in `arrays`."""
    return Estimate(
        share=now.share, low=now.low, high=now.high, total=now.total, total_low=now.total_low,
        total_high=now.total_high, next_finds=now.next_finds,
    )  # fmt: skip


def arrays(now: "Whole", left: int) -> dict[str, NDArray[np.generic]]:
    """Return what is stored with the round so that any target can be judged later.

    left  items that were still to be asked.
    """
    shares, at = np.unique(now.shares, return_inverse=True)
    return {
        "estimate_shares": shares,
        "estimate_weights": np.bincount(at, now.weights),
        "estimate_left": np.array(left),
        "estimate_pace": np.array(now.pace),
    }


def advice(ws: Workspace, session: Session, made: Round | None) -> Advice | None:
    """Return whether the session's target is reached, by what its newest round knows.

    None without a target, and while nothing can be said.
    """
    from active.recall import advise, cost

    target = session.target_share
    if target is None or session.goal != "find" or made is None or made.estimate is None:
        return None
    known = _whole(ws.round_file(session.id, made.number), made.estimate)
    if known is None:
        return None  # of an earlier version, or its file is gone: the next round knows again
    now, left = known
    said = advise(now, target, cards=made.shown)
    more = cost(now, target, left=left, cards=made.shown)
    is_agreed = said.reached and _before(ws, session, made)
    is_alone = said.reached and not is_agreed  # the next round has to say so too
    return Advice(
        target, is_agreed, said.chance, said.next_finds,
        cards_to_next=more.next_find, cards_to_target=more.to_target,
        cards_to_sure=float(session.batch_size) if is_alone else more.to_sure,
    )  # fmt: skip


def lacking(ws: Workspace, session: Session) -> tuple[Lack, int]:
    """Return what a session that has no estimate lacks for one, and how many finds count for it by now.

    finds   there are too few. cards: there are enough, but too few of them came as cards: what was given as
            an example, or found by searching, does not tell what the cards have not reached.
    others  every answer is the target. looked: no encoder has looked at the images yet.
    round   nothing: the next round of learning will say it.
    """
    from active.recall import ENOUGH

    answers = crowds.answers(ws, session)
    asked, why = ws.journal.reasons(session.id)
    finds = answers.items[answers.labels == 0]
    n = int((np.isin(asked, finds) & (why != "asked")).sum())
    if n < ENOUGH:
        return ("finds" if len(finds) < ENOUGH else "cards"), n
    if not (answers.labels > 0).any():
        return "others", n
    last = ws.store.rounds(session.id, last=1)
    return ("round" if last and last[-1].embedded else "looked"), n


def _before(ws: Workspace, session: Session, made: Round) -> bool:
    """Return whether the round before says by itself that the session's target is reached.

    Rounds that know the same answers count once; a certificate's own round, which learns nothing, does not.
    """
    from active.recall import AGREE, advise

    target = session.target_share
    rounds = ws.store.rounds(session.id, last=AGREE + 8)
    learned = [r for r in rounds if r.embedded and r.number <= made.number]
    before = [r for r in learned if r.last_event != learned[-1].last_event][-(AGREE - 1) :]
    if target is None or len(before) < AGREE - 1:
        return False
    for one in before:
        known = None if one.estimate is None else _whole(ws.round_file(session.id, one.number), one.estimate)
        if known is None or not advise(known[0], target, cards=one.shown).reached:
            return False
    return True


@lru_cache(32)  # every deck asks every few seconds; a round's file never changes
def _whole(path: Path, said: Estimate) -> "tuple[Whole, int] | None":
    """Return a stored estimate whole, and how many items were still to be asked."""
    from active.recall import Estimate as Whole

    stored = load_arrays(path)
    if stored is None or "estimate_shares" not in stored:
        return None
    shown = asdict(said) | {"found": said.share * said.total}
    shown["pace"] = float(stored.get("estimate_pace", said.next_finds))  # of an earlier version: the same
    now = Whole(**shown, shares=stored["estimate_shares"], weights=stored["estimate_weights"])
    return now, int(stored["estimate_left"])


def quality(probs: Probs, labels: NDArray[np.int64], is_audit: NDArray[np.bool_]) -> Quality:
    """Return how right a head is, for each label of the session, by the cards drawn evenly alone.

    probs     (n, c) what the head would say of each card had it not learned from it.
    labels    (n,) what people said. is_audit  (n,) whether the card was drawn evenly.
    """
    from active.quality import precision_at

    judged = [
        precision_at(probs[is_audit, label], labels[is_audit] == label) for label in range(probs.shape[1])
    ]
    each = tuple(tuple(Precision(**asdict(p)) for p in one) for one in judged)
    return Quality(int(is_audit.sum()), each)


def quality_json(ws: Workspace, session: Session) -> Json | None:
    """Return how right the newest round's head is, {label: precision at thresholds}; None: not known."""
    known = ws.store.quality(session.id)
    if known is None:
        return None
    names = session.labels[: len(known.labels)]  # one may have been added since
    each = {name: [asdict(p) for p in one] for name, one in zip(names, known.labels, strict=True)}
    return {"audit": known.audit, "labels": each}


def told(ws: Workspace, session: Session) -> Json:
    """Return all that was said of a session's dataset by its newest round, for whoever gets its export."""
    made = next(iter(ws.store.rounds(session.id, last=1)), None)
    said = advice(ws, session, made)
    estimate = made.estimate if made and session.goal == "find" else None
    return {
        "goal": session.goal,
        "round": made.number if made else 0,
        "round_at": made.created_at.isoformat() if made else None,
        "cards_shown": made.shown if made else 0,
        "found": made.found if made else 0,
        "estimate": asdict(estimate) if estimate else None,
        "target_share": session.target_share,
        "targets": [{"share": share, "at": at.isoformat()} for share, at in ws.store.targets(session.id)],
        "advice": asdict(said) if said else None,
        "quality": quality_json(ws, session),
    }
