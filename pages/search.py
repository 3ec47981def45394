"""Search: what is like some pictures or words, and unlike others; to label, or to be asked about."""

import streamlit as st

from labeler import grids, loop, reader, results, ui

BEGIN = 24

ws, session = ui.current()
words = reader.words()


def act(name: str, items: list[int]) -> None:
    """Put tiles at the front of the deck."""
    n = loop.ask_about(ws, session, items)
    there = words.count("search.asked.there", len(items) - n) if n < len(items) else ""
    ui.say(words.count("search.asked", n) + there if n else words("search.asked.none"))
    ui.stir(session)


def wanted() -> grids.Tile | None:
    """Return the tile that the address names, if it is one that can be searched for."""
    number = st.query_params.get("item", "")
    if not (number.isascii() and number.isdecimal()):
        return None
    with ui.errors():
        loop.item_rows(ws, [int(number)])
        return grids.Tile(int(number), loop.item_name(ws, int(number)))


def beginnings() -> list[grids.Tile]:
    """Return tiles to begin with: what was found last, else the first of the pool."""
    found = results.labels_grid(ws, session, label=session.target, limit=BEGIN).items
    tiles = [grids.Tile(g.item, g.path, g.answer) for g in found]
    known = {tile.item for tile in tiles}
    others = [i.id for i in ws.catalog.items_between(0, 2 * BEGIN) if i.present and i.id not in known]
    return tiles + [grids.Tile(i, loop.item_name(ws, i)) for i in others[: BEGIN - len(tiles)]]


st.title(words("nav.search"))
st.caption(words("search.why"))
grids.search(ws, session, beginnings(), key="near", first=wanted(), on_act=act)
