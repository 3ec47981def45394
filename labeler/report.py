"""What the page of a training says: sentences, and pictures in which every name is escaped."""

import html
from collections.abc import Callable

from labeler import chart, reach, wording
from labeler.tongue import ENGLISH, Words
from labeler.trainings import Near, Training


def state(training: Training, words: Words = ENGLISH) -> str:
    """Return how far a training is, in a sentence."""
    if training.ending is not None:
        return words.said(training.ending[1])
    if training.running:
        if not training.lines:
            return words("training.state.running")
        done = words("training.state.done", share=f"{training.lines[-1]['share']:.0%}")
        return words("training.state.running") + done
    return words("training.state.stopped")


def loss(lines: list[dict[str, float]], words: Words = ENGLISH) -> str:
    """Return two pictures: the loss, and how far the features are spread. lines: two or more of the log."""
    points = [(line["minutes"], line["loss"]) for line in lines]
    spread = [(line["minutes"], line["feature_std"]) for line in lines]
    values = {"first": f"{points[0][1]:.3g}", "last": f"{points[-1][1]:.3g}"}
    text = words("training.loss.said", **values, minutes=f"{points[-1][0]:.0f}")
    under = words("training.minutes.under")
    drawn = chart.line(words("training.loss"), text, under, points)
    return drawn + chart.line(words("training.spread"), "", under, spread)


def nearest(found: Near, name: Callable[[int], str], stamp: str, words: Words = ENGLISH) -> str:
    """Return ten images with what was nearest to each before, and what is nearest now.

    name  of an item, as its file is called. stamp: of the workspace, in the addresses of tiles.
    """

    def tile(item: int, kind: str = "") -> str:
        src = html.escape(reach.at(f"/tiles/{item}?w=256&v={stamp}"))
        return f'<img class="{kind}" alt="{html.escape(name(item))}" src="{src}">'

    rows, was = [], words("training.before")
    for item, start, now in zip(found.images, found.start, found.now, strict=True):
        before = "".join(tile(i) for i in start)
        after = "".join(tile(i, "" if i in start else "new") for i in now)
        rows.append(
            f'<div class="row">{tile(item, "it")}<div><p><span>{was}</span>{before}</p>'
            f"<p><span>{words('training.after')}</span>{after}</p></div></div>"
        )
    return f'<div class="nearest">{"".join(rows)}</div>'


def curves(training: Training, words: Words = ENGLISH) -> tuple[str, str]:
    """Return the picture of what plays found before and after, and a sentence. There are curves."""
    assert training.curves is not None
    times = training.curves["times"]
    now, before = (list(zip(times, training.curves[k], strict=True)) for k in ("after", "before"))
    at = min(range(len(times)), key=lambda i: abs(times[i] - 1))
    shares = {"now": wording.percent(now[at][1]), "before": wording.percent(before[at][1])}
    text, under = words("training.curves.said", **shares), words("training.curves.under")
    drawn = chart.line(words("training.curves"), text, under, now, before, share=True)
    return drawn, text + (words("training.curves.not") if now[at][1] <= before[at][1] else "")


def watched(scores: list[float], words: Words = ENGLISH) -> str:
    """Return the picture of the scores that stopped a training from labels, two or more."""
    points = [(float(i), score) for i, score in enumerate(scores)]
    return chart.line(words("training.watched"), "", words("training.watched.under"), points)
