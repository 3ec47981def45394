"""What somebody who may answer tries beyond that: forged and replayed events, a flood of either."""

import uuid

import pytest

from labeler import loop, people
from tests.pools import make_pool
from tests.served import answer, begin, cards_of, served, visit
from tests.test_joining import joined


@pytest.fixture
def ws(tmp_path):
    ws = make_pool(tmp_path, 60)
    yield ws
    ws.close()


@pytest.fixture
def app(ws, monkeypatch):
    begin(ws)
    with served(ws, monkeypatch) as (app, _):
        yield app


def send(client, *events, **query):
    return client.post("/api/labels", json={"events": list(events)}, params=query).json()


def test_a_card_that_is_claimed_and_not_of_this_item_or_question_lends_an_answer_nothing(app, ws):
    """What was drawn at random counts for honest figures: nobody may say so of an item of their choice."""
    ann = visit(app)
    drawn = next(c for c in cards_of(ann, n=20) if c["p_chosen"] < 1)
    other = next(i for i in range(60) if i != drawn["item"])
    asked = loop.get_session(ws)
    elsewhere = loop.new_session(ws, "Another?", ["yes", "no"])
    loop.learn(ws, elsewhere)
    (foreign,) = cards_of(ann, n=1, session=elsewhere.id)
    loop.use_session(ws, asked)
    forged = [
        answer(other, card=drawn["card"]),
        answer(foreign["item"], card=foreign["card"]),
        answer(other, "no", card=10**9),
    ]
    for event in forged:
        assert send(ann, event, session=asked.id)["accepted"] == 1
    stored = {e.id: e for e in ws.journal.log(asked)}
    assert set(stored) == {e["id"] for e in forged}
    assert {(e.card, e.reason, e.p_chosen, e.round) for e in stored.values()} == {(None, None, None, None)}
    assert ws.journal.count_events(elsewhere.id) == 0


def test_what_a_client_says_of_chance_reason_or_person_is_not_listened_to(app, ws):
    ann = visit(app)
    card = cards_of(ann, n=1)[0]
    lies = {"p_chosen": 0.001, "reason": "audit", "person": 99, "round": 7, "seq": 1, "received_at": "1999"}
    assert send(ann, answer(card["item"], card=card["card"]) | lies)["accepted"] == 1
    (event,) = ws.journal.log(loop.get_session(ws))
    dealt = next(p for p in ws.store.picks(1, card["round"]) if p.item == card["item"])
    assert (event.reason, event.p_chosen, event.round) == (dealt.reason, dealt.p_chosen, card["round"])


def test_a_thousand_replays_are_stored_once_by_whoever_sends_them(app, ws):
    ann, bob = visit(app), visit(app)
    event = answer(3)
    assert send(ann, event)["accepted"] == 1
    for client in (ann, bob):
        for _ in range(10):
            assert send(client, *[event] * 50) == {"accepted": 0, "duplicates": 50, "rejected": []}
    (stored,) = ws.journal.log(loop.get_session(ws))
    assert stored.item == 3


def test_an_undo_that_is_replayed_takes_back_no_more(app, ws):
    ann = visit(app)
    send(ann, answer(1), answer(2), answer(3))
    undo = {"id": str(uuid.uuid4())}
    items = {ann.post("/api/undo", json=undo).json()["item"] for _ in range(5)}
    assert items == {3}
    assert loop.session_status(ws, loop.get_session(ws))["counts"]["yes"] == 2


def test_an_answer_under_another_persons_card_ends_nothing_of_theirs(ws, monkeypatch):
    """Else an image that two were asked about would get a third answer."""
    asked = loop.new_session(ws, "How many?", ["yes", "no"], votes=2)
    loop.learn(ws, asked)
    code, _ = people.make_link(ws, "swipe", lasts_s=60)
    with served(ws, monkeypatch, shared=True) as (app, _):
        ann, bob, cem = (joined(app, code, name) for name in ("Ann", "Bob", "Cem"))
        card = cards_of(ann, n=1)[0]
        assert send(bob, answer(card["item"], "no", card["card"]))["accepted"] == 1
        assert ann.get("/api/cards", params={"n": 1, "have": card["card"]}).json()["gone"] == []
        assert card["item"] not in {c["item"] for c in cards_of(cem, n=60)}
        assert send(ann, answer(card["item"], "yes", card["card"]))["accepted"] == 1
    assert ws.journal.votes_of(asked.id, [card["item"]]) == {card["item"]: (2, True)}


def test_taking_back_under_another_persons_card_does_not_move_it(app, ws):
    ann, bob = visit(app), visit(app)
    card = cards_of(ann, n=1)[0]
    send(ann, answer(card["item"], "yes", card["card"]))
    send(bob, answer(card["item"], None, card["card"]))
    again = ann.post("/api/undo", json={"id": str(uuid.uuid4())}).json()["card"]
    assert again["card"] == card["card"]
    assert card["card"] not in {c["card"] for c in cards_of(bob, n=60)}
    assert card["card"] in {c["card"] for c in cards_of(ann, n=20)}


def test_answers_of_two_questions_in_one_group_go_each_to_its_own(app, ws):
    ann, asked = visit(app), loop.get_session(ws)
    other = loop.new_session(ws, "Another?", ["yes", "no", "both"])
    loop.learn(ws, other)
    (one,), (two,) = (cards_of(ann, n=1, session=session.id) for session in (asked, other))
    events = [answer(one["item"], card=one["card"]), answer(two["item"], "both", two["card"])]
    events += [answer(one["item"], "both", one["card"]), events[0]]
    told = send(ann, *events)
    assert (told["accepted"], told["duplicates"], [r["id"] for r in told["rejected"]]) == (
        2,
        1,
        [events[2]["id"]],
    )
    assert [e.answer for e in ws.journal.log(asked)] == ["yes"]
    assert [e.answer for e in ws.journal.log(other)] == ["both"]


def test_what_is_taken_back_is_shown_again_on_a_card_of_ones_own(app):
    ann, bob = visit(app), visit(app)
    card = cards_of(ann, n=1)[0]
    send(bob, answer(card["item"], "no", card["card"]))
    undo = {"id": str(uuid.uuid4())}
    first, second = (bob.post("/api/undo", json=undo).json() for _ in range(2))
    assert first == second
    assert (first["item"], first["label"]) == (card["item"], "no")
    assert first["card"]["card"] != card["card"]
