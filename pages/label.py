"""Label: the deck, at full height. Swipes go to /api; this script runs once per visit and once per round."""

import streamlit as st

from labeler import grids, ui

ui.full_height()
workspace, session = ui.current()


@st.fragment
def deck() -> None:
    """Draw the deck; a round that was learned runs this part alone."""
    grids.deck(session, on_round=lambda: ui.stir(session))


deck()
