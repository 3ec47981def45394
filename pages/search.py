"""Search: the neighbours of a tile or of an uploaded picture, to look at or to be asked about."""

import streamlit as st

from labeler import loop, results, ui

K = 60
MORE = ui.Act("like", "More like this", icon="≈")

ws, session = ui.current()


def act(name: str, items: list[int]) -> None:
    """Do what was clicked: search on from a tile, or put tiles at the front of the deck."""
    if name == "like":
        st.query_params["item"] = str(items[0])
        ui.forget("picture")
        return
    n = loop.ask_about(ws, session, items)
    ui.stir(session)
    ui.say(f"{n} put at the front of the deck." if n else "Answered already, or waiting in the deck.")


def found() -> tuple[str, list[ui.Tile]]:
    """Return what was searched for, and its neighbours; nothing before there is a query."""
    number = st.query_params.get("item", "")
    if files := ui.dropped("picture"):
        name, rows = files[0].name, ui.vector(files[0])
    elif number.isascii() and number.isdecimal():
        name, rows = loop.item_name(ws, int(number)), loop.item_rows(ws, [int(number)])
    else:
        return "", []
    near = loop.neighbours(ws, rows, k=K)
    quick = [ui.Act("like", "More", icon="≈")]
    return name, [ui.Tile(i, loop.item_name(ws, i), note=f"{cos:.2f}", quick=quick) for i, cos in near]


def beginnings() -> list[ui.Tile]:
    """Return tiles to begin with: what was found last, else the first of the pool."""
    items = [(g.item, g.path) for g in results.labels_grid(ws, session, label=session.target, limit=24).items]
    items = items or [(i.id, loop.item_name(ws, i.id)) for i in ws.catalog.items_between(0, 24)]
    return [ui.Tile(i, path, quick=[ui.Act("like", "More", icon="≈")]) for i, path in items]


st.title("Search")
with ui.card("query"):
    st.caption("Drop a picture, or press “More” under a tile. The number is the cosine: 1 is the same.")
    name, tiles = found()
    if tiles:
        st.text(f"Nearest to {name}")
if not tiles:
    st.header("Or begin with one of these")
    tiles = beginnings()
ui.grid(
    tiles, key="near", label=f"Nearest to {name}" if name else "Tiles to begin with", on_act=act,
    acts=[MORE, ui.Act("ask", "Ask me about this", icon="↑", stay=True)],
    bulk=[ui.Act("ask", "Ask me about these")],
)  # fmt: skip
