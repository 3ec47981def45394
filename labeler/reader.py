"""The words of whoever looks at a Streamlit page, as the browser asks for them."""

import streamlit as st

from labeler.tongue import Words


def words() -> Words:
    """Return the words in the language of the browser a page is drawn for; outside a page, in English."""
    accept = st.context.headers.get("Accept-Language") or st.context.locale
    return Words(accept or "")
