"""Fine-tuning: network and head learn from labels, and images that took no part say whether it paid.

The labels are split in three (`split`): most are learned from, some say when to stop, the rest judge once,
before and after, with the linear head that labeler uses. Images that stopped the training don't judge it:
the best of many looks at them is too good.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from active.arrays import Ids, Rows
from active.embedding.training import optim
from active.embedding.training.backbones import Backbone
from active.embedding.training.neighbours import rows_of
from active.embedding.training.pictures import Pictures
from active.embedding.training.processes import cores, device_of
from active.embedding.training.split import Labels, Split, duplicates, split
from active.embedding.training.views import views

WARMTH = 10.0  # unit rows times this are what the head sees while the network learns
CLIP = 1.0


@dataclass(frozen=True, slots=True)
class Tuning:
    """Everything a fine-tuning may be told."""

    epochs: int = 20  # at most
    patience: int = 3  # epochs without a better score, then it stops
    minutes: float = 30.0  # at most
    batch: int = 32
    rate: float = 1e-4  # of the network; the head's is ten times that
    decay: float = 0.01
    has_up: bool = False  # of photographs views are turned by a few degrees alone
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Tuned:
    """How a fine-tuning went. Keep the old encoder unless `pays`.

    before, after  of the held-out images: average precision of class 1 of two, else balanced accuracy.
    part           which labels were learned from, said when to stop, and judge.
    """

    before: float
    after: float
    measure: Literal["average precision", "balanced accuracy"]
    epochs: int
    part: Split = field(compare=False)
    watched: list[float] = field(
        default_factory=list
    )  # the score that stops it, by epoch; the first is the start's

    @property
    def pays(self) -> bool:
        """Whether the held-out images are told apart better than before."""
        return self.after > self.before


def finetune(
    pictures: Pictures,
    labels: Labels,
    rows: Rows,
    backbone: Backbone,
    tuning: Tuning,
    *,
    report: Callable[[int, float], None] | None = None,
    stop: threading.Event | None = None,
) -> Tuned:
    """Fine-tune `backbone` in place to its best epoch, and return the scores before and after. Saves nothing.

    pictures  the labeled ones alone.
    labels    (n,) classes from 0, in their order. rows  (n, d) unit rows, which find near-duplicates.
    report    is given each epoch and its score.
    Raises ValueError with one sentence for too few labels.
    """
    _check(pictures, labels, rows)
    part = split(labels, duplicates(rows), rng=np.random.default_rng(tuning.seed))
    device = device_of(tuning.device)
    torch.set_num_threads(cores())
    backbone.to(device).eval().requires_grad_(True)
    work = _Work(pictures, labels, part, backbone, device)
    before_rows = work.rows()
    watched = [work.score(before_rows, part.stop)]
    best, kept = watched[0], _copy(backbone)
    head = work.head(before_rows)
    teacher = _Teacher(work, head, tuning)
    ends = time.monotonic() + 60 * tuning.minutes
    epoch = since = 0
    stop = stop or threading.Event()
    while epoch < tuning.epochs and since < tuning.patience:
        if not teacher.epoch(epoch, lambda: stop.is_set() or time.monotonic() > ends):
            break
        epoch += 1
        watched.append(work.score(work.rows(), part.stop))
        since += 1
        if watched[-1] > best:
            best, kept, since = watched[-1], _copy(backbone), 0
        if report is not None:
            report(epoch, watched[-1])
    backbone.load_state_dict(kept)
    before, after = work.score(before_rows, part.judge), work.score(work.rows(), part.judge)
    return Tuned(before, after, work.measure, epoch, part, watched)


class _Work:
    """The labels, their split, and how well they are told apart."""

    def __init__(
        self, pictures: Pictures, labels: Labels, part: Split, backbone: Backbone, device: torch.device
    ) -> None:
        self.pictures, self.labels, self.part = pictures, labels, part
        self.backbone, self.device = backbone, device
        two = set(np.unique(labels).tolist()) == {0, 1}
        self.measure: Literal["average precision", "balanced accuracy"] = (
            "average precision" if two else "balanced accuracy"
        )

    def rows(self) -> Rows:
        """Return the network's unit rows of all labeled pictures."""
        self.backbone.eval()
        every = np.arange(len(self.pictures), dtype=np.int64)
        return rows_of(self.backbone, self.pictures, every, side_px=self.backbone.side_px, device=self.device)

    def score(self, rows: Rows, judged: Ids) -> float:
        """Return how well a linear head, fitted to what is learned from, tells these apart."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import average_precision_score, balanced_accuracy_score

        learn = self.part.learn
        model = LogisticRegression(class_weight="balanced", max_iter=1000)
        model.fit(rows[learn] * WARMTH, self.labels[learn])
        if self.measure == "average precision":
            p = model.predict_proba(rows[judged] * WARMTH)[:, 1]
            return float(average_precision_score(self.labels[judged], p))
        return float(balanced_accuracy_score(self.labels[judged], model.predict(rows[judged] * WARMTH)))

    def head(self, rows: Rows) -> nn.Linear:
        """Return a linear head that already tells what is learned from apart: it won't shake the network."""
        from sklearn.linear_model import LogisticRegression

        learn, classes = self.part.learn, int(self.labels.max()) + 1
        model = LogisticRegression(class_weight="balanced", max_iter=1000)
        model.fit(rows[learn] * WARMTH, self.labels[learn])
        weight, bias = model.coef_, model.intercept_
        if len(weight) == 1:  # two classes: one line between them
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        out = nn.Linear(rows.shape[1], classes)
        with torch.no_grad():
            out.weight.zero_()
            out.bias.fill_(-1e4)  # of classes that have no labels
            at = torch.from_numpy(model.classes_)
            out.weight[at] = torch.from_numpy(weight).float()
            out.bias[at] = torch.from_numpy(bias).float()
        return out.to(self.device)

    def weights(self) -> Tensor:
        """Return one weight per class: a rare class counts as much as a common one."""
        return class_weights(self.labels[self.part.learn], int(self.labels.max()) + 1).to(self.device)


class _Teacher:
    """Epochs of learning from labels. Batch norms keep their statistics: a few labels would spoil them."""

    def __init__(self, work: _Work, head: nn.Linear, tuning: Tuning) -> None:
        self._work, self._head, self._tuning = work, head, tuning
        self._optimizer = optim.optimizer("adamw", head, work.backbone, decay=tuning.decay)
        for i, group in enumerate(self._optimizer.param_groups):
            group["lr"] = tuning.rate * (10 if i < 2 else 1)
        self._weights = work.weights()

    def epoch(self, number: int, is_over: Callable[[], bool]) -> bool:
        """Learn from each label once; return whether that was not cut short."""
        work, tuning = self._work, self._tuning
        order = np.random.default_rng([tuning.seed, number]).permutation(work.part.learn)
        rng = torch.Generator().manual_seed(tuning.seed * 1_000_003 + number)
        free = [*self._head.parameters(), *work.backbone.parameters()]
        for at in range(0, len(order), tuning.batch):
            if is_over():
                return False
            chosen = order[at : at + tuning.batch]
            pixels = torch.from_numpy(work.pictures.take(chosen)).to(work.device)
            x = views(pixels, rng, work.backbone.side_px, has_up=tuning.has_up)
            x = x.contiguous(memory_format=torch.channels_last)
            y = torch.from_numpy(work.labels[chosen]).to(work.device)
            said = self._head(F.normalize(work.backbone(x).float(), dim=1) * WARMTH)
            self._optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(said, y, self._weights).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(free, CLIP)
            self._optimizer.step()
        return True


def class_weights(labels: Labels, classes: int) -> Tensor:
    """Return n / (classes there are × labels of the class); 0 for a class without labels."""
    counts: NDArray[np.int64] = np.bincount(labels, minlength=classes)
    there = counts > 0
    out = np.where(there, len(labels) / (there.sum() * np.maximum(counts, 1)), 0)
    return torch.from_numpy(out.astype(np.float32))


def _copy(backbone: Backbone) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in backbone.state_dict().items()}


def _check(pictures: Pictures, labels: Labels, rows: Rows) -> None:
    """Raise ValueError for labels that nothing can be learned from."""
    if not len(pictures) == len(labels) == len(rows):
        raise ValueError(
            f"There are {len(pictures)} pictures, {len(labels)} labels, {len(rows)} rows. Give one of each."
        )
    if len(labels) and labels.min() < 0:
        raise ValueError(f"A label is {labels.min()}. Give classes from 0.")
    if len(np.unique(labels)) < 2:
        raise ValueError("All labels are of one class. Label images of another class too.")
