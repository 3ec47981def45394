"""Training: how an encoder learns from these images, what it takes for alike, and whether that pays."""

import html
import shlex
from typing import Any

import streamlit as st

from labeler import chart, loop, trainings, ui, wording, workspace
from labeler.trainings import Near, Training

EVERY_S = 5

ws = workspace.current()


def state(training: Training) -> None:
    """Draw how far a training is."""
    last = training.lines[-1] if training.lines else None
    about = training.about or {}
    with st.container(horizontal=True, key="figures"):
        st.metric("Method", ui.plain(about.get("method", "–")))
        if about.get("images"):
            st.metric("Images", f"{about['images']:,}")
        if last is not None:
            st.metric("Minutes", f"{last['minutes']:,.0f}")
            st.metric("Each image seen", f"{last['epoch']:,.1f} times")
    if training.running:
        done = f" {last['share']:.0%} done." if last is not None else ""
        st.caption(f"It is learning now.{done}")
    elif training.about is None:
        st.caption("It was stopped before there was an encoder. The same command goes on.")
    elif last is not None and last["share"] < 1:
        st.caption("It was stopped. The same command goes on.")
    else:
        st.caption("It is done.")
    st.code(str(training.folder), language=None, wrap_lines=True)


def loss(lines: list[dict[str, Any]]) -> None:  # Any: JSON
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
        text = (
            f"After twice as many cards as a class has images: {wording.percent(now[-1][1])} found"
            f" with the new encoder, {wording.percent(before[-1][1])} before."
        )
        title = "Share found, mean of the classes (dashed: before)"
        st.html(chart.line(title, text, "cards, in units of a class's images", now, before, share=True))
        st.caption(text + (" So it does not pay here." if now[-1][1] < before[-1][1] else ""))
    judged = training.judged
    if judged is None or judged.get("after") is None:
        st.caption("By your labels nobody can say yet: that takes 20 answers of either side.")
        return
    measure = ui.plain(judged["measure"])
    st.markdown(
        f"Of {judged['labels']:,} of your labels, held out, {measure} is **{judged['after']:.3f}**,"
        f" before it was **{judged['before']:.3f}**."
    )
    if not judged["pays"]:
        st.markdown("It does not pay: keep the encoder in use.")
        return
    folder, images = shlex.quote(str(training.folder)), shlex.quote(str(ws.images))
    st.caption("To use it, stop the server and start it again with:")
    st.code(f"labeler start --images {images} --encoder {folder}", language=None, wrap_lines=True)


def whole(name: str) -> None:
    """Draw all of one training."""
    training = next((t for t in trainings.every(ws) if str(t.folder) == name), None)
    if training is None:
        st.caption("Its folder is gone.")
        return
    with ui.card("state"):
        state(training)
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


st.title("Training")
every = trainings.every(ws)
if not every:
    st.caption("No encoder has learned from these images yet. In a terminal:")
    st.code(f"labeler train --images {shlex.quote(str(ws.images))}", language=None, wrap_lines=True)
else:
    names = [str(t.folder) for t in every]
    one = names[0]
    if len(names) > 1:
        one = st.selectbox("Encoder", names, format_func=lambda name: name.rsplit("/", 1)[-1])
    running = next(t.running for t in every if str(t.folder) == one)
    st.fragment(whole, run_every=EVERY_S if running else None)(one)
