"""Found: how much of the target has been found, how that has narrowed, and when to stop."""

import streamlit as st

from labeler import chart, judging, loop, ui, wording

ws, session = ui.current()
facts = loop.session_status(ws, session)
name = ui.plain(session.target)


def now() -> None:
    """Draw the estimate in words."""
    estimate = facts["estimate"]
    st.header("So far")
    with st.container(horizontal=True, key="figures"):
        st.metric("Found", f"{facts['found']:,}")
        st.metric("Share", f"≈ {wording.rounded(estimate['share'])} %" if estimate else "not yet")
        st.metric("Cards shown", f"{facts['cards_shown']:,}")
    if session.goal != "find":
        st.caption("This is only estimated while the goal is to find (Start page).")
    elif estimate is None:
        st.caption("Not enough is known yet to say what share that is: it takes about ten finds.")
    else:
        st.markdown(wording.share(estimate, name))


def target() -> None:
    """Draw the target with what is known of it, and the form that changes it."""
    st.header("When to stop")
    share = session.target_share
    if share is not None:
        st.markdown(f"Target: **{ui.plain(wording.target(share, facts['advice']))}**.")
    st.caption("The deck says once when the target is probably reached. Nobody has to stop then.")
    with st.form("target", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.number_input("Target in percent", 50.0, 99.9, 100 * (share or 0.95), 1.0, "%g", width=160)
        is_set = st.form_submit_button("Set", type="primary")
        is_off = share is not None and st.form_submit_button("No target")
    if is_set or is_off:
        with ui.errors():
            loop.set_target(ws, session, None if is_off else round(wanted / 100, 6))
            st.rerun()


def predictions() -> None:
    """Draw how right the program's predictions are, by random cards alone."""
    st.header("How right the predictions are")
    quality = judging.quality_json(ws, session)
    st.caption(wording.judged_by(quality))
    lines = wording.precision(quality, session.target)
    if lines and not any("right" in text for _, text in lines):
        st.caption(f"None of them was called “{name}” with 0.5 or more, so nothing can be said yet.")
    elif lines:
        rows = "".join(f"| {threshold} or more | {text} |\n" for threshold, text in lines)
        st.markdown(f"| “{name}” with | of random cards |\n|---|---|\n{rows}")


st.title("Found")
with ui.card("now"):
    now()
with ui.card("narrowing"):
    st.header("How it has narrowed")
    rounds = ws.store.rounds(session.id, last=5000)
    if chart.is_drawable(rounds):
        st.html(chart.narrowing(rounds, session.target_share))
    else:
        st.caption("The picture begins after two rounds that could say something.")
with ui.card("target"):
    target()
with ui.card("guarantee"):
    ui.guarantee(ws, session)
with ui.card("predictions"):
    predictions()
with ui.card("about"):
    st.header("What it is, and what it isn't")
    st.markdown(wording.WHAT_IT_IS)
