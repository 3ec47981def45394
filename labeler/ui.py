"""The only Streamlit helpers: the frame of a page, the deck, the grid of tiles, how errors are shown."""

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st
from streamlit import config

from labeler import (
    certificate,
    encoders,
    judging,
    loop,
    people,
    places,
    predicting,
    wording,
    worker,
    workspace,
)
from labeler.domain import SKIP, UNSURE, Progress, Session
from labeler.errors import LabelerError, NotReady
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile


HERE = Path(__file__).parent / "deck"
MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|>~:$<&^=])")
WORDS = {UNSURE: "can't tell", SKIP: "later"}

# the frame ---------------------------------------------------------------------------------


def frame(page: str) -> None:
    """Set what all pages share: a title that names the page, the width, the style."""
    st.set_page_config(page_title=f"{page} · labeler", page_icon=str(HERE / "icon.svg"), layout="wide")
    st.html(HERE / "pages.css")


def drawn_badge() -> None:
    """Say that the images are drawn, where they are."""
    if loop.is_drawn(workspace.current()):
        st.badge("drawn", help="The demonstration set: pictures that the program has drawn.")


def full_height() -> None:
    """Give the whole window below the bar to the deck, and let nothing scroll under it."""
    st.html(HERE / "full.css")


def plain(text: object) -> str:
    """Return text from files or people so that Markdown shows it as it is."""
    return MARKDOWN.sub(r"\\\1", str(text)).replace("\n", " ")


def card(name: str) -> Any:  # Any: Streamlit's container, which has no public type
    """Return a container that looks like a card."""
    return st.container(key=f"card_{name}")


# what happened -----------------------------------------------------------------------------


def problem(error: LabelerError) -> None:
    """Show both sentences of an error."""
    st.error(f"**{plain(error.error)}**  \n{plain(error.do)}", icon=":material/error:")


@contextmanager
def errors() -> Iterator[None]:
    """Show what a person can mend; every other exception goes on to the log with its traceback."""
    try:
        yield
    except LabelerError as error:
        problem(error)


def say(note: str | LabelerError) -> None:
    """Keep a short sentence, or an error, for the next run to show."""
    st.session_state.setdefault("said", []).append(note)


def said() -> None:
    """Show what was noted since the last run: successes as a toast, problems as a box."""
    for note in st.session_state.pop("said", []):
        if isinstance(note, LabelerError):
            problem(note)
        else:
            st.toast(plain(note), icon=":material/check:")


# who and what ------------------------------------------------------------------------------


def current() -> tuple[Workspace, Session]:
    """Return the workspace of this process and the chosen session, the newest by default.

    Raises NotReady without a workspace, Missing before the first session.
    """
    ws = workspace.current()
    chosen: int | None = st.session_state.get("session")
    return ws, loop.get_session(ws, chosen)


def choose(session: Session) -> None:
    """Go on with this session: in this tab, and wherever none is named."""
    loop.use_session(workspace.current(), session)
    st.session_state["session"] = session.id
    stir(session)


def stir(session: Session) -> None:
    """Tell the worker that something changed in a session."""
    if (running := worker.current()) is not None:
        running.poke(session.id)


# panels ------------------------------------------------------------------------------------


def chooser(ws: Workspace, session: Session) -> None:
    """Draw the choice between sessions, where there are several."""
    sessions = {s.id: s for s in loop.sessions(ws)}
    if len(sessions) < 2:
        return
    number = st.selectbox(
        "Question", list(sessions), list(sessions).index(session.id),
        format_func=lambda n: f"{sessions[n].question}  ({', '.join(sessions[n].labels)})",
    )  # fmt: skip
    if number != session.id:
        choose(sessions[number])
        st.rerun()


def question_form(ws: Workspace, *, expanded: bool) -> None:
    """Draw the form of a new session."""
    with st.expander("Ask another question", expanded=expanded), st.form("new", border=False):
        text = st.text_input("Question", placeholder=loop.QUESTION)
        names = st.text_input("Answers, the one you look for first", ", ".join(loop.LABELS))
        if st.form_submit_button("Ask this", type="primary"):
            with errors():
                labels = [name.strip() for name in names.split(",") if name.strip()]
                choose(loop.start_session(ws, text.strip() or loop.QUESTION, labels))
                st.rerun()


def answers_form(ws: Workspace, session: Session) -> None:
    """Draw the form in which an answer is renamed, or one more added."""
    key = f"answers-{session.id}-{'-'.join(session.labels)}"
    with st.expander("Answers"), st.form(key, border=False):
        names = [st.text_input(f"Answer {i}", old) for i, old in enumerate(session.labels, 1)]
        more = st.text_input("One more")
        if st.form_submit_button("Save"):
            with errors():
                for old, new in zip(session.labels, names, strict=True):
                    if new.strip() != old:
                        session = loop.rename_label(ws, session, old, new)
                if more.strip():
                    loop.add_label(ws, session, more)
                st.rerun()


def words_form(ws: Workspace, session: Session) -> None:
    """Draw where what is looked for is described in words, if the encoder reads them."""
    if encoders.why_no_words(ws.config.encoder) is not None:
        return
    with st.form("words", border=False, clear_on_submit=True):
        text = st.text_input("Or describe what you look for", placeholder="a river delta")
        if st.form_submit_button("Look for it"):
            with errors():
                loop.add_words(ws, session, text)
                stir(session)
                st.rerun()


def intake(ws: Workspace) -> None:
    """Draw the folder and how far it has been taken in, again every two seconds until it has."""
    running = worker.current()
    busy = running is not None and running.progress().stage != "done"
    with card("images"):
        st.fragment(_intake, run_every=2 if busy else None)(ws, busy)


def _intake(ws: Workspace, was_busy: bool) -> None:
    pool, running = loop.pool_status(ws), worker.current()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header("Images")
        if pool["drawn"]:
            st.badge("drawn", help="The demonstration set: pictures that the program has drawn.")
    with errors():
        st.text(str(ws.images))
    progress = running.progress() if running else Progress("done", pool["embedded"], pool["images"])
    if progress.stage == "done":
        st.caption(f"{pool['images']:,} images, all taken in." + _doubles(pool["duplicates"]))
        if was_busy:
            st.rerun()
    else:
        share = progress.done / progress.total if progress.total else 0.0
        st.progress(min(1.0, share), text=_pace(progress))
    if running and (trouble := running.problem()):
        st.warning(plain(trouble))
    if aside := pool["set_aside"]:
        with st.expander(f"{len(aside):,} set aside: they can't be read"):
            for one in aside[:50]:
                st.text(f"{one['path']}\n{one['reason']}")
            if len(aside) > 50:
                st.caption(f"And {len(aside) - 50:,} more: labeler status lists them.")


def _doubles(n: int) -> str:
    if n == 0:
        return ""
    return " One is a copy of another." if n == 1 else f" {n:,} are copies of others and share one answer."


def _pace(p: Progress) -> str:
    """Return how far long work is, its rate and the time left, in words."""
    words = {"scanning": "Looking through the folder", "loading": "Loading the encoder"}
    text = words.get(p.stage, "Taking in") + f": {p.done:,}" + (f" of {p.total:,}" if p.total else "")
    if p.per_s:
        text += f", {p.per_s:,.0f} a second"
    return text + (f", {p.left_s / 60:.0f} min left" if p.left_s and p.left_s > 90 else "")


def address() -> tuple[str, int]:
    """Return the host and port that Streamlit was told to serve on."""
    return config.get_option("server.address") or "0.0.0.0", config.get_option("server.port")


def phone(ws: Workspace, session: Session) -> None:
    """Draw the link that opens the deck on a phone, or how to get one."""
    with card("phone"):
        st.header("On a phone")
        host, port = address()
        if people.is_local(host):
            st.caption("This server answers this computer only. To swipe on a phone, start it so:")
            command = f"labeler start --images {shlex.quote(str(ws.images))} --host 0.0.0.0"
            if loop.is_drawn(ws):
                command = "labeler start --host 0.0.0.0"
            st.code(command, language=None, wrap_lines=True)
            return
        url = f"http://{places.reachable(host)}:{port}"
        st.caption("Open this in the same network. Whoever has the link can do everything.")
        link = f"{people.owner_link(ws, url, '/swipe')}&session={session.id}"
        st.code(link, language=None, wrap_lines=True)


def caveat(ws: Workspace, session: Session) -> str:
    """Return how far the predictions can be trusted, in words."""
    made = predicting.predict(ws, session)
    if made is None:
        return "Nothing is predicted yet: answer a few cards of each kind first."
    quality = judging.quality_json(ws, session)
    return wording.caveat(quality, session.target, rough=made.rough)


# pictures from outside ---------------------------------------------------------------------


def dropped(key: str, *, several: bool = False) -> "list[UploadedFile]":
    """Draw a place to drop pictures and return them; they stay until `forget`."""
    files = st.file_uploader(
        "Pictures" if several else "Picture", accept_multiple_files=several, label_visibility="collapsed",
        key=f"{key}-{st.session_state.get(f'{key}-n', 0)}",
    )  # fmt: skip
    return files if isinstance(files, list) else [files] if files else []


def forget(key: str) -> None:
    """Empty the place where pictures are dropped at the next run."""
    st.session_state[f"{key}-n"] = st.session_state.get(f"{key}-n", 0) + 1


# pictures ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Act:
    """Something that can be done to a tile. `stay`: the large view goes on to the next picture."""

    act: str
    text: str
    kind: str = ""
    icon: str = ""
    stay: bool = False


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
    if answer not in session.labels:
        return WORDS.get(answer, answer), answer, "?"
    at = session.labels.index(answer)
    return answer, f"k{at}", "✓✕"[at] if len(session.labels) == 2 else str(at + 1)


def answers(session: Session) -> list[Act]:
    """Return an act for each label and for unsure; its `act` is "answer:" and the answer."""
    acts = []
    for answer in (*session.labels, UNSURE):
        word, kind, icon = look(session, answer)
        acts.append(Act(f"answer:{answer}", word, kind, icon, stay=True))
    return acts


def grid(
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
    ws, session = current()

    stamp = ws.store.fact("stamp") or "0"  # in tile addresses, so that caches can't mix workspaces
    data = {
        "tiles": [_tile(session, tile, stamp) for tile in tiles],
        "acts": [asdict(a) for a in acts],
        "bulk": [asdict(a) for a in bulk],
        "label": label,
    }
    _component("grid", "grid")(key=key, data=data, on_act_change=lambda: acted(key, on_act, st.session_state))


def search(
    begin: Sequence[Tile], *, key: str, first: Tile | None, on_act: Callable[[str, list[int]], None]
) -> None:
    """Draw a search: what is wanted and what is not, and the nearest, which come without a script run.

    begin   tiles to begin with. first: what is wanted from the start.
    on_act  as in `grid`, for answers and "ask".
    """
    ws, session = current()
    stamp = ws.store.fact("stamp") or "0"
    ask = Act("ask", "Ask me about these", icon="↑")
    acts = [
        *answers(session),
        Act("only", "More like this", icon="≈"),
        replace(ask, text="Ask me about this", stay=True),
    ]
    bulk = [Act("like", "More like these", icon="≈"), Act("unlike", "Less like these", icon="✕"), ask]
    looks = {
        a.act.removeprefix("answer:"): {"text": a.text, "kind": a.kind, "icon": a.icon}
        for a in answers(session)
    }
    data = {
        "session": session.id,
        "first": first and _tile(session, first, stamp),
        "begin": [_tile(session, tile, stamp) for tile in begin],
        "looks": looks,
        "acts": [asdict(a) for a in acts],
        "bulk": [asdict(a) for a in bulk],
        "reads": encoders.why_no_words(ws.config.encoder) is None,
        "stamp": stamp,
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
        "src": f"/tiles/{tile.item}?w=256&v={stamp}",
        "big": f"/tiles/{tile.item}?w=1024&v={stamp}",
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
    shown = st.session_state[f"{key}-page"][0]
    with st.container(horizontal=True, horizontal_alignment="center", vertical_alignment="center"):
        for word, to in (("Back", top - size), ("On", top + size)):
            if word == "On" and total:
                st.markdown(f"{top + 1:,}–{min(top + size, total):,} of {total:,}", width="content")
            if total > size and st.button(word, disabled=not 0 <= to < total, key=f"{key}-{word}"):
                st.session_state[f"{key}-page"] = (shown, to)
                st.rerun()


# the deck ----------------------------------------------------------------------------------


def deck(session: Session, on_round: Callable[[], None]) -> None:
    """Mount the swipe deck. Swipes go to /api, not through a script run; on_round runs once per round."""
    data = {"session": session.id}
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
    return f"/deck/{name}?v={hashlib.sha256((HERE / name).read_bytes()).hexdigest()[:12]}"


# a certificate -------------------------------------------------------------------------------


def guarantee(ws: Workspace, session: Session) -> None:
    """Draw what a certificate would cost and begin one; how it stands while it runs, and what it said."""
    st.header("A guarantee")
    st.caption(
        "The estimate above is a model. A certificate is none: cards drawn evenly from what is left, counted."
        " Make one when you are done. While it runs, only its cards are dealt."
    )
    known = certificate.look(ws, session)
    if known is not None:
        said = wording.certificate(certificate.to_json(known) or {}, session.target)
        st.markdown(f"Certificate: {plain(said)}.")
    if known is not None and known.state == "running":
        _end_early(ws, session)
        return
    wanted = st.number_input("At least this percentage", 50.0, 99.9, 90.0, 1.0, "%g", width=200)
    share = round(wanted / 100, 6)
    try:
        offer = certificate.price(ws, session, share)
    except NotReady as e:
        st.caption(str(e))
        return
    cards = offer.if_missed if offer.missed else offer.draws
    st.caption(wording.price(cards, share))
    if cards is not None and st.button(f"Draw {max(1, cards):,} cards", key="draw"):
        with errors():
            certificate.begin(ws, session, share, max(1, cards))
            st.rerun()


def _end_early(ws: Workspace, session: Session) -> None:
    """Draw the two ways to end a certificate before all of its cards are answered."""
    with st.expander("End it before all cards are answered"), st.container(horizontal=True):
        is_ended = st.button("End it now", help="Cards without an answer count as missed.")
        is_off = st.button("Give it up", help="It says nothing then, and other cards are dealt again.")
    if is_ended or is_off:
        with errors():
            (certificate.cancel if is_off else certificate.finish)(ws, session)
            st.rerun()
