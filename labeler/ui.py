"""Streamlit helpers: the frame of a page, its panels, how errors are shown. Pictures are in `grids`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
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
    reach,
    reader,
    wording,
    worker,
    workspace,
)
from labeler.domain import Progress, Session
from labeler.errors import LabelerError, NotReady
from labeler.grids import HERE
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile


MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|>~:$<&^=])")

# the frame ---------------------------------------------------------------------------------


def frame(page: str) -> None:
    """Set what all pages share: a title that names the page, the width, the style."""
    st.set_page_config(page_title=f"{page} · labeler", page_icon=str(HERE / "icon.svg"), layout="wide")
    st.html(HERE / "pages.css")


def bar() -> None:
    """Keep the link of the page that is open in view, where the bar scrolls; scroll up as `to_top` says."""
    with st.container(key=f"top_{st.session_state.get('top', 0)}"):
        st.html(HERE / "bar.html", unsafe_allow_javascript=True)


def to_top() -> None:
    """Scroll the page up with the next run."""
    st.session_state["top"] = st.session_state.get("top", 0) + 1


def drawn_badge() -> None:
    """Say that the images are drawn, where they are."""
    if loop.is_drawn(workspace.current()):
        words = reader.words()
        st.badge(words("nav.badge.drawn"), help=words("nav.badge.drawn.help"))


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
    words = reader.words()
    said, do = plain(words.said(error.error)), plain(words.said(error.do))
    st.error(f"**{said}**  \n{do}", icon=":material/error:")


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
        reader.words()("start.choose"), list(sessions), list(sessions).index(session.id),
        format_func=lambda n: _called(sessions[n]),
    )  # fmt: skip
    if number != session.id:
        choose(sessions[number])
        st.rerun()


def _called(session: Session) -> str:
    """Return a question with its answers, as people read them."""
    words = reader.words()
    return f"{words.question(session.question)}  ({', '.join(map(words.answer, session.labels))})"


def question_form(ws: Workspace, *, expanded: bool) -> None:
    """Draw the form of a new session."""
    words = reader.words()
    with st.expander(words("start.another"), expanded=expanded), st.form("new", border=False):
        text = st.text_input(words("start.question"), placeholder=words("start.question.default"))
        names = st.text_input(words("start.another.answers"), ", ".join(loop.LABELS))
        if st.form_submit_button(words("start.another.go"), type="primary"):
            with errors():
                labels = [name.strip() for name in names.split(",") if name.strip()]
                choose(loop.start_session(ws, text.strip() or loop.QUESTION, labels))
                to_top()  # where the question is
                st.rerun()


def answers_form(ws: Workspace, session: Session) -> None:
    """Draw the form in which an answer is renamed, or one more added."""
    key = f"answers-{session.id}-{'-'.join(session.labels)}"
    words = reader.words()
    with st.expander(words("start.answers")), st.form(key, border=False):
        names = [st.text_input(words("start.answer", n=i), old) for i, old in enumerate(session.labels, 1)]
        more = st.text_input(words("start.answer.more"))
        if st.form_submit_button(words("start.answer.save")):
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
    words = reader.words()
    with st.form("words", border=False, clear_on_submit=True):
        text = st.text_input(words("start.words"), placeholder=words("start.words.example"))
        if st.form_submit_button(words("start.words.go")):
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
    pool, running, words = loop.pool_status(ws), worker.current(), reader.words()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header(words("start.images"))
        if pool["drawn"]:
            st.badge(words("nav.badge.drawn"), help=words("nav.badge.drawn.help"))
    with errors():
        st.text(str(ws.images))
    progress = running.progress() if running else Progress("done", pool["embedded"], pool["images"])
    if progress.stage == "done":
        doubles = words.count("start.images.doubles", pool["duplicates"]) if pool["duplicates"] else ""
        st.caption(words.count("start.images.all", pool["images"]) + doubles)
        if was_busy:
            st.rerun()
    else:
        share = progress.done / progress.total if progress.total else 0.0
        st.progress(min(1.0, share), text=_pace(progress))
    if running and (trouble := running.problem()):
        st.warning(plain(words.said(trouble)))
    if aside := pool["set_aside"]:
        with st.expander(words.count("start.images.aside", len(aside))):
            for one in aside[:50]:
                st.text(f"{one['path']}\n{words.said(one['reason'])}")
            if len(aside) > 50:
                st.caption(words.count("start.images.aside.more", len(aside) - 50))


def _pace(p: Progress) -> str:
    """Return how far long work is, its rate and the time left, in words."""
    words = reader.words()
    text = (
        words(f"start.pace.{p.stage if p.stage in ('scanning', 'loading') else 'taking'}") + f": {p.done:,}"
    )
    if p.total:
        text += words("start.pace.of", total=f"{p.total:,}")
    if p.per_s:
        text += words("start.pace.rate", rate=f"{p.per_s:,.0f}")
    if p.left_s and p.left_s > 90:
        text += words("start.pace.left", minutes=f"{p.left_s / 60:.0f}")
    return text


def address() -> tuple[str, int]:
    """Return the host and port that Streamlit was told to serve on."""
    return config.get_option("server.address") or "0.0.0.0", config.get_option("server.port")


def phone(ws: Workspace, session: Session) -> None:
    """Draw the link that opens the deck on a phone, or how to get one."""
    words = reader.words()
    with card("phone"):
        st.header(words("start.phone"))
        here = reach.current()
        if not here.shared:
            st.caption(words("start.phone.share"))
            images = "" if loop.is_drawn(ws) else f"{places.start_words(ws)} "
            st.code(f"labeler start {images}--share", language=None, wrap_lines=True)
            return
        st.caption(words("start.phone.open.public" if here.public else "start.phone.open"))
        link = f"{people.owner_link(ws, here.url, '/swipe')}&session={session.id}"
        st.code(link, language=None, wrap_lines=True)


def caveat(ws: Workspace, session: Session) -> str:
    """Return how far the predictions can be trusted, in words."""
    made, words = predicting.predict(ws, session), reader.words()
    if made is None:
        return words("start.unpredicted")
    quality = judging.quality_json(ws, session)
    return wording.caveat(quality, session.target, rough=made.rough, words=words)


# pictures from outside ---------------------------------------------------------------------


def dropped(key: str, *, several: bool = False) -> "list[UploadedFile]":
    """Draw a place to drop pictures and return them; they stay until `forget`."""
    most = config.get_option("server.maxUploadSize")
    label = reader.words()("start.drop.several" if several else "start.drop", mb=most)
    files = st.file_uploader(
        label, accept_multiple_files=several, key=f"{key}-{st.session_state.get(f'{key}-n', 0)}",
    )  # fmt: skip
    return files if isinstance(files, list) else [files] if files else []


def forget(key: str) -> None:
    """Empty the place where pictures are dropped at the next run."""
    st.session_state[f"{key}-n"] = st.session_state.get(f"{key}-n", 0) + 1


# a certificate -------------------------------------------------------------------------------


def guarantee(ws: Workspace, session: Session) -> None:
    """Draw what a certificate would cost and begin one; how it stands while it runs, and what it said."""
    words = reader.words()
    st.header(words("found.guarantee"))
    st.caption(words("found.guarantee.why"))
    known = certificate.look(ws, session)
    if known is not None:
        said = wording.certificate(certificate.to_json(known) or {}, words.answer(session.target), words)
        st.markdown(words("found.guarantee.said", said=plain(said)))
    if known is not None and known.state == "running":
        _end_early(ws, session)
        return
    wanted = st.number_input(words("found.guarantee.least"), 50.0, 99.9, 90.0, 1.0, "%g", width=200)
    share = round(wanted / 100, 6)
    try:
        offer = certificate.price(ws, session, share)
    except NotReady as e:
        st.caption(words.both(e.error, e.do))
        return
    cards = offer.if_missed if offer.missed else offer.draws
    st.caption(wording.price(cards, share, words))
    if cards is not None and st.button(words.count("found.guarantee.draw", max(1, cards)), key="draw"):
        with errors():
            certificate.begin(ws, session, share, max(1, cards))
            st.rerun()


def _end_early(ws: Workspace, session: Session) -> None:
    """Draw the two ways to end a certificate before all of its cards are answered."""
    words = reader.words()
    with st.expander(words("found.guarantee.end")), st.container(horizontal=True):
        is_ended = st.button(words("found.guarantee.end.now"), help=words("found.guarantee.end.now.help"))
        is_off = st.button(words("found.guarantee.give.up"), help=words("found.guarantee.give.up.help"))
    if is_ended or is_off:
        with errors():
            (certificate.cancel if is_off else certificate.finish)(ws, session)
            st.rerun()
