"""Team: how others join, how the work goes on, and who takes part."""

import streamlit as st

from labeler import crew, ui

ws, session = ui.current()
url = crew.address(ws)

st.title("Team")
with ui.card("invite"):
    st.header("Let others join")
    if url:
        crew.invitation(ws, session, url)
    else:
        crew.how_to_share(ws)
with ui.card("going"):
    st.header("Now")
    crew.now(ws, session)
    crew.votes_form(ws, session)
with ui.card("asking"):
    st.header("What is asked")
    crew.asking(ws, session)
with ui.card("people"):
    st.header("Who takes part")
    crew.everybody(ws)
    crew.one_person(ws)
if session.votes > 1:
    with ui.card("agreement"):
        st.header("How much people agree")
        crew.agreement(ws, session)
with ui.card("links"):
    st.header("Links")
    crew.links(ws)
