"""The script that app.py mounts: what all pages share, and the way between them."""

import streamlit as st

from labeler import loop, reader, ui, workspace
from labeler.errors import LabelerError

PAGES = ("start", "label", "search", "review", "found", "team", "export", "training")


def has_trained() -> bool:
    """Return whether an encoder has learned from the images, or does: then the bar has its page."""
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


words = reader.words()
pages = [st.Page(f"{name}.py", title=words(f"nav.{name}"), url_path=name) for name in PAGES]
page = st.navigation([st.Page(enter, title=words("nav.home"), default=True), *pages], position="hidden")
ui.frame(page.title)
with st.container(key="nav", horizontal=True):
    for other in pages if has_trained() or page == pages[-1] else pages[:-1]:
        with st.container(key="here" if other == page else None, width="content"):
            st.page_link(other)
    ui.bar()
ui.said()
with ui.errors():
    if page in pages[2:]:
        ui.drawn_badge()
    try:
        page.run()
    finally:
        workspace.current().close()  # every run of a page has a thread, and so a connection, of its own
