"""Start: the question, what it is for, the folder, example pictures, and the way to a phone."""

import streamlit as st

from labeler import loop, ui, workspace
from labeler.domain import SKIP, UNSURE, Goal, Session
from labeler.errors import LabelerError
from labeler.workspace import Workspace

GOALS: dict[Goal, str] = {"find": "Find as many as I can", "classify": "Train a good classifier"}
PRICE = """Finding asks about the likeliest first, training about the doubtful. Each has its price. Measured
on aerial scenes: after as many cards as the class has images, finding had found 0.85 of them, pure doubt
0.44. But a classifier trained on 200 doubtful answers was a bit better: average precision 0.94 against
0.91."""


def question(ws: Workspace, session: Session) -> None:
    """Draw the question with its counts, and the way to the deck."""
    facts = loop.session_status(ws, session)
    with ui.card("question"):
        ui.chooser(ws, session)
        with st.container(key="question"):
            st.text(session.question)
        with st.container(horizontal=True, key="figures"):
            st.metric("Answered", sum(n for answer, n in facts["counts"].items() if answer != SKIP))
            st.metric("Found", facts["found"])
            st.metric("Can't tell", facts["counts"][UNSURE])
        if st.button("Start swiping", type="primary", icon=":material/swipe:", width="stretch"):
            st.switch_page("label.py")


def goal(ws: Workspace, session: Session) -> None:
    """Draw the choice of goal with its price."""
    with ui.card("goal"):
        st.header("What is it for?")
        names = list(GOALS)
        at = names.index(session.goal)
        chosen = st.radio("Goal", names, at, format_func=lambda g: GOALS[g], label_visibility="collapsed")
        st.caption(PRICE)
        if chosen != session.goal:
            loop.set_goal(ws, session, chosen)
            ui.stir(session)
            st.rerun()


def examples(ws: Workspace, session: Session) -> None:
    """Draw where example pictures are dropped, and the names of those there are."""
    with ui.card("examples"):
        st.header("Example pictures")
        st.caption("Drop some of what you look for. Their neighbours are asked first.")
        label = session.target if len(session.labels) == 2 else st.selectbox("They show", session.labels)
        if files := ui.dropped("examples", several=True):
            for file in files:
                try:
                    loop.add_example(ws, session, file.name, file.getvalue(), label)
                except LabelerError as error:
                    ui.say(error)
            ui.stir(session)
            ui.forget("examples")
            st.rerun()
        ui.words_form(ws, session)
        for example in loop.examples(ws, session):
            st.text(f"{session.labels[example.label]}: {example.shown}")


ws = workspace.current()
session = ui.current()[1] if loop.sessions(ws) else None
st.title("Start")
left, right = st.columns([3, 2], gap="medium")
with left:
    if session:
        question(ws, session)
        goal(ws, session)
        ui.answers_form(ws, session)
    ui.question_form(ws, expanded=session is None)
with right:
    ui.intake(ws)
    if session:
        examples(ws, session)
        ui.phone(ws, session)
