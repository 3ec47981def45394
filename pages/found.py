"""Found: how much of the target has been found, how that has narrowed, and when to stop."""

import streamlit as st

from labeler import chart, judging, loop, reader, ui, wording

(ws, session), words = ui.current(), reader.words()
facts = loop.session_status(ws, session)
name = ui.plain(words.answer(session.target))


def now() -> None:
    """Draw the estimate in words."""
    estimate = facts["estimate"]
    st.header(words("found.so.far"))
    with st.container(horizontal=True, key="figures"):
        st.metric(words("found.found"), f"{facts['found']:,}")
        share = f"≈ {wording.rounded(estimate['share'])} %" if estimate else words("found.not.yet")
        st.metric(words("found.share"), share)
        st.metric(words("found.card"), f"{facts['cards_shown']:,}")
    if session.goal != "find":
        st.caption(words("found.goal"))
    elif estimate is None:
        st.caption(wording.lacking(*judging.lacking(ws, session), name, words))
    else:
        st.markdown(wording.share(estimate, name, words))


def target() -> None:
    """Draw the target with what is known of it, and the form that changes it."""
    st.header(words("found.stop"))
    share = session.target_share
    if share is not None:
        said = ui.plain(wording.target(share, facts["advice"], words))
        st.markdown(words("found.target", said=said))
    st.caption(words("found.stop.why"))
    with st.form("target", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        label, percent = words("found.target.percent"), 100 * (share or 0.95)
        wanted = st.number_input(label, 50.0, 99.9, percent, 1.0, "%g", width=160)
        is_set = st.form_submit_button(words("found.set"), type="primary")
        is_off = share is not None and st.form_submit_button(words("found.target.none"))
    if is_set or is_off:
        with ui.errors():
            loop.set_target(ws, session, None if is_off else round(wanted / 100, 6))
            st.rerun()


def predictions() -> None:
    """Draw how right the program's predictions are, by random cards alone."""
    st.header(words("found.right"))
    quality = judging.quality_json(ws, session)
    st.caption(wording.judged_by(quality, words))
    lines = wording.precision(quality, session.target, words)
    if lines and not wording.is_judged(quality, session.target):
        st.caption(words("found.right.none", label=name))
    elif lines:
        rows = "".join(f"| {words('found.right.row', threshold=t)} | {text} |\n" for t, text in lines)
        head = f"| {words('found.right.head', label=name)} | {words('found.right.head.cards')} |"
        st.markdown(f"{head}\n|---|---|\n{rows}")


st.title(words("nav.found"))
with ui.card("now"):
    now()
with ui.card("narrowing"):
    st.header(words("found.narrowed"))
    rounds = ws.store.rounds(session.id, last=5000)
    if chart.is_drawable(rounds):
        st.html(chart.narrowing(rounds, session.target_share, words))
    else:
        st.caption(words("found.narrowed.early"))
with ui.card("target"):
    target()
with ui.card("guarantee"):
    ui.guarantee(ws, session)
with ui.card("predictions"):
    predictions()
with ui.card("about"):
    st.header(words("found.about"))
    st.markdown(wording.what_it_is(words))
