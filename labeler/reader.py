"""The words of whoever looks at a Streamlit page, as the browser asks for them."""

import streamlit as st

from labeler.tongue import Words


def words() -> Words:
    """Return the words in the language of the browser a page is drawn for; outside a page, in English.

    The language that scripts see comes first: some browsers leave a language that was chosen for one site, or
    by a test, out of what they ask for on a WebSocket.
    """
    asked = (st.context.locale, st.context.headers.get("Accept-Language"))
    return Words(",".join(one for one in asked if one))
