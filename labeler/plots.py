"""The pictures of a simulation, drawn without a screen."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labeler.outcome import by_chance
from labeler.simulate import Played

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS, NEIGHBOURS, CHANCE, PERFECT = "#0b6bcb", "#c2410c", "#6b7280", "#9ca3af"
GRID, TEXT = "#e5e7eb", "#1f2937"
POINTS = 301


def found_png(plays: Sequence[Played], *, strategy: str, pool: int) -> bytes:
    """Return the picture of what was found against what was shown, both in units of K, the class's images.

    The mean over classes, between the worst and best tenth of them; the best that anybody could do, what
    neighbours alone find, and what chance would.
    """
    ours = [p for p in plays if p.task.kind == "play"]
    beside = [p for p in plays if p.task.kind == "baseline"]
    most = min(len(p.hits) / len(p.task.members) for p in ours)
    x = np.linspace(0, most, POINTS)
    figure, axes = _blank()
    axes.plot(x, np.minimum(x, 1), color=PERFECT, lw=1.2, ls=(0, (4, 3)))
    curves = _by_class(ours, x)
    if len(curves) > 1:
        low, high = np.quantile(curves, [0.1, 0.9], axis=0)
        axes.fill_between(x, low, high, color=OURS, alpha=0.15, lw=0)
    name = "labeler" if strategy == "recipe" else strategy
    ends = [(curves.mean(0), OURS, name)]
    if beside:
        ends.append((_by_class(beside, x).mean(0), NEIGHBOURS, "neighbours alone"))
    ends.append((np.mean([_chance(p, x, pool) for p in ours], axis=0), CHANCE, "chance (expected)"))
    for y, colour, _ in ends:
        axes.plot(x, y, color=colour, lw=2.4 if colour == OURS else 1.6)
    _name_ends(axes, most, [(float(y[-1]), colour, text) for y, colour, text in ends])
    at = min(1.0, most)
    axes.annotate(
        "nothing but finds", (at, at), (2, 3), textcoords="offset points", ha="left" if at == 1 else "right",
        va="bottom", color=CHANCE, fontsize=9,
    )  # fmt: skip
    axes.set_xlim(0, most)
    axes.set_ylim(0, 1.06)
    axes.set_xlabel("cards shown, in units of K (the number of images of the class)")
    axes.set_ylabel("found")
    many = len({p.task.target for p in ours})
    spread = "mean, and the middle 80 % of them" if many > 1 else "mean of its runs"
    what = f"{many} classes" if many > 1 else ours[0].task.target
    axes.set_title(f"Found against shown: {what} among {pool:,} images ({spread})", loc="left", fontsize=11)
    return _png(figure)


def estimate_png(plays: Sequence[Played]) -> bytes | None:
    """Return the picture of estimates against what was really found, round by round; None without any."""
    points = []
    for p in plays:
        for seen in p.rounds if p.task.kind == "play" else ():
            if seen.estimate is not None:
                share = seen.found / len(p.task.members)
                points.append((share, *(seen.estimate[name] for name in ("share", "low", "high"))))
    if not points:
        return None
    true, said, low, high = np.array(points).T
    inside = (low <= true) & (true <= high)
    figure, axes = _blank()
    axes.plot([0, 1], [0, 1], color=PERFECT, lw=1.2, ls=(0, (4, 3)))
    for ok, colour, text in (
        (inside, OURS, "the interval holds the truth"),
        (~inside, NEIGHBOURS, "it misses it"),
    ):
        if ok.any():
            axes.vlines(true[ok], low[ok], high[ok], color=colour, alpha=0.18, lw=1.5)
            axes.plot(
                true[ok],
                said[ok],
                "o",
                ms=3,
                color=colour,
                label=f"{text}: {100 * ok.mean():.0f} % of rounds",
            )
    figure.legend(frameon=False, loc="outside lower left", ncols=2, labelcolor=TEXT)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(axes.yaxis.get_major_formatter())
    axes.set_xlabel("really found")
    axes.set_ylabel("said to be found, with its 95 % interval")
    axes.set_title("What the program says against what is true, one point per round", loc="left", fontsize=11)
    return _png(figure)


def _by_class(plays: Sequence[Played], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (classes, points): what was found after x × K cards, the mean of each class's plays."""
    by_class: dict[str, list[NDArray[np.float64]]] = {}
    for p in plays:
        total = len(p.task.members)
        found = np.concatenate([[0], np.cumsum(p.hits)]) / total
        y = np.interp(x * total, np.arange(len(found)), found)
        by_class.setdefault(p.task.target, []).append(y)
    return np.array([np.mean(curves, axis=0) for curves in by_class.values()])


def _chance(p: Played, x: NDArray[np.float64], pool: int) -> NDArray[np.float64]:
    total, given = len(p.task.members), p.rounds[0].found
    y = [by_chance(total, cards, pool=pool, given=given) for cards in x * total]
    return np.array(y)


def _blank() -> "tuple[Figure, Axes]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)
    axes.tick_params(colors=TEXT, length=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    return figure, axes


def _name_ends(axes: "Axes", x: float, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write the names of lines beside their ends, apart from each other."""
    last = 2.0  # below this one the next name may stand
    for y, colour, text in sorted(ends, reverse=True):
        last = min(y, last - 0.05)
        name = f"{text}: {100 * y:.0f} %"
        axes.annotate(
            name, (x, last), (6, 0), textcoords="offset points", color=colour, va="center", fontsize=10,
            annotation_clip=False,
        )  # fmt: skip


def _png(figure: "Figure") -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()
