"""Whether an encoder pays where the truth is known: the same plays by the vectors of two encoders.

The classes are the folders that the images lie in, as for `labeler simulate`, and the workspace is the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labeler import simulate, trial
from labeler.domain import Progress
from labeler.errors import BadInput
from labeler.outcome import found_after
from labeler.simulate import Plan, Played

if TYPE_CHECKING:
    from labeler.workspace import Workspace

TIMES = tuple(round(0.1 * i, 1) for i in range(1, 21))


@dataclass(frozen=True, slots=True)
class Curves:
    """Share found over cards, in units of the images of a class: means over classes of their plays.

    before, after  by the encoder that a training began with, and by the new one; values at `times`.
    """

    times: tuple[float, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    plays: int

    def at(self, times: float) -> tuple[float, float]:
        """Return the shares found after so many times K cards, before and after."""
        i = self.times.index(times)
        return self.before[i], self.after[i]

    @property
    def pays(self) -> bool:
        """Whether more was found after as many cards as a class has images."""
        before, after = self.at(1.0)
        return after > before

    def json(self) -> dict[str, Any]:  # Any: JSON
        """Return it as commands print it and `curves.json` holds it."""
        return asdict(self)


def check(source: Path, encoder: str) -> None:
    """Raise BadInput where a folder holds no two folders of images."""
    begun = trial.open_trial(source, None, encoder)
    begun.ws.close()
    if len(set(begun.classes.values()) - {""}) < 2:
        raise BadInput(
            f"{source} holds no two folders of images.",
            "Give a folder with a folder for each class, or leave --truth out.",
        )


def curves(
    source: Path,
    encoders: tuple[str, str],
    *,
    prepare: "Callable[[Workspace], None]",
    report: Callable[[Progress], None],
    views: int = 1,
    device: str | None = None,
    targets: Sequence[str] = (),
    plan: Plan | None = None,
) -> Curves:
    """Return the curves of two encoders on a folder of folders; each embeds what it has not seen.

    prepare  takes the images of a workspace in, and says how far it is. report: as plays end.
    plan     how every class is played; None: once. targets: classes; none: all that can be played.
    Raises BadInput for a folder that holds no classes, with what to do.
    """
    plan = plan or Plan(labeled=(), baseline=False)
    found = []
    plays = 0
    for name in encoders:
        begun = trial.open_trial(source, None, name, views=views, device=device)
        try:
            if not trial.is_ready(begun):
                prepare(begun.ws)
                trial.note_ready(begun)
            truth = trial.read_classes(begun)
            chosen, _ = trial.choose_targets(truth, targets)
            wanted = simulate.tasks(begun.ws, truth, plan, chosen)
            played = simulate.play_all(begun.ws, wanted, report=report)
        finally:
            begun.ws.close()
        found.append(curve(played, pool=len(truth.names)))
        plays = len(wanted)
    return Curves(TIMES, found[0], found[1], plays)


def curve(plays: Sequence[Played], *, pool: int) -> tuple[float, ...]:
    """Return the share found at TIMES, mean over classes of the means of their plays."""
    each: dict[str, list[list[float]]] = {}
    for p in plays:
        total = len(p.task.members)
        shares = [found_after(p.hits, total, t, pool=pool) for t in TIMES]
        each.setdefault(p.task.target, []).append([np.nan if s is None else s for s in shares])
    return tuple(np.mean([np.mean(rows, axis=0) for rows in each.values()], axis=0).tolist())
