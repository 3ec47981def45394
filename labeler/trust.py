"""How far people's answers can be trusted, on the Team page: known ones, doubts, agreement, examples."""

from typing import TYPE_CHECKING

import streamlit as st

from labeler import disputes, gold, loop, reader, tutorial, ui, wording
from labeler.domain import Session
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.agreement import Agreement


def known_answers(ws: Workspace, session: Session) -> None:
    """Draw how many images with a known answer are mixed in, and let the owner add settled ones."""
    found, words = gold.look(ws, session), reader.words()
    each = ", ".join(f"{n:,} {ui.plain(words.answer(name))}" for name, n in found.by_label.items())
    st.markdown(words.count("team.gold.each" if found.ready else "team.gold.n", found.ready, each=each))
    if found.waiting:
        st.caption(words.count("team.gold.waiting", found.waiting))
    with st.form("gold", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.number_input(words("team.gold.add"), 0, gold.MOST, 0, width=160)
        told = st.checkbox(words("team.gold.tell"), session.gold_feedback)
        if st.form_submit_button(words("team.set")):
            with ui.errors():
                loop.set_gold_feedback(ws, session, told)
                if wanted:
                    n = gold.settle(ws, session, int(wanted))
                    ui.say(words.count("team.gold.added", n) if n else words("team.gold.none"))
                st.rerun()
    st.caption(words("team.gold.why"))


@st.fragment(run_every=disputes.LATELY_S)
def doubtful(ws: Workspace, session: Session) -> None:
    """Draw whose answers may be worth a look, and why."""
    words = reader.words()
    with ui.errors():
        for doubt in disputes.lately(ws, session).doubts:
            title = words.count("team.doubt", doubt.answers, name=doubt.name, person=doubt.person)
            with st.expander(title):
                for text in doubt.says:
                    st.text(words.said(text))
                st.caption(words("team.doubt.why"))
    ws.close()


@st.fragment(run_every=disputes.LATELY_S)
def agreement(ws: Workspace, session: Session) -> None:
    """Draw how much people agree, what they differ about, and whose answers may be worth a look."""
    with ui.errors():
        agreed(session, disputes.lately(ws, session))
    ws.close()


def agreed(session: Session, known: disputes.Lately) -> None:
    """Draw how people agreed a moment ago."""
    whole, labels, words = known.whole, known.labels, reader.words()
    if whole is None:
        st.caption(words("team.agree.none"))
        return
    rows = "".join(
        f"| {ui.plain(words.answer(name))} | {wording.rounded(float(one.share[0]))} % | {alpha(one)} |\n"
        for name, one in zip(session.labels, labels, strict=False)
    )
    st.markdown(words.count("team.agree.all", whole.items, alpha=alpha(whole)))
    head = " | ".join(words(f"team.agree.{name}") for name in ("answer", "share", "alpha"))
    st.markdown(f"| {head} |\n|---|---|---|\n{rows}")
    st.caption(words("team.agree.why"))
    if known.spans:
        st.markdown(words("team.agree.spans"))
        head = " | ".join(words(f"team.agree.{name}") for name in ("until", "images", "alpha"))
        rows = "".join(
            f"| {span.until.astimezone():%Y-%m-%d %H:%M} | {span.known.items:,} | {alpha(span.known)} |\n"
            for span in known.spans
        )
        st.markdown(f"| {head} |\n|---|---|---|\n{rows}")
    if known.disputed:
        st.markdown(words.count("team.disputed", known.disputed))
        st.link_button(words("team.disputed.go"), f"disputes?session={session.id}")


def alpha(known: "Agreement") -> str:
    """Return alpha with its interval, in words."""
    words = reader.words()
    if known.alpha is None:
        return words("team.agree.nothing")
    if known.low is None or known.high is None:
        return f"{known.alpha:.2f}"
    low, high = f"{known.low:.2f}", f"{known.high:.2f}"
    return words("team.agree.range", alpha=f"{known.alpha:.2f}", low=low, high=high)


def examples(ws: Workspace, session: Session) -> None:
    """Draw the examples that newcomers see first: made by one press, explained by the owner if they like."""
    lessons, words = tutorial.load(ws, session), reader.words()
    st.caption(words("team.lessons.there" if lessons else "team.lessons.why"))
    if lessons:
        lessons_form(ws, session, lessons)
    with st.container(horizontal=True):
        if st.button(words("team.lessons.others" if lessons else "team.lessons.make")):
            with ui.errors():
                tutorial.make(ws, session)
                st.rerun()
        if lessons and st.button(words("team.lessons.none")):
            tutorial.clear(ws, session)
            st.rerun()


def lessons_form(ws: Workspace, session: Session, lessons: list[tutorial.Lesson]) -> None:
    """Draw each example with its answer and a line for why."""
    words, stamp = reader.words(), ws.store.fact("stamp") or ""
    mark = "-".join(str(one.item) for one in lessons)
    with st.form(f"lessons{mark}", border=False):
        whys = []
        for i, one in enumerate(lessons):
            picture, beside = st.columns([1, 5], vertical_alignment="center")
            address = f"tiles/{one.item}?w=256&v={stamp}"
            picture.html(f'<img alt="" src="{address}" style="width:100%;border-radius:10px;display:block">')
            label = words.answer(session.labels[one.label])
            whys.append(
                beside.text_input(
                    f"{i + 1}. {ui.plain(label)}",
                    one.why,
                    max_chars=tutorial.LONGEST,
                    placeholder=words("team.lessons.because"),
                )
            )
        if st.form_submit_button(words("team.lessons.save")):
            with ui.errors():
                tutorial.explain(ws, session, whys)
                ui.say(words("team.lessons.saved"))
                st.rerun()
