"""What a round looks at: every item, or, where they are too many, the sample and what is near to answers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Probs, Rows, Scores, are_in
from labeler.neighbourhood import Neighbourhood

if TYPE_CHECKING:
    from active.learner import Head


@dataclass(frozen=True, slots=True)
class Labeled:
    """What a round learns from: answers to items of the pool, and examples from outside.

    x, y     (m, d) rows and (m,) label numbers, those of `items` first.
    outside  vectors of the examples from outside, words too, as the encoder gave them.
    words    (k, d) rows of words that describe the target: what to look near to, never what to learn from,
             as an encoder's rows of words lie apart from its rows of pictures.
    sure     (m,) how sure each label is, where several people decide; None: as sure as somebody's word.
    """

    x: Rows
    y: NDArray[np.int64]
    items: Ids
    outside: Rows
    words: Rows
    sure: Scores | None = None

    @property
    def like(self) -> Rows | None:
        """Return the rows of the target's examples, and of words for it; None without one."""
        return np.concatenate([self.x[self.y == 0], self.words]) if 0 in self.y or len(self.words) else None


@dataclass(frozen=True, slots=True)
class Eye:
    """What a round looks with.

    rows    (n, d) of the whole pool. head: None before there is one.
    is_one  whether the target's decision is all that is asked of a head that knows two labels.
    """

    rows: Rows
    labeled: Labeled
    head: "Head | None"
    n_labels: int
    is_one: bool

    @property
    def has_target(self) -> bool:
        """Return whether the target has examples."""
        return 0 in self.labeled.y

    @property
    def is_line(self) -> bool:
        """Return whether items are looked at for nothing but the target's decision."""
        return self.is_one and self.has_target and self.head is not None and len(self.head.labels) == 2

    def score(self, which: "Ids | slice") -> Rows:
        """Return a column for each thing that is sought in some items: the target, and doubt. (m, c)."""
        return self.score_rows(self.rows[which])

    def score_rows(self, part: Rows) -> Rows:
        """Return what `score` says of items, by their rows (m, d)."""
        from active.learner import decision, doubt
        from active.search import combine

        if self.head is None:
            like = self.labeled.like
            return np.empty((len(part), 0), np.float32) if like is None else part @ combine(like).T
        if self.is_line:
            return decision(self.head, part, 0)[:, None]
        probs = all_labels(self.head, part, self.n_labels)
        return np.stack([*([probs[:, 0]] if self.has_target else []), doubt(probs)]).T


@dataclass(frozen=True, slots=True)
class Seen:
    """What a round looked at, and what its head thinks of that.

    among          the items, ascending; None: all.
    target, doubt  of each of `among`, for the selection; None: not known.
    decision       the target's decision, where nothing else was asked of the head.
    """

    among: Ids | None = None
    target: Scores | None = None
    doubt: Scores | None = None
    decision: Scores | None = None


def everywhere(eye: Eye) -> Seen:
    """Look at every item: one pass over the rows, none where there is no head."""
    return Seen() if eye.head is None else _seen(eye, None, eye.score(slice(None)))


def nearby(eye: Eye, hood: Neighbourhood, sample: Ids, closed: Ids, *, spare: int, basis: int = 0) -> Seen:
    """Look at the sample, at what is near to answers, and from there towards what is sought.

    sample   ascending. basis: that of the rows.
    closed   items that may not be asked any more, ascending.
    spare    so many of these are looked at in any case, those with the lowest ids, so that no round runs dry.
    Items that came after the index are all looked at. No other row is read but by the index.
    """
    from active.nearby import nearby

    n, labeled = len(eye.rows), eye.labeled
    start = [
        sample, np.arange(hood.step, n, dtype=np.int64), _first_open(n, closed, spare),
        labeled.items, hood.of(labeled.items),
    ]  # fmt: skip
    if len(labeled.outside):
        start.append(hood.around(labeled.outside))
    of_sample = hood.sample_rows(eye.rows, basis, sample)

    def score(ids: Ids) -> Rows:
        inside = are_in(ids, sample)
        if not inside.any():  # only the first look holds the sample, and all of it
            return eye.score(ids)
        known, others = eye.score_rows(of_sample), eye.score(ids[~inside])
        out = np.empty((len(ids), known.shape[1]), known.dtype)
        out[inside], out[~inside] = known, others
        return out

    ids, scores = nearby(np.concatenate(start), near=hood.of, score=score, closed=closed)
    return _seen(eye, ids, scores)


def _first_open(n: int, closed: Ids, k: int) -> Ids:
    """Return the k lowest of n ids that are not closed, without listing all of them."""
    first = np.arange(min(n, k + len(closed)), dtype=np.int64)
    return first[~are_in(first, closed)][:k]


def _seen(eye: Eye, among: Ids | None, scores: Rows) -> Seen:
    """Return what is known of the items that were looked at, from the columns of `Eye.score`."""
    if eye.head is None:
        return Seen(among)
    if eye.is_line:
        lines = scores[:, 0]
        return Seen(among, target=eye.head.calibrated(lines, 0), decision=lines)
    return Seen(among, target=scores[:, 0] if eye.has_target else None, doubt=scores[:, -1])


def all_labels(head: "Head", rows: Rows, n_labels: int) -> Probs:
    """Return probabilities of every label of the session, (n, n_labels).

    A label that nobody has given yet gets 0. What provisional negatives took goes to the
    labels that are not the target, in equal parts.
    """
    return spread_labels(head, head.predict(rows), n_labels)


def spread_labels(head: "Head", probs: Probs, n_labels: int) -> Probs:
    """Return a head's probabilities (n, c) as those of every label of the session; as `all_labels`."""
    out = np.zeros((len(probs), n_labels), np.float32)
    for column, label in zip(probs.T, head.labels.tolist(), strict=True):
        if label < 0:
            out[:, 1:] += column[:, None] / (n_labels - 1)
        else:
            out[:, label] += column
    return out
