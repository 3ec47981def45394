"""The script that app.py mounts: what all pages share, and the way between them."""

import streamlit as st

from labeler import loop, ui, workspace
from labeler.errors import LabelerError

PAGES = ("start", "label", "search", "review", "found", "team", "export")


def has_trained() -> bool:
    """Return whether an encoder has learned from the images, or does: then there is a page to look at it."""
    try:
        return bool(workspace.current().registry.trainings())
    except LabelerError:
        return False


def has_session() -> bool:
    """Return whether there is a question to answer already."""
    try:
        return bool(loop.sessions(workspace.current()))
    except LabelerError:
        return False


def enter() -> None:
    """Go where work goes on: to the deck, before the first question to Start."""
    st.switch_page(pages[1 if has_session() else 0])


names = (*PAGES, "training") if has_trained() else PAGES
pages = [st.Page(f"{name}.py", title=name.capitalize(), url_path=name) for name in names]
page = st.navigation([st.Page(enter, title="labeler", default=True), *pages], position="hidden")
ui.frame(page.title)
with st.container(key="nav", horizontal=True):
    for other in pages:
        with st.container(key="here" if other == page else None, width="content"):
            st.page_link(other)
ui.said()
with ui.errors():
    if page in pages[2:]:
        ui.drawn_badge()
    try:
        page.run()
    finally:
        workspace.current().close()  # every run of a page has a thread, and so a connection, of its own
