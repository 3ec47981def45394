"""Training: how an encoder learns from these images, what it takes for alike, and whether that pays."""

import shlex
from pathlib import Path

import streamlit as st

from labeler import loop, reader, report, trainings, ui, workspace
from labeler.trainings import Training

EVERY_S = 5

ws, words = workspace.current(), reader.words()


def figures(training: Training) -> None:
    """Draw how far a training is."""
    with st.container(horizontal=True, key="figures"):
        st.metric(words("training.method"), ui.plain(training.method or "–"))
        if training.images is not None:
            st.metric(words("training.images"), f"{training.images:,}")
        if training.lines:
            st.metric(words("training.minutes"), f"{training.lines[-1]['minutes']:,.0f}")
            times = words("training.seen.times", n=f"{training.lines[-1]['epoch']:,.1f}")
            st.metric(words("training.seen"), times)
    st.caption(ui.plain(report.state(training, words)))
    st.code(str(training.folder), language=None, wrap_lines=True)


def pays(training: Training) -> None:
    """Draw whether the new encoder is better: by plays, and by a person's own labels."""
    if training.curves:
        st.html(report.curves(training, words)[0])
        st.caption(report.curves(training, words)[1])
    judged = training.judged
    if judged is None or judged["pays"] is None:
        st.caption(words("training.pays.early"))
        return
    if len(judged["watched"]) > 1:
        st.html(report.watched(judged["watched"], words))
    measure = ui.plain(words.said(judged["measure"]))
    values = {name: f"{judged[name]:.3f}" for name in ("after", "before")}
    st.markdown(words("training.pays.said", n=f"{judged['labels']:,}", measure=measure, **values))
    if not judged["pays"]:
        st.markdown(words("training.pays.not"))
        return
    folder, images = shlex.quote(str(training.folder)), shlex.quote(str(ws.images))
    st.caption(words("training.pays.use"))
    st.code(f"labeler start --images {images} --encoder {folder}", language=None, wrap_lines=True)


def whole(name: str) -> None:
    """Draw all of one training, in a fragment: an error is shown there."""
    training = trainings.read(Path(name))
    with ui.errors():
        with ui.card("state"):
            figures(training)
        if len(training.lines) > 1:
            with ui.card("loss"):
                st.header(words("training.learns"))
                st.html(report.loss(training.lines, words))
        if training.near is not None:
            with ui.card("near"):
                st.header(words("training.alike"))
                st.caption(words("training.alike.why"))
                stamp = ws.store.fact("stamp") or "0"
                st.html(report.nearest(training.near, lambda item: loop.item_name(ws, item), stamp, words))
        with ui.card("pays"):
            st.header(words("training.pays"))
            pays(training)


st.title(words("nav.training"))
names = [str(folder) for folder in trainings.folders(ws)]
if not names:
    st.caption(words("training.none"))
    st.code(f"labeler train --images {shlex.quote(str(ws.images))}", language=None, wrap_lines=True)
else:
    one = st.selectbox(words("training.encoder"), names) if len(names) > 1 else names[0]
    st.fragment(whole, run_every=EVERY_S if trainings.read(Path(one)).running else None)(one)
