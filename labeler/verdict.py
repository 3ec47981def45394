"""Whether one encoder tells labels apart better than another, by images that neither head learned from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from active.arrays import Ids, Rows

FOLDS, ROUNDS = 5, 200
SURE = 0.9
Measure = Literal["average precision", "balanced accuracy"]
Parts = Sequence[tuple["Ids", "Ids"]]
"""Positions to learn from and positions to judge on, part by part; none is judged twice."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which of two encoders tells a person's own labels apart better.

    labels         how many judged; 0: too few, nobody can say.
    before, after  of images that took no part, by the encoder in use and by the new one.
    chance         in how many of 200 other draws of the same images the new one is better.
    watched        of a training from labels: the score that stopped it, by epoch, the start's first.
    """

    labels: int
    before: float | None = None
    after: float | None = None
    measure: Measure = "average precision"
    chance: float | None = None
    watched: tuple[float, ...] = ()

    @property
    def pays(self) -> bool | None:
        """Return whether the new one is surely better; None: nobody can say."""
        return None if self.chance is None else self.chance >= SURE

    def json(self) -> dict[str, Any]:  # Any: JSON
        """Return it as commands print it and `judged.json` holds it."""
        return asdict(self) | {"watched": list(self.watched), "pays": self.pays}


def compare(
    before: "Rows", after: "Rows", classes: "Ids", groups: "Ids", parts: Parts,
    watched: tuple[float, ...] = (),
) -> Verdict:  # fmt: skip
    """Return the verdict on two sets of unit rows, (n, any width), of the same images.

    classes  (n,) from 0; of two, class 1 is the target. groups  (n,) images that are nearly the same share
    one: other draws take all of a group or none of it.
    """
    judged = np.concatenate([j for _, j in parts])
    said = [_said(rows, classes, parts) for rows in (before, after)]
    of, several = classes[judged], bool(classes.max() > 1)
    rng = np.random.default_rng(0)
    names, at = np.unique(groups[judged], return_inverse=True)
    members = np.split(np.argsort(at, kind="stable"), np.cumsum(np.bincount(at))[:-1])
    better = []
    for _ in range(ROUNDS):
        drawn = np.concatenate([members[i] for i in rng.integers(0, len(names), len(names))])
        if len(np.unique(of[drawn])) > 1:
            one, two = (_value(of[drawn], s[drawn], several=several) for s in said)
            better.append(float(two > one) + 0.5 * float(two == one))
    one, two = (_value(of, s, several=several) for s in said)
    measure: Measure = "balanced accuracy" if several else "average precision"
    return Verdict(len(judged), one, two, measure, float(np.mean(better)) if better else None, watched)


def folds(classes: "Ids", groups: "Ids") -> "Parts | None":
    """Return five parts, no group in both sides of one; None where a class has fewer than five groups."""
    from sklearn.model_selection import StratifiedGroupKFold

    if min(len(np.unique(groups[classes == c])) for c in np.unique(classes)) < FOLDS:
        return None
    cut = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    found = cut.split(classes, classes, groups)
    parts = [(learn.astype(np.int64), judged.astype(np.int64)) for learn, judged in found]
    n = len(np.unique(classes))
    return parts if all(len(np.unique(classes[learn])) == n for learn, _ in parts) else None


def _said(rows: "Rows", classes: "Ids", parts: Parts) -> NDArray[np.float64]:
    """Return what a head says of each judged image: how much of class 1, of more than two the class."""
    from sklearn.linear_model import LogisticRegression

    out = []
    for learn, judged in parts:
        head = LogisticRegression(C=10, class_weight="balanced", max_iter=1000)
        head.fit(rows[learn], classes[learn])
        out.append(head.predict(rows[judged]) if classes.max() > 1 else head.decision_function(rows[judged]))
    return np.concatenate(out).astype(np.float64)


def _value(classes: "Ids", said: NDArray[np.float64], *, several: bool) -> float:
    from sklearn.metrics import average_precision_score, recall_score

    if several:
        return float(recall_score(classes, said, average="macro", zero_division=0))
    return float(average_precision_score(classes, said))
