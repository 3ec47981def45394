"""What the page of a training says: sentences, and pictures in which every name is escaped."""

import html
from collections.abc import Callable

from labeler import chart, reach, wording
from labeler.trainings import Near, Training


def state(training: Training) -> str:
    """Return how far a training is, in a sentence."""
    if training.ending is not None:
        return training.ending[1]
    if training.running:
        done = f" {training.lines[-1]['share']:.0%} done." if training.lines else ""
        return f"It is learning now.{done}"
    return "It was stopped. The same command goes on."


def loss(lines: list[dict[str, float]]) -> str:
    """Return two pictures: the loss, and how far the features are spread. lines: two or more of the log."""
    points = [(line["minutes"], line["loss"]) for line in lines]
    spread = [(line["minutes"], line["feature_std"]) for line in lines]
    text = f"From {points[0][1]:.3g} to {points[-1][1]:.3g} in {points[-1][0]:.0f} minutes."
    what = "Spread of the features: near 0, all images look alike"
    return chart.line("Loss", text, "minutes", points) + chart.line(what, "", "minutes", spread)


def nearest(found: Near, name: Callable[[int], str], stamp: str) -> str:
    """Return ten images with what was nearest to each before, and what is nearest now.

    name  of an item, as its file is called. stamp: of the workspace, in the addresses of tiles.
    """

    def tile(item: int, kind: str = "") -> str:
        src = html.escape(reach.at(f"/tiles/{item}?w=256&v={stamp}"))
        return f'<img class="{kind}" alt="{html.escape(name(item))}" src="{src}">'

    rows = []
    for item, start, now in zip(found.images, found.start, found.now, strict=True):
        before = "".join(tile(i) for i in start)
        after = "".join(tile(i, "" if i in start else "new") for i in now)
        rows.append(
            f'<div class="row">{tile(item, "it")}<div><p><span>before</span>{before}</p>'
            f"<p><span>now</span>{after}</p></div></div>"
        )
    return f'<div class="nearest">{"".join(rows)}</div>'


def curves(training: Training) -> tuple[str, str]:
    """Return the picture of what plays found before and after, and a sentence. There are curves."""
    assert training.curves is not None
    times = training.curves["times"]
    now, before = (list(zip(times, training.curves[k], strict=True)) for k in ("after", "before"))
    at = min(range(len(times)), key=lambda i: abs(times[i] - 1))
    text = (
        f"After as many cards as a class has images: {wording.percent(now[at][1])} found with the new"
        f" encoder, {wording.percent(before[at][1])} with the one it began with."
    )
    title = "Share found, mean of the classes (dashed: before)"
    drawn = chart.line(title, text, "cards, in units of a class's images", now, before, share=True)
    return drawn, text + (" So it does not pay here." if now[at][1] <= before[at][1] else "")


def watched(scores: list[float]) -> str:
    """Return the picture of the scores that stopped a training from labels, two or more."""
    points = [(float(i), score) for i, score in enumerate(scores)]
    return chart.line("Labels that say when to stop", "", "times that it saw the labels", points)
