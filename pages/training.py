"""Training: how an encoder learns from these images, what it takes for alike, and whether that pays."""

import shlex
from pathlib import Path

import streamlit as st

from labeler import loop, report, trainings, ui, workspace
from labeler.trainings import Training

EVERY_S = 5

ws = workspace.current()


def figures(training: Training) -> None:
    """Draw how far a training is."""
    with st.container(horizontal=True, key="figures"):
        st.metric("Method", ui.plain(training.method or "–"))
        if training.images is not None:
            st.metric("Images", f"{training.images:,}")
        if training.lines:
            st.metric("Minutes", f"{training.lines[-1]['minutes']:,.0f}")
            st.metric("Each image seen", f"{training.lines[-1]['epoch']:,.1f} times")
    st.caption(ui.plain(report.state(training)))
    st.code(str(training.folder), language=None, wrap_lines=True)


def pays(training: Training) -> None:
    """Draw whether the new encoder is better: by plays, and by a person's own labels."""
    if training.curves:
        st.html(report.curves(training)[0])
        st.caption(report.curves(training)[1])
    judged = training.judged
    if judged is None or judged["pays"] is None:
        st.caption("By your labels nobody can say yet: that takes 20 answers of either side.")
        return
    if len(judged["watched"]) > 1:
        st.html(report.watched(judged["watched"]))
    st.markdown(
        f"Of {judged['labels']:,} of your labels, held out, {ui.plain(judged['measure'])} is"
        f" **{judged['after']:.3f}**, with the encoder in use **{judged['before']:.3f}**."
    )
    if not judged["pays"]:
        st.markdown("That is not surely better: keep the encoder in use.")
        return
    folder, images = shlex.quote(str(training.folder)), shlex.quote(str(ws.images))
    st.caption("To use it, stop the server and start it again with:")
    st.code(f"labeler start --images {images} --encoder {folder}", language=None, wrap_lines=True)


def whole(name: str) -> None:
    """Draw all of one training, in a fragment: an error is shown there."""
    training = trainings.read(Path(name))
    with ui.errors():
        with ui.card("state"):
            figures(training)
        if len(training.lines) > 1:
            with ui.card("loss"):
                st.header("How it learns")
                st.html(report.loss(training.lines))
        if training.near is not None:
            with ui.card("near"):
                st.header("What it takes for alike")
                st.caption("Beside each image those it takes for most alike. Framed: new among them.")
                stamp = ws.store.fact("stamp") or "0"
                st.html(report.nearest(training.near, lambda item: loop.item_name(ws, item), stamp))
        with ui.card("pays"):
            st.header("Whether it pays")
            pays(training)


st.title("Training")
names = [str(folder) for folder in trainings.folders(ws)]
if not names:
    st.caption("No encoder has learned from these images yet. In a terminal:")
    st.code(f"labeler train --images {shlex.quote(str(ws.images))}", language=None, wrap_lines=True)
else:
    one = st.selectbox("Encoder", names) if len(names) > 1 else names[0]
    st.fragment(whole, run_every=EVERY_S if trainings.read(Path(one)).running else None)(one)
