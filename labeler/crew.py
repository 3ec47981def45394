"""The panels of the Team page (Streamlit): links with their QR codes, and who takes part."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from labeler import gold, inviting, loop, members, people, places, reach, reader, ui, wording, worker
from labeler.domain import AUTO_VOTES, LONGEST_NOTICE, MOST_VOTES, Role, Session, State
from labeler.links import Link
from labeler.workspace import Workspace

ROLES: tuple[Role, ...] = ("swipe", "review", "own")
LASTS = (1, 7, 30, 365)  # days
PRESENT_S = 120.0
LOOK_S = 2


def address(ws: Workspace) -> str:
    """Return the address under which others reach this server; empty where they can't."""
    running = worker.current()
    return ws.address if running is not None and reach.current().shared else ""


def how_to_share(ws: Workspace) -> None:
    """Draw how a server is started that others can reach."""
    words = reader.words()
    st.caption(words("team.share"))
    st.link_button(words("team.share.go"), "share", icon=":material/wifi_tethering:", type="primary")
    st.caption(words("team.share.typed"))
    images = "" if loop.is_drawn(ws) else f"{places.start_words(ws)} "
    typed(f"labeler start {images}--share")


def invitation(ws: Workspace, session: Session, url: str) -> None:
    """Draw the newest link that can still be shown, with its QR code, and the form of another one."""
    words, shown = reader.words(), shown_link(ws)
    if shown is not None:
        link_card(shown, url)
    with st.expander(words("team.link"), expanded=shown is None), st.form("invite", border=False):
        role = st.selectbox(words("team.link.role"), ROLES, format_func=lambda r: words(f"team.{r}"))
        lasts = st.selectbox(
            words("team.link.lasts"), LASTS, 1, format_func=lambda days: words(f"team.lasts.{days}")
        )
        most = st.number_input(words("team.link.most"), 0, 100_000, 0)
        one = len(loop.sessions(ws)) > 1 and st.checkbox(words("team.link.one"))
        if st.form_submit_button(words("team.link"), type="primary"):
            asked = session.id if one else None
            seconds = lasts * inviting.DAY_S
            people.make_link(ws, role, lasts_s=seconds, most=most or None, session=asked, made_with="team")
            st.rerun()


def shown_link(ws: Workspace) -> Link | None:
    """Return the newest link that can still be shown: it is open, and this process knows its code."""
    now = time.time()
    return next((x for x in ws.roster.links() if x.shut(now) is None and people.code_of(x.id)), None)


def link_card(link: Link, url: str) -> None:
    """Draw one link whose code is known, large enough for a camera across a table."""
    join = people.join_url(url, people.code_of(link.id) or "")
    words = reader.words()
    picture, beside = st.columns([2, 3], vertical_alignment="center")
    picture.image(qr_png(join), width=260)
    with beside:
        may, said = words(f"team.{link.role}"), inviting.describe(link, words)
        st.caption(words("team.link.may", may=may, said=said))
        typed(join)
        if not url.startswith("https://"):
            st.caption(words("team.link.near"))


def typed(text: str) -> None:
    """Draw what somebody copies or types."""
    with st.container(key="typed"):
        st.text(text)


def qr_png(url: str) -> bytes:
    """Return the QR code of an address as PNG."""
    import io

    import segno

    out = io.BytesIO()
    segno.make(url, error="m").save(out, kind="png", scale=8, border=4)
    return out.getvalue()


def links(ws: Workspace, url: str) -> None:
    """Draw all links that were made, each with what it takes to withdraw it; url: where others reach us."""
    known, words = ws.roster.links(), reader.words()
    shown = shown_link(ws) if url else None
    st.caption(words("team.link.stay" if known else "team.link.none"))
    if (earlier := len(ws.roster.earlier_links())) and st.button(words.count("team.link.earlier", earlier)):
        ws.roster.withdraw_earlier()
        st.rerun()
    for link in known[:50]:
        with st.container(horizontal=True, vertical_alignment="center", key=f"link{link.id}"):
            said = inviting.describe_made(link, words, is_shown=shown is not None and link.id == shown.id)
            st.text(f"{link.id}: {words(f'team.role.{link.role}')}, {said}")
            is_open = link.shut(time.time()) is None
            if is_open and st.button(words("team.link.withdraw"), key=f"withdraw{link.id}"):
                ws.roster.withdraw(link.id)
                st.rerun()


@st.fragment(run_every=LOOK_S)
def now(ws: Workspace, session: Session) -> None:
    """Draw how the work goes on, again every two seconds."""
    words = reader.words()
    with ui.errors():
        facts = loop.session_status(ws, session)
        images = loop.pool_counts(ws)[2]
        answered = sum(n for name, n in facts["counts"].items() if name != "skip")
        with st.container(horizontal=True, key="figures"):
            st.metric(words("team.on.now"), f"{ws.journal.count_people(session.id, PRESENT_S):,}")
            st.metric(words("team.answers.minute"), f"{facts['per_minute']:,}")
            st.metric(words("team.found"), f"{facts['found']:,}")
            st.metric(words("team.looked.at"), wording.at_least(answered / images) if images else "—")
        if session.votes > 1:
            done = words.count("team.finished.done", facts["finished"])
            waiting = words.count("team.finished.open", facts["unfinished"])
            st.caption(words("team.finished", done=done, open=waiting))
        if session.goal == "find":
            said = wording.found(facts["found"], facts["estimate"], words)
            st.caption(f"{words.answer(session.target)}: {said}.")
    ws.close()


def screen(session: Session) -> None:
    """Draw the way to the page for a whole room."""
    words = reader.words()
    st.link_button(words("team.screen"), f"screen?session={session.id}", icon=":material/tv:")
    st.caption(words("team.screen.why"))


STATES: tuple[State, ...] = ("open", "paused", "closed")


def asking(ws: Workspace, session: Session) -> None:
    """Draw how the question is put, what people are told beside it, and whether cards are dealt."""
    words = reader.words()
    with st.form("asking", border=False):
        shown = words.question(session.question)
        question = st.text_input(words("team.question"), shown, max_chars=300)
        notice = st.text_input(words("team.message"), session.notice, max_chars=LONGEST_NOTICE)
        at = STATES.index(session.state)
        state = st.radio(words("team.state"), STATES, at, format_func=lambda s: words(f"team.{s}"))
        if st.form_submit_button(words("team.set")):
            with ui.errors():
                loop.set_question(ws, session, session.question if question == shown else question)
                loop.set_state(ws, session, state, notice)
                st.rerun()


def votes_form(ws: Workspace, session: Session) -> None:
    """Draw how many people each image is put to, and let the owner change it."""
    words = reader.words()
    by_answers = (session.votes, session.least) if session.is_open else AUTO_VOTES
    with st.form("votes", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.number_input(words("team.votes"), 1, MOST_VOTES, session.votes, width=160)
        is_auto = st.checkbox(words("team.votes.auto"), session.is_open)
        if st.form_submit_button(words("team.set")):
            with ui.errors():
                most, least = by_answers if is_auto else (int(wanted), 0)
                loop.set_votes(ws, session, most, least)
                ui.stir(session)
                st.rerun()
    st.caption(words("team.votes.why", least=by_answers[1], most=by_answers[0]))


@st.fragment(run_every=LOOK_S)
def everybody(ws: Workspace) -> None:
    """Draw who takes part, who answered last first, again every two seconds."""
    words = reader.words()
    with ui.errors():
        known = [one for one in members.everybody(ws) if one["answers"] or one["role"] != "own"]
        known.sort(key=lambda one: one["last_at"] or "", reverse=True)
        if not known:
            st.caption(words("team.everybody.none"))
            return
        names = " | ".join(words(f"team.{n}") for n in ("nickname", "may", "answers", "last", "number"))
        head = f"| | {names} |\n|---|---|---|---|---|---|\n"
        st.markdown(head + "".join(map(person_row, known[:500])))
        if len(known) > 500:
            st.caption(words.count("team.everybody.more", len(known) - 500))
    ws.close()


def person_row(one: dict[str, Any]) -> str:  # Any: JSON
    """Return a row of the table, as Markdown."""
    cells = (
        "●" if is_on(one["last_at"]) else "", ui.plain(one["name"]), reader.words()(f"team.{one['role']}"),
        f"{one['answers']:,}", ago(one["last_at"]), str(one["person"]),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def is_on(last: str | None) -> bool:
    """Return whether somebody whose last answer came then is taken to be on."""
    return last is not None and datetime.now(UTC) - datetime.fromisoformat(last) < timedelta(
        seconds=PRESENT_S
    )


def ago(last: str | None) -> str:
    """Return how long ago a time is, in words."""
    words = reader.words()
    if last is None:
        return words("team.ago.never")
    seconds = (datetime.now(UTC) - datetime.fromisoformat(last)).total_seconds()
    for size, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return words(f"team.ago.{name}", n=f"{seconds / size:.0f}")
    return words("team.ago.now")


def one_person(ws: Workspace, session: Session) -> None:
    """Draw how right one person is on gold, and what the owner may do: export, send away, erase."""
    known = {p.id: p for p in ws.roster.people() if p.id != loop.owner(ws)}
    if not known:
        return
    words = reader.words()
    with st.expander(words("team.one")):
        number = st.selectbox(
            words("team.one.who"),
            list(known),
            format_func=lambda n: f"{known[n].name} ({n})",
            index=None,
            key="who",
        )
        if number is None:
            st.caption(words("team.one.choose"))
            return
        right, n = gold.rightness(ws, session, number)
        if n:
            st.markdown(words("team.one.gold", right=f"{right:,}", n=f"{n:,}"))
        may_form(ws, number, known[number].role)
        with st.container(horizontal=True):
            st.download_button(
                words("team.export"), json.dumps(members.kept_of(ws, number), indent=1, ensure_ascii=False),
                f"person-{number}.json", "application/json",
            )  # fmt: skip
            if st.button(words("team.send.away"), help=words("team.send.away.help")):
                act(members.send_away, ws, number, words("team.send.away.done"))
            if st.button(words("team.erase"), help=words("team.erase.help")):
                act(members.erase, ws, number, words("team.erase.done"))


def may_form(ws: Workspace, number: int, held: Role) -> None:
    """Let the owner choose what somebody may do; who becomes an owner gets a link for another device."""
    words = reader.words()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        role = st.selectbox(
            words("team.may"), ROLES, ROLES.index(held), format_func=lambda r: words(f"team.{r}"),
            key=f"may{number}", width=320,
        )  # fmt: skip
        if st.button(words("team.may.set"), disabled=role == held):
            with ui.errors():
                known = members.set_role(ws, number, role)
                ui.say(words("team.may.now", name=known.name, may=words(f"team.{role}")))
                if role == "own":
                    st.session_state["handed"] = known.name, members.link_of(ws, known)
                st.rerun()


def handed(url: str) -> None:
    """Show once the link of somebody who has just become an owner."""
    name, code = st.session_state.pop("handed", ("", ""))
    if code and url:
        st.markdown(reader.words()("team.handed", name=ui.plain(name)))
        typed(people.join_url(url, code))


def act(do: Any, ws: Workspace, number: int, said: str) -> None:  # Any: a function of members
    """Do something about a person, say so, and draw the page anew."""
    with ui.errors():
        do(ws, number)
        ui.say(said)
        st.session_state.pop("who", None)
        st.rerun()
