"""Cards that are asked a second time: how they come up, what their answers count for, what they tell."""

import csv
import uuid
from dataclasses import replace

import numpy as np
import pytest

from labeler import drawing, loop
from labeler.domain import Pick
from tests.pools import event, is_target, make_pool
from tests.test_journal import NOW, lease, make_round


@pytest.fixture
def ws(tmp_path):
    ws = make_pool(tmp_path, 1200)
    yield ws
    ws.close()


def begin(ws, share=0.9):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    return ws.store.set_target(session, share)


def answer_round(ws, session, person, say=None):
    """Answer 20 cards rightly, those asked again with `say`; return them."""
    loop.learn(ws, session)
    cards = loop.next_cards(ws, session, person, 20, have=[])
    for c in cards:
        right = "yes" if is_target(c.item) else "no"
        loop.record(
            ws, session, person, [event(c.item, say if say and c.reason == "repeat" else right, c.id)]
        )
    return cards


def again(ws, session, item, before=("no",), number=1):
    """Deal an item again that was answered before; return the card."""
    people = [loop.owner(ws), *(ws.roster.add_person(f"p{i}", "own", f"p{i}{item}").id for i in (1, 2))]
    for who, label in zip(people, before, strict=False):
        ws.journal.add_events(session, who, [event(item, label)])
    deal_again(ws, session, item, number)
    (card,) = lease(ws, session, people[0], 1)
    assert (card.item, card.reason, card.p_chosen) == (item, "repeat", None)
    return card


def deal_again(ws, session, item, number):
    make_round(ws.store, session.id, number, [])
    conn = ws.store.conn
    conn.execute("INSERT INTO picks VALUES (?,?,0,?,'repeat',NULL,NULL)", (session.id, number, item))


# how they come up --------------------------------------------------------------------------


def test_a_small_part_of_the_cards_is_asked_again_50_cards_later_at_the_earliest(ws):
    ws.config = replace(ws.config, repeat_share=0.1)
    session, person = begin(ws), loop.owner(ws)
    at: dict[int, list[int]] = {}
    reasons = []
    for _ in range(30):
        for card in answer_round(ws, session, person):
            at.setdefault(card.item, []).append(len(reasons))
            reasons.append(card.reason)
    n = reasons.count("repeat")
    assert 30 <= n <= 90  # 10 % of 600, less at first
    twice = [places for places in at.values() if len(places) > 1]
    assert len(twice) == n
    assert max(len(places) for places in twice) == 2
    assert min(b - a for a, b in twice) >= 50
    assert len({c for c in reasons[:50] if c == "repeat"}) == 0
    status = loop.session_status(ws, session)
    assert status["cards_shown"] == 600
    assert sum(status["counts"].values()) == 600 - n
    assert status["found"] == sum(is_target(i) for i in at)
    assert ws.journal.repeats(session.id) == (n, 0)


@pytest.mark.parametrize("why", ["no target", "goal", "no share"])
def test_nothing_is_asked_again_where_nobody_wants_a_share_found(ws, why):
    session, person = begin(ws), loop.owner(ws)
    if why == "no target":
        session = ws.store.set_target(session, None)
    if why == "goal":
        session = loop.set_goal(ws, session, "classify")
    ws.config = replace(ws.config, repeat_share=0 if why == "no share" else 0.3)
    for _ in range(8):
        assert "repeat" not in {c.reason for c in answer_round(ws, session, person)}


def test_they_are_drawn_evenly_and_the_other_cards_stay_the_same(ws):
    session = begin(ws)
    person = loop.owner(ws)
    for _ in range(6):
        answer_round(ws, session, person)
    loop.learn(ws, session)
    made = ws.store.rounds(session.id)[-1]
    material = drawing.Material.load(ws.round_file(session.id, made.number))
    assert set(material.again.tolist()) <= set(ws.journal.answers(session.id).items.tolist())
    assert 50 <= len(material.again) <= 70
    picks = [Pick(i, "find", 1.0, None) for i in range(2000, 2100)]
    times = np.zeros(1200)
    for seed in range(2000):
        out = drawing.with_repeats(picks, replace(material, repeat_share=0.1), seed)
        assert [p for p in out if p.reason != "repeat"] == picks
        times[[p.item for p in out if p.reason == "repeat"]] += 1
    each = times[material.again]
    assert times.sum() == each.sum()
    assert each.sum() == pytest.approx(2000 * 100 / 9, rel=0.02)
    assert np.abs(each / each.mean() - 1).max() < 0.25


def test_a_round_with_repeats_is_drawn_again_the_same(ws):
    ws.config = replace(ws.config, repeat_share=0.2)
    session, person = begin(ws), loop.owner(ws)
    for _ in range(7):
        answer_round(ws, session, person)
    made = loop.learn(ws, session)
    picks = ws.store.picks(session.id, made.number)
    assert "repeat" in {p.reason for p in picks}
    answer_round(ws, session, person, say="no")
    ws.store.set_target(session, None)
    ws.config = replace(ws.config, repeat_share=0.0)
    ws.catalog.mark_absent([p.item for p in picks][:30])
    assert drawing.draw_again(ws, session, made) == picks


# dealing -----------------------------------------------------------------------------------


def test_a_repeat_is_held_extended_and_gone_like_any_card(ws):
    session = begin(ws)
    ann = loop.owner(ws)
    bob = ws.roster.add_person("bob", "own", "bob").id
    card = again(ws, session, 7)
    assert lease(ws, session, bob, 5) == []
    assert ws.dealing.gone_cards(session.id, ann, [card.id], NOW) == []
    lease(ws, session, ann, 5, have=[card.id], now=NOW + 250)
    assert lease(ws, session, bob, 5, now=NOW + 400) == []  # its lease was extended
    assert [c.id for c in lease(ws, session, ann, 5, have=None, now=NOW + 401)] == [card.id]  # a reload
    (other,) = lease(ws, session, bob, 5, now=NOW + 800)
    assert (other.item, other.reason) == (7, "repeat")
    assert ws.dealing.gone_cards(session.id, ann, [card.id], NOW + 801) == [card.id]
    ws.journal.add_events(session, bob, [event(7, "no", other.id)])
    assert ws.dealing.gone_cards(session.id, bob, [other.id], NOW + 802) == [other.id]
    assert lease(ws, session, ann, 5, have=None, now=NOW + 1200) == []
    assert lease(ws, session, bob, 5, have=None, now=NOW + 1300) == []


def test_an_item_whose_file_is_gone_or_whose_answer_was_taken_back_is_not_asked_again(ws):
    session, ann = begin(ws), loop.owner(ws)
    ws.journal.add_events(session, ann, [event(7, "no"), event(8, "no")])
    deal_again(ws, session, 7, 1)
    ws.catalog.mark_absent([7])
    assert lease(ws, session, ann, 5) == []
    deal_again(ws, session, 8, 2)
    ws.journal.take_back(session.id, ann, [8])
    assert lease(ws, session, ann, 5) == []


def test_skip_on_a_repeat_takes_nothing_back_and_is_not_asked_a_third_time(ws):
    session, ann = begin(ws), loop.owner(ws)
    card = again(ws, session, 10, before=("yes",))
    ws.journal.add_events(session, ann, [event(10, "skip", card.id)])
    assert ws.journal.counts(session) == {"yes": 1, "no": 0, "unsure": 0, "skip": 0}
    assert ws.journal.votes(session.id).keys() == {(10, 0)}
    view = "SELECT kind, label FROM answers"
    assert [tuple(row) for row in ws.store.conn.execute(view)] == [("label", 0)]
    assert ws.journal.answers(session.id, ws.journal.last_event(session.id)).labels.tolist() == [0]
    assert ws.journal.count_shown(session.id) == 1
    assert lease(ws, session, ann, 5, now=NOW + 1000) == []
    assert ws.journal.repeats(session.id) == (0, 0)
    assert ws.journal.undo(session, ann, str(uuid.uuid4()), NOW, 300).label == "skip"
    assert ws.journal.counts(session)["yes"] == 1


def test_a_deck_that_takes_back_a_skip_of_a_repeat_leaves_what_was_said_before(ws):
    session, ann = begin(ws), loop.owner(ws)
    card = again(ws, session, 10, before=("yes",))
    ws.journal.add_events(session, ann, [event(10, "skip", card.id)])
    ws.journal.add_events(session, ann, [event(10, None, card.id)])
    assert ws.journal.counts(session)["yes"] == 1
    ws.journal.add_events(session, ann, [event(10, None)])
    assert ws.journal.counts(session)["yes"] == 0  # now the answer itself is taken back


# what they tell ----------------------------------------------------------------------------


def test_the_newest_answer_counts_once_and_the_first_reason_stays(ws):
    session, ann = begin(ws), loop.owner(ws)
    make_round(ws.store, session.id, 1, [10, 11])  # audit cards
    first = lease(ws, session, ann, 2)
    ws.journal.add_events(session, ann, [event(c.item, "yes", c.id) for c in first])
    deal_again(ws, session, 10, 2)
    (card,) = lease(ws, session, ann, 1)
    ws.journal.add_events(session, ann, [event(10, "no", card.id)])
    assert ws.journal.counts(session) == {"yes": 1, "no": 1, "unsure": 0, "skip": 0}
    assert ws.journal.count_shown(session.id) == 3
    items, why = ws.journal.reasons(session.id)
    assert (items.tolist(), why.tolist()) == ([10, 11], ["audit", "audit"])
    assert ws.journal.count_reason(session.id, "audit") == 2
    assert ws.journal.repeats(session.id) == (1, 1)
    undone = ws.journal.undo(session, ann, str(uuid.uuid4()), NOW, 300)
    assert (undone.item, undone.card.id) == (10, card.id)
    assert ws.journal.counts(session)["yes"] == 2
    assert ws.journal.repeats(session.id) == (0, 0)
    ws.journal.add_events(session, ann, [event(10, "yes", card.id)])
    assert ws.journal.repeats(session.id) == (1, 0)


def test_an_audit_card_that_is_put_right_in_review_stays_one(ws):
    session, ann = begin(ws), loop.owner(ws)
    make_round(ws.store, session.id, 1, [10, 11])
    cards = lease(ws, session, ann, 2)
    ws.journal.add_events(session, ann, [event(c.item, "no", c.id) for c in cards])
    loop.correct(ws, session, ann, 10, "yes")
    items, why = ws.journal.reasons(session.id)
    assert (items.tolist(), why.tolist()) == ([10, 11], ["audit", "audit"])
    loop.correct(ws, session, ann, 11, None)
    assert ws.journal.reasons(session.id)[0].tolist() == [10]


@pytest.mark.parametrize(
    ("before", "now", "pairs"),
    [
        (("no",), "no", (1, 0)),
        (("no",), "yes", (1, 1)),
        (("yes", "no"), "no", (1, 0)),  # what was said last
        (("yes", "unsure"), "yes", (0, 0)),
        (("maybe",), "no", (1, 0)),  # neither is the target
        (("maybe",), "yes", (1, 1)),
        (("yes",), "unsure", (0, 0)),
    ],
)
def test_pairs_are_a_label_before_and_a_label_now(ws, before, now, pairs):
    session = loop.start_session(ws, "Which?", ["yes", "no", "maybe"], "find")
    card = again(ws, session, 7, before=before)
    ws.journal.add_events(session, loop.owner(ws), [event(7, now, card.id)])
    assert ws.journal.repeats(session.id) == pairs


def test_another_persons_answer_to_a_repeat_makes_a_pair_too(ws):
    session = begin(ws)
    bob = ws.roster.add_person("bob", "own", "bob").id
    card = again(ws, session, 7)
    ws.journal.add_events(session, bob, [event(7, "yes", card.id)])
    assert ws.journal.repeats(session.id) == (1, 1)
    assert ws.journal.counts(session) == {"yes": 1, "no": 0, "unsure": 0, "skip": 0}


def test_the_estimate_hears_of_answers_that_differ(ws):
    ws.config = replace(ws.config, repeat_share=0.2)
    said = []
    for wrong in (False, True):
        session = loop.new_session(ws, f"Is it, {wrong}?", ["yes", "no"], seed=7)
        session, person = ws.store.set_target(session, 0.9), loop.owner(ws)
        for _ in range(9):
            for c in answer_round(ws, session, person):
                if wrong and c.reason == "repeat":  # "no" where it was "yes", and the other way round
                    other = "no" if is_target(c.item) else "yes"
                    loop.record(ws, session, person, [event(c.item, other, c.id)])
        said.append((ws.journal.repeats(session.id), loop.learn(ws, session).estimate))
    (calm, right), (doubtful, unlike) = said
    assert calm[0] >= 5
    assert (calm[1], doubtful[1]) == (0, doubtful[0])
    assert unlike.low < right.low
    assert unlike.high < right.high


def test_an_export_names_them(ws, tmp_path):
    session = begin(ws)
    card = again(ws, session, 7)
    ws.journal.add_events(session, loop.owner(ws), [event(7, "no", card.id)])
    loop.export(ws, session, format="csv", out=tmp_path / "out")
    with open(tmp_path / "out" / "events.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [(r["item"], r["reason"], r["p_chosen"]) for r in rows] == [("7", "", ""), ("7", "repeat", "")]
