"""Lines over cards or minutes, as pictures that fit any width: lines in SVG, words beside them in HTML.

The SVG is an image of its own, because Streamlit lets no other through: its colours are here, those of the
words and all sizes in deck/pages.css. Nothing that a person typed is in it.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labeler.domain import Round
from labeler.tongue import ENGLISH, Words
from labeler.wording import percent, rounded

MOST_POINTS = 120
STYLE = (
    "*{vector-effect:non-scaling-stroke;fill:none;stroke:#0b6bcb;stroke-linejoin:round}"
    ".grid{stroke:#dfe3e9;stroke-width:1}.band{fill:#0b6bcb;stroke:none;opacity:.16}.middle{stroke-width:2.5}"
    ".total{stroke-width:1.5;stroke-dasharray:5 4}.aim{stroke:#151a21;stroke-width:1.5;stroke-dasharray:2 4}"
    "@media(prefers-color-scheme:dark){*{stroke:#5aa9f8}.grid{stroke:#2b323c}.band{fill:#5aa9f8}"
    ".aim{stroke:#edf1f6}}"
)
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Frame:
    """What is drawn into: cards or minutes from 0 to `right`, values from `low` to `top`."""

    right: float
    top: float
    low: float = 0.0

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return a point in percent from the left and from above."""
        return 100 * x / self.right, 100 - 100 * (y - self.low) / (self.top - self.low)

    def path(self, points: Points) -> str:
        return " ".join(f"{left:.2f},{down:.2f}" for left, down in (self.at(x, y) for x, y in points))


def is_drawable(rounds: Sequence[Round]) -> bool:
    """Return whether rounds know a share at two numbers of cards shown at least."""
    return len({r.shown for r in rounds if r.estimate is not None}) > 1


def narrowing(rounds: Sequence[Round], target: float | None, words: Words = ENGLISH) -> str:
    """Return two pictures over the cards shown: the share found, and what was found of how many.

    rounds  oldest first, enough for `is_drawable`. target  a share to mark.
    """
    known = _thin([r for r in rounds if r.estimate is not None])
    return _share(known, target, words) + _found(_thin(rounds), known, words)


def _share(known: Sequence[Round], target: float | None, words: Words) -> str:
    frame = _Frame(known[-1].shown, 1.0)
    said = [(r.shown, r.estimate) for r in known if r.estimate is not None]
    last = said[-1][1]
    band = [(x, e.high) for x, e in said] + [(x, e.low) for x, e in reversed(said)]
    lines = f'<polygon class="band" points="{frame.path(band)}"/>'
    lines += f'<polyline class="middle" points="{frame.path([(x, e.share) for x, e in said])}"/>'
    said_on = _end(frame, frame.right, last.share, f"{rounded(last.share)} %")
    if target is not None:
        lines += f'<polyline class="aim" points="{frame.path([(0, target), (frame.right, target)])}"/>'
        aim = words("wording.chart.aim", share=percent(target))
        said_on += f'<span class="aim" style="top:{frame.at(0, target)[1]:.1f}%">{aim}</span>'
    first = said[0][1]
    now = {"found": rounded(last.share), "low": rounded(last.low), "high": rounded(last.high)}
    then = {"first_low": rounded(first.low), "first_high": rounded(first.high)}
    shown = {"shown": f"{known[-1].shown:,}", "first": f"{known[0].shown:,}"}
    text = words("wording.chart.share.said", **shown, **now, **then)
    ticks = [(y, f"{y:.0%}".replace("%", " %")) for y in (0.0, 0.25, 0.5, 0.75, 1.0)]
    under = words("wording.chart.cards")
    return _figure(words("wording.chart.share"), text, frame, (lines, said_on), ticks, under=under)


def _found(rounds: Sequence[Round], known: Sequence[Round], words: Words) -> str:
    said = [(r.shown, r.estimate) for r in known if r.estimate is not None]
    last, found = said[-1][1], rounds[-1].found
    most = 3 * last.total  # early on it may be thousands: the line begins after the last that is far too many
    top = 1.08 * max(found, min(last.total_high, most), *(e.total for _, e in said if e.total <= most), 1)
    begins = 1 + max((i for i, (_, e) in enumerate(said) if e.total > top), default=-1)
    frame = _Frame(max(rounds[-1].shown, 1), top)
    band = [(x, e.total_high) for x, e in said] + [(x, e.total_low) for x, e in reversed(said)]
    lines = f'<polygon class="band" points="{frame.path(band)}"/>'
    lines += f'<polyline class="total" points="{frame.path([(x, e.total) for x, e in said[begins:]])}"/>'
    lines += f'<polyline class="middle" points="{frame.path([(r.shown, r.found) for r in rounds])}"/>'
    said_on = _end(frame, frame.right, found, f"{found:,}")
    totals = {"total": f"{last.total:,.0f}", "most": f"{last.total_high:,.0f}"}
    text = words("wording.chart.found.said", n=f"{found:,}", **totals)
    ticks = [(float(y), f"{y:,.0f}") for y in _steps(top)]
    title, under = words("wording.chart.found"), words("wording.chart.cards")
    return _figure(title, text, frame, (lines, said_on), ticks, under=under)


def line(
    title: str, text: str, under: str, points: Points, before: Points = (), *, share: bool = False
) -> str:
    """Return a picture of one line, and of one that is dashed to compare it with.

    title, text, under  above it, for screen readers, and below it. points: at least two, x from 0 or more.
    share  values are shares, shown in per cent.
    """
    values = [y for _, y in (*points, *before)]
    low, high = min(values), max(values)
    low = min(0.0, low) if low < 0 or low < high / 2 else low - (high - low or 1) / 4
    high = max(high, low + 1e-6)
    frame = _Frame(max(x for x, _ in (*points, *before)) or 1.0, high + 0.08 * (high - low), low)
    lines = f'<polyline class="middle" points="{frame.path(points)}"/>'
    if before:
        lines = f'<polyline class="total" points="{frame.path(before)}"/>' + lines
    words = _end(frame, *points[-1], percent(points[-1][1]) if share else f"{points[-1][1]:.3g}")
    step = _step(frame.top - low)
    first = np.ceil(low / step - 1e-9) * step
    values = [float(y) + 0.0 for y in np.arange(first, frame.top, step)]  # + 0.0: no -0
    ticks = [(y, percent(y) if share else f"{y:.6g}") for y in values]
    return _figure(title, text, frame, (lines, words), ticks, under=under)


def _figure(
    title: str,
    text: str,
    frame: _Frame,
    drawn: tuple[str, str],
    ticks: Sequence[tuple[float, str]],
    *,
    under: str,
) -> str:
    """Return one picture. drawn: its lines, and the words on them; ticks: values and what they are called."""
    lines, words = drawn
    grid = "".join(
        f'<polyline class="grid" points="{frame.path([(0, y), (frame.right, y)])}"/>' for y, _ in ticks
    )
    names = "".join(f'<i class="y" style="top:{frame.at(0, y)[1]:.2f}%">{name}</i>' for y, name in ticks)
    names += "".join(
        f'<i class="x" style="left:{frame.at(x, 0)[0]:.2f}%">{_round(x)}</i>' for x in _steps(frame.right)
    )
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" preserveAspectRatio="none">'
        f"<style>{STYLE}</style>{grid}{lines}</svg>"
    )
    image = f'<img alt="" src="data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}">'
    return (
        f'<figure class="plot" role="img" aria-label="{title}. {text}"><figcaption>{title}</figcaption>'
        f'<div class="field">{image}{names}{words}</div><div class="under">{under}</div></figure>'
    )


def _end(frame: _Frame, x: float, y: float, text: str) -> str:
    """Return the point at which a line ends, with its value."""
    left, down = frame.at(x, y)
    return f'<b class="end" style="left:{left:.2f}%;top:{down:.2f}%"><u></u>{text}</b>'


def _steps(top: float) -> list[float]:
    """Return at most five round numbers from 0 up to `top`."""
    step = _step(top)
    return [float(x) for x in np.arange(0, top + step * 1e-9, step)]


def _step(width: float) -> float:
    """Return a round number that goes at most four and a half times into `width`."""
    found = (s * 10.0**e for e in range(-9, 18) for s in (1, 2, 5) if width / (s * 10.0**e) <= 4.5)
    return next(found, width)


def _round(x: float) -> str:
    return f"{x:,.0f}" if x == round(x) else f"{x:g}"


def _thin(rounds: Sequence[Round]) -> list[Round]:
    """Return one round per number of cards shown, at most 120 of them, the first and last among them."""
    last = list({r.shown: r for r in rounds}.values())
    if len(last) <= MOST_POINTS:
        return last
    return [last[int(i)] for i in np.linspace(0, len(last) - 1, MOST_POINTS).round()]
