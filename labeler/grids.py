"""What shows pictures on a page: grids of tiles, the search, the deck. Drawn by the browser, from /deck/."""

import hashlib
import json
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from labeler import encoders, reach, reader
from labeler.domain import SKIP, UNSURE, Session
from labeler.errors import LabelerError
from labeler.workspace import Workspace

HERE = Path(__file__).parent / "deck"
WORDS = {UNSURE: "grid.unsure", SKIP: "grid.later"}


@dataclass(frozen=True, slots=True)
class Act:
    """Something that can be done to a tile.

    stay   the large view goes on to the next picture. short: the text where there is little room.
    """

    act: str
    text: str
    kind: str = ""
    icon: str = ""
    stay: bool = False
    short: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture in a grid. `answer` is a label or unsure; `predicted`: the program says so, nobody else."""

    item: int
    name: str
    answer: str | None = None
    predicted: bool = False
    note: str = ""
    quick: Sequence[Act] = ()


def look(session: Session, answer: str) -> tuple[str, str, str]:
    """Return (word, colour class, icon) of an answer: never by colour alone."""
    words = reader.words()
    if answer not in session.labels:
        return words(WORDS[answer]) if answer in WORDS else answer, answer, "?"
    at = session.labels.index(answer)
    return words.answer(answer), f"k{at}", "✓✕"[at] if len(session.labels) == 2 else str(at + 1)


def answers(session: Session) -> list[Act]:
    """Return an act for each label and for unsure; its `act` is "answer:" and the answer."""
    acts = []
    for answer in (*session.labels, UNSURE):
        word, kind, icon = look(session, answer)
        acts.append(Act(f"answer:{answer}", word, kind, icon, stay=True))
    return acts


def grid(
    ws: Workspace,
    session: Session,
    tiles: Sequence[Tile],
    *,
    key: str,
    label: str,
    on_act: Callable[[str, list[int]], None],
    acts: Sequence[Act] = (),
    bulk: Sequence[Act] = (),
) -> None:
    """Draw tiles. A click on an act runs on_act(act, items) before the next run.

    label  says what the grid holds, for screen readers.
    acts   are offered in the large view of one tile; bulk for all that are chosen.
    """
    stamp = ws.store.fact("stamp") or "0"  # in tile addresses, so that caches can't mix workspaces
    data = {
        "tiles": [_tile(session, tile, stamp) for tile in tiles],
        "acts": [asdict(a) for a in acts],
        "bulk": [asdict(a) for a in bulk],
        "label": label,
        "words": reader.words().part("grid."),
    }
    _component("grid", "grid")(key=key, data=data, on_act_change=lambda: acted(key, on_act, st.session_state))


def search(
    ws: Workspace,
    session: Session,
    begin: Sequence[Tile],
    *,
    key: str,
    first: Tile | None,
    on_act: Callable[[str, list[int]], None],
) -> None:
    """Draw a search: what is wanted and what is not, and the nearest, which come without a script run.

    begin   tiles to begin with. first: what is wanted from the start.
    on_act  as in `grid`, for answers and "ask".
    """
    stamp, words = ws.store.fact("stamp") or "0", reader.words()
    ask = Act("ask", words("grid.act.ask.many"), icon="↑", short=words("grid.act.ask.short"))
    acts = [
        *answers(session),
        Act("only", words("grid.act.more"), icon="≈"),
        replace(ask, text=words("grid.act.ask"), short="", stay=True),
    ]
    bulk = [
        *(replace(a, stay=False) for a in answers(session)[:-1]),
        Act("like", words("grid.act.more.many"), icon="≈", short=words("grid.act.more.short")),
        Act("unlike", words("grid.act.less.many"), icon="≠", short=words("grid.act.less.short")),
        ask,
    ]
    looks = {
        a.act.removeprefix("answer:"): {"text": a.text, "kind": a.kind, "icon": a.icon}
        for a in answers(session)
    }
    data = {
        "session": session.id,
        "question": words.question(session.question),
        "first": first and _tile(session, first, stamp),
        "begin": [_tile(session, tile, stamp) for tile in begin],
        "looks": looks,
        "acts": [asdict(a) for a in acts],
        "bulk": [asdict(a) for a in bulk],
        "reads": encoders.why_no_words(ws.config.encoder) is None,
        "stamp": stamp,
        "words": words.part("grid."),
    }
    _component("search", "search", "grid", styles=("grid",))(
        key=key, data=data, on_act_change=lambda: acted(key, on_act, st.session_state)
    )


def acted(key: str, on_act: Callable[[str, list[int]], None], state: MutableMapping[Any, Any]) -> None:
    """Run what was clicked in the grid `key`; an error is shown by the next run. Any: Streamlit's state."""
    if sent := state[key].get("act"):
        try:
            on_act(str(sent["act"]), [int(i) for i in sent["items"]])
        except LabelerError as error:
            state.setdefault("said", []).append(error)


def _tile(session: Session, tile: Tile, stamp: str) -> dict[str, Any]:  # Any: JSON
    chip = None
    if tile.answer is not None:
        text, kind, icon = look(session, tile.answer)
        chip = {"text": text, "kind": kind, "icon": icon, "predicted": tile.predicted}
    return {
        "item": tile.item,
        "src": reach.at(f"/tiles/{tile.item}?w=256&v={stamp}"),
        "big": reach.at(f"/tiles/{tile.item}?w=1024&v={stamp}"),
        "name": tile.name,
        "chip": chip,
        "note": tile.note,
        "quick": [asdict(a) for a in tile.quick],
    }


def page_top(key: str, shown: object) -> int:
    """Return the place of the first picture of the page; 0 again when something else is shown."""
    known, top = st.session_state.get(f"{key}-page", (None, 0))
    top = int(top) if known == shown else 0
    st.session_state[f"{key}-page"] = (shown, top)
    return top


def pager(key: str, top: int, size: int, total: int) -> None:
    """Draw the way to the pages before and after."""
    shown, words = st.session_state[f"{key}-page"][0], reader.words()
    with st.container(horizontal=True, horizontal_alignment="center", vertical_alignment="center"):
        for way, to in (("back", top - size), ("on", top + size)):
            if way == "on" and total:
                first, last = f"{top + 1:,}", f"{min(top + size, total):,}"
                said = words("grid.page.of", first=first, last=last, n=f"{total:,}")
                st.markdown(said, width="content")
            is_end = not 0 <= to < total
            if total > size and st.button(words(f"grid.page.{way}"), disabled=is_end, key=f"{key}-{way}"):
                st.session_state[f"{key}-page"] = (shown, to)
                st.rerun()


# the deck ----------------------------------------------------------------------------------


def deck(session: Session, on_round: Callable[[], None]) -> None:
    """Mount the swipe deck. Swipes go to /api, not through a script run; on_round runs once per round."""
    data = {"session": session.id, "words": reader.words().part("deck.")}
    with st.container(key="deck"):
        _component("deck", "streamlit", "deck")(
            key="swipe", data=data, height="stretch", on_round_change=on_round
        )


@cache
def _component(
    name: str, *modules: str, styles: tuple[str, ...] = ()
) -> Callable[..., Any]:  # Any: what the component returns is not used
    """Return the component whose modules and styles are served from /deck/, the same files as at /swipe.

    modules  the first one draws, and is given the others. styles: besides the component's own.
    """
    files = json.dumps([asset(f"{module}.js") for module in modules])
    imports = "".join(f'@import url("{asset(f"{style}.css")}");\n' for style in (*styles, name))
    return st.components.v2.component(
        f"labeler_{name}",
        css=f"{imports}:host {{ display: block; }}",
        js=f"const files = {files}.map((file) => new URL(file, location.origin));\n"
        "export default async (component) => {\n"
        "  const [show, ...others] = await Promise.all(files.map((file) => import(file)));\n"
        "  return show.default(component, ...others);\n};",
    )


def asset(name: str) -> str:
    """Return the address of a file of the deck, with its version, so that browsers keep it for good."""
    return reach.at(f"/deck/{name}?v={hashlib.sha256((HERE / name).read_bytes()).hexdigest()[:12]}")
