"""The panels of the Team page (Streamlit): links with their QR codes, and who takes part."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import streamlit as st

from labeler import disputes, inviting, loop, members, people, places, reach, ui, wording, worker
from labeler.domain import AUTO_VOTES, LONGEST_NOTICE, MOST_VOTES, Role, Session, State
from labeler.roster import Link
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.agreement import Agreement

ROLES: dict[Role, str] = {
    "swipe": "answer cards",
    "review": "answer, judge disputes, search",
    "own": "do everything",
}
LASTS = {"1 day": 1.0, "7 days": 7.0, "30 days": 30.0, "1 year": 365.0}
PRESENT_S = 120.0
LOOK_S = 2


def address(ws: Workspace) -> str:
    """Return the address under which others reach this server; empty where they can't."""
    running = worker.current()
    return ws.address if running is not None and reach.current().shared else ""


def how_to_share(ws: Workspace) -> None:
    """Draw how a server is started that others can reach."""
    st.caption("This server answers this computer only. To let others join, stop it and start it so:")
    images = "" if loop.is_drawn(ws) else f"{places.start_words(ws)} "
    typed(f"labeler start {images}--share")


def invitation(ws: Workspace, session: Session, url: str) -> None:
    """Draw the newest link that can still be shown, with its QR code, and the form of another one."""
    now = time.time()
    shown = next(
        (link for link in ws.roster.links() if link.shut(now) is None and people.code_of(link.id)), None
    )
    if shown is not None:
        link_card(shown, url)
    with st.expander("Make a link", expanded=shown is None), st.form("invite", border=False):
        role = st.selectbox("Whoever has it may", list(ROLES), format_func=lambda r: ROLES[r])
        lasts = st.selectbox("It lets people in for", list(LASTS), 1)
        most = st.number_input("At most so many (0: any number)", 0, 100_000, 0)
        one = len(loop.sessions(ws)) > 1 and st.checkbox("For this question alone, not the newest")
        if st.form_submit_button("Make a link", type="primary"):
            asked = session.id if one else None
            people.make_link(ws, role, lasts_s=LASTS[lasts] * 86_400, most=most or None, session=asked)
            st.rerun()


def link_card(link: Link, url: str) -> None:
    """Draw one link whose code is known, large enough for a camera across a table."""
    join = people.join_url(url, people.code_of(link.id) or "")
    picture, words = st.columns([2, 3], vertical_alignment="center")
    picture.image(qr_png(join), width=260)
    with words:
        st.caption(f"Whoever opens it may {ROLES[link.role]}; {inviting.describe(link)}")
        typed(join)
        if not url.startswith("https://"):
            st.caption("It works in the same network.")


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


def links(ws: Workspace) -> None:
    """Draw all links that were made, each with what it takes to withdraw it."""
    known = ws.roster.links()
    if not known:
        st.caption("No links were made yet.")
    for link in known[:50]:
        with st.container(horizontal=True, vertical_alignment="center", key=f"link{link.id}"):
            st.text(f"{link.id}: {link.role}, {inviting.describe(link)}")
            if link.shut(time.time()) is None and st.button("Withdraw", key=f"withdraw{link.id}"):
                ws.roster.withdraw(link.id)
                st.rerun()


@st.fragment(run_every=LOOK_S)
def now(ws: Workspace, session: Session) -> None:
    """Draw how the work goes on, again every two seconds."""
    with ui.errors():
        facts = loop.session_status(ws, session)
        images = loop.pool_counts(ws)[2]
        answered = sum(n for name, n in facts["counts"].items() if name != "skip")
        with st.container(horizontal=True, key="figures"):
            st.metric("On now", f"{ws.journal.count_people(session.id, PRESENT_S):,}")
            st.metric("Answers a minute", f"{facts['per_minute']:,}")
            st.metric("Found", f"{facts['found']:,}")
            st.metric("Looked at", wording.at_least(answered / images) if images else "—")
        if session.votes > 1:
            st.caption(
                f"{facts['finished']:,} images have all their answers, {facts['unfinished']:,} wait for more."
            )
        if session.goal == "find":
            st.caption(f"{session.target}: {wording.found(facts['found'], facts['estimate'])}.")
    ws.close()


STATES: dict[State, str] = {
    "open": "Open: everybody gets cards",
    "paused": "Paused: others get none for now",
    "closed": "Closed: others get none any more",
}


def asking(ws: Workspace, session: Session) -> None:
    """Draw how the question is put, what people are told beside it, and whether cards are dealt."""
    with st.form("asking", border=False):
        question = st.text_input("Question", session.question, max_chars=300)
        notice = st.text_input("Message of the day", session.notice, max_chars=LONGEST_NOTICE)
        states = list(STATES)
        state = st.radio("State", states, states.index(session.state), format_func=lambda s: STATES[s])
        if st.form_submit_button("Set"):
            with ui.errors():
                loop.set_question(ws, session, question)
                loop.set_state(ws, session, state, notice)
                st.rerun()


def votes_form(ws: Workspace, session: Session) -> None:
    """Draw how many people each image is put to, and let the owner change it."""
    with st.form("votes", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.number_input("People for each image", 1, MOST_VOTES, session.votes, width=160)
        is_auto = st.checkbox("As many as it takes", session.is_open)
        if st.form_submit_button("Set"):
            with ui.errors():
                most, least = AUTO_VOTES if is_auto else (int(wanted), 0)
                loop.set_votes(ws, session, most, least)
                ui.stir(session)
                st.rerun()
    st.caption(
        "Each image goes to so many different people, or to two and more until it is clear what it shows;"
        " your own answer ends it. Who is right more often weighs more."
    )


def agreement(ws: Workspace, session: Session) -> None:
    """Draw how much people agree, what they differ about, and whose answers may be worth a look."""
    known = disputes.agree(ws, session)
    if known is None:
        st.caption("Nothing was answered by two people yet.")
        return
    whole, labels = known
    rows = "".join(
        f"| {ui.plain(name)} | {wording.rounded(float(one.share[0]))} % | {alpha(one)} |\n"
        for name, one in zip(session.labels, labels, strict=False)
    )
    st.markdown(f"Krippendorff’s alpha: **{alpha(whole)}**, over {whole.items:,} images.")
    st.markdown(f"| answer | share of the votes | alpha |\n|---|---|---|\n{rows}")
    st.caption(
        "1: all agree. 0: no more than chance brings. The rarer an answer is, the lower is alpha for people"
        " who are right as often."
    )
    waiting = disputes.queue(ws, session)
    if waiting:
        st.markdown(f"{len(waiting):,} images are disputed.")
        st.link_button("Judge them, least settled first", f"disputes?session={session.id}")
    for doubt in disputes.doubts(ws, session):
        with st.expander(f"{doubt.name} ({doubt.person}): {doubt.answers:,} answers, worth a look"):
            for text in doubt.says:
                st.text(text)
            st.caption("Nothing is deleted: such answers weigh little. “One person” above ends their access.")


def alpha(known: "Agreement") -> str:
    """Return alpha with its interval, in words."""
    if known.alpha is None:
        return "nothing to agree on"
    if known.low is None or known.high is None:
        return f"{known.alpha:.2f}"
    return f"{known.alpha:.2f} ({known.low:.2f} to {known.high:.2f})"


@st.fragment(run_every=LOOK_S)
def everybody(ws: Workspace) -> None:
    """Draw who takes part, who answered last first, again every two seconds."""
    with ui.errors():
        known = [one for one in members.everybody(ws) if one["answers"] or one["role"] != "own"]
        known.sort(key=lambda one: one["last_at"] or "", reverse=True)
        if not known:
            st.caption("Nobody has answered yet.")
            return
        head = "| | Nickname | May | Answers | Last | Number |\n|---|---|---|---|---|---|\n"
        st.markdown(head + "".join(map(person_row, known[:500])))
        if len(known) > 500:
            st.caption(f"And {len(known) - 500:,} more: labeler people lists all.")
    ws.close()


def person_row(one: dict[str, Any]) -> str:  # Any: JSON
    """Return a row of the table, as Markdown."""
    cells = (
        "●" if is_on(one["last_at"]) else "", ui.plain(one["name"]), ROLES[cast(Role, one["role"])],
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
    if last is None:
        return "never"
    seconds = (datetime.now(UTC) - datetime.fromisoformat(last)).total_seconds()
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name} ago"
    return "now"


def one_person(ws: Workspace) -> None:
    """Draw what the owner may do about one person: export what is kept, send away, erase."""
    known = {p.id: p for p in ws.roster.people() if p.id != loop.owner(ws)}
    if not known:
        return
    with st.expander("One person"):
        number = st.selectbox(
            "Who", list(known), format_func=lambda n: f"{known[n].name} ({n})", index=None, key="who"
        )
        if number is None:
            st.caption("Choose somebody to export or erase what is kept of them, or to end their access.")
            return
        with st.container(horizontal=True):
            st.download_button(
                "Export what is kept", json.dumps(members.kept_of(ws, number), indent=1, ensure_ascii=False),
                f"person-{number}.json", "application/json",
            )  # fmt: skip
            if st.button("Send away", help="Ends their access; their answers stay."):
                act(members.send_away, ws, number, "Sent away.")
            if st.button("Erase", help="Forgets the name and the devices; the answers stay, under a number."):
                act(members.erase, ws, number, "Erased.")


def act(do: Any, ws: Workspace, number: int, said: str) -> None:  # Any: a function of members
    """Do something about a person, say so, and draw the page anew."""
    with ui.errors():
        do(ws, number)
        ui.say(said)
        st.session_state.pop("who", None)
        st.rerun()
