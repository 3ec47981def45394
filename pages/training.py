"""Training: how an encoder learns from these images, what it takes for alike, and whether that pays."""

import html
import shlex
from pathlib import Path

import streamlit as st

from labeler import chart, loop, trainings, ui, wording, workspace
from labeler.trainings import Near, Training

EVERY_S = 5

ws = workspace.current()


def state(training: Training) -> None:
    """Draw how far a training is."""
    last = training.lines[-1] if training.lines else None
    with st.container(horizontal=True, key="figures"):
        st.metric("Method", ui.plain(training.method or "–"))
        if training.images is not None:
            st.metric("Images", f"{training.images:,}")
        if last is not None:
            st.metric("Minutes", f"{last['minutes']:,.0f}")
            st.metric("Each image seen", f"{last['epoch']:,.1f} times")
    if training.ending is not None:
        st.caption(ui.plain(training.ending[1]))
    elif training.running:
        st.caption("It is learning now." + (f" {last['share']:.0%} done." if last else ""))
    else:
        st.caption("It was stopped. The same command goes on.")
    st.code(str(training.folder), language=None, wrap_lines=True)


def loss(lines: list[dict[str, float]]) -> None:
    """Draw the loss, and how far the features are spread."""
    if len(lines) < 2:
        st.caption("The picture begins after two lines of the log.")
        return
    points = [(line["minutes"], line["loss"]) for line in lines]
    spread = [(line["minutes"], line["feature_std"]) for line in lines]
    text = f"From {points[0][1]:.3g} to {points[-1][1]:.3g} in {points[-1][0]:.0f} minutes."
    st.html(
        chart.line("Loss", text, "minutes", points)
        + chart.line("Spread of the features: near 0, all images look alike", "", "minutes", spread)
    )


def near(found: Near) -> None:
    """Draw ten images with what was nearest to each before, and what is nearest now."""
    stamp = ws.store.fact("stamp") or "0"

    def tile(item: int, kind: str = "") -> str:
        name = html.escape(loop.item_name(ws, item))
        return f'<img class="{kind}" alt="{name}" src="/tiles/{item}?w=256&v={stamp}">'

    rows = []
    for item, start, now in zip(found.images, found.start, found.now, strict=True):
        new = set(now) - set(start)
        before = "".join(tile(i) for i in start)
        after = "".join(tile(i, "new" if i in new else "") for i in now)
        rows.append(
            f'<div class="row">{tile(item, "it")}<div><p><span>before</span>{before}</p>'
            f"<p><span>now</span>{after}</p></div></div>"
        )
    st.caption("On the left the image, beside it those it takes for most alike. Framed: new among them.")
    st.html(f'<div class="nearest">{"".join(rows)}</div>')


def pays(training: Training) -> None:
    """Draw whether the new encoder is better: by plays, and by a person's own labels."""
    if curves := training.curves:
        now, before = (list(zip(curves["times"], curves[k], strict=True)) for k in ("after", "before"))
        at = min(range(len(now)), key=lambda i: abs(now[i][0] - 1))
        text = (
            f"After as many cards as a class has images: {wording.percent(now[at][1])} found with the new"
            f" encoder, {wording.percent(before[at][1])} with the one it began with."
        )
        title = "Share found, mean of the classes (dashed: before)"
        st.html(chart.line(title, text, "cards, in units of a class's images", now, before, share=True))
        st.caption(text + (" So it does not pay here." if now[at][1] <= before[at][1] else ""))
    judged = training.judged
    if judged is None or judged["pays"] is None:
        st.caption("By your labels nobody can say yet: that takes 20 answers of either side.")
        return
    if judged["watched"]:
        scores = [(float(i), score) for i, score in enumerate(judged["watched"])]
        if len(scores) > 1:
            st.html(chart.line("Labels that say when to stop", "", "times that it saw the labels", scores))
    measure = ui.plain(judged["measure"])
    st.markdown(
        f"Of {judged['labels']:,} of your labels, held out, {measure} is **{judged['after']:.3f}**,"
        f" with the encoder in use **{judged['before']:.3f}**."
    )
    if not judged["pays"]:
        st.markdown("That is not surely better: keep the encoder in use.")
        return
    folder, images = shlex.quote(str(training.folder)), shlex.quote(str(ws.images))
    st.caption("To use it, stop the server and start it again with:")
    st.code(f"labeler start --images {images} --encoder {folder}", language=None, wrap_lines=True)


def whole(name: str) -> None:
    """Draw all of one training."""
    training = trainings.read(Path(name))
    with ui.card("state"):
        state(training)
    if training.lines:
        with ui.card("loss"):
            st.header("How it learns")
            loss(training.lines)
    if training.near is not None:
        with ui.card("near"):
            st.header("What it takes for alike")
            near(training.near)
    with ui.card("pays"):
        st.header("Whether it pays")
        pays(training)


def safely(name: str) -> None:
    """Draw all of one training, in a fragment: an error is shown there."""
    with ui.errors():
        whole(name)


st.title("Training")
names = [str(folder) for folder in trainings.folders(ws)]
if not names:
    st.caption("No encoder has learned from these images yet. In a terminal:")
    st.code(f"labeler train --images {shlex.quote(str(ws.images))}", language=None, wrap_lines=True)
else:
    one = names[0]
    if len(names) > 1:
        one = st.selectbox("Encoder", names, format_func=lambda name: name.rsplit("/", 1)[-1])
    running = trainings.read(Path(one)).running
    st.fragment(safely, run_every=EVERY_S if running else None)(one)
