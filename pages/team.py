"""Team: how others join, how the work goes on, and who takes part."""

import streamlit as st

from labeler import crew, reader, trust, ui

ws, session = ui.current()
words = reader.words()
url = crew.address(ws)

st.title(words("nav.team"))
with ui.card("invite"):
    st.header(words("team.invite"))
    if url:
        crew.invitation(ws, session, url)
    else:
        crew.how_to_share(ws)
with ui.card("going"):
    st.header(words("team.now"))
    crew.now(ws, session)
    crew.screen(session)
    crew.votes_form(ws, session)
with ui.card("asking"):
    st.header(words("team.asked"))
    crew.asking(ws, session)
with ui.card("examples"):
    st.header(words("team.lessons"))
    trust.examples(ws, session)
with ui.card("people"):
    st.header(words("team.people"))
    crew.everybody(ws)
    crew.one_person(ws, session)
    crew.handed(url)
    trust.doubtful(ws, session)
with ui.card("known"):
    st.header(words("team.gold"))
    trust.known_answers(ws, session)
if session.votes > 1:
    with ui.card("agreement"):
        st.header(words("team.agree"))
        trust.agreement(ws, session)
with ui.card("links"):
    st.header(words("team.links"))
    crew.links(ws, url)
