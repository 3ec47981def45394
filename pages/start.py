"""Start: the question, what it is for, the folder, example pictures, and the way to a phone."""

import streamlit as st

from labeler import loop, reader, ui, workspace
from labeler.domain import SKIP, UNSURE, Goal, Session
from labeler.errors import LabelerError
from labeler.workspace import Workspace

GOALS: tuple[Goal, ...] = ("find", "classify")


def question(ws: Workspace, session: Session) -> None:
    """Draw the question with its counts, and the way to the deck."""
    facts = loop.session_status(ws, session)
    with ui.card("question"):
        ui.chooser(ws, session)
        with st.container(key="question"):
            st.text(words.question(session.question))
        with st.container(horizontal=True, key="figures"):
            answered = sum(n for answer, n in facts["counts"].items() if answer != SKIP)
            st.metric(words("start.answered"), answered)
            st.metric(words("start.found"), facts["found"])
            st.metric(words("start.unsure"), facts["counts"][UNSURE])
        if st.button(words("start.go"), type="primary", icon=":material/swipe:", width="stretch"):
            st.switch_page("label.py")


def goal(ws: Workspace, session: Session) -> None:
    """Draw the choice of goal with its price."""
    with ui.card("goal"):
        st.header(words("start.goal.for"))
        at, called = GOALS.index(session.goal), words.part("start.").__getitem__
        chosen = st.radio(words("start.goal"), GOALS, at, format_func=called, label_visibility="collapsed")
        st.caption(words("start.price"))
        if chosen != session.goal:
            loop.set_goal(ws, session, chosen)
            ui.stir(session)
            st.rerun()


def examples(ws: Workspace, session: Session) -> None:
    """Draw where example pictures are dropped, and the names of those there are."""
    with ui.card("examples"):
        st.header(words("start.examples"))
        st.caption(words("start.examples.why"))
        label = session.target
        if len(session.labels) != 2:
            label = st.selectbox(words("start.examples.show"), session.labels, format_func=words.answer)
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
            st.text(f"{words.answer(session.labels[example.label])}: {example.shown}")


ws, words = workspace.current(), reader.words()
session = ui.current()[1] if loop.sessions(ws) else None
st.title(words("nav.start"))
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
