import contextlib
import sqlite3
import time
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeler.domain import Pick, Round
from labeler.errors import Conflict
from labeler.journal import Journal
from labeler.store import Store
from labeler.writer import Writer
from tests.pools import event, make_pool

NOW = 1_000_000.0


@pytest.fixture
def ws(tmp_path):
    ws = make_pool(tmp_path, 100)
    yield ws
    ws.close()


@pytest.fixture
def session(ws):
    return ws.store.add_session("Is it?", ["yes", "no"], "find", ws.config)


@pytest.fixture
def people(ws):
    return [ws.roster.add_person(name, "own", name).id for name in ("ann", "bob")]


def make_round(store: Store, session: int, number: int, items: list[int]) -> None:
    made = Round(session, number, 100, True, 0, 0, 1, 0, 0, datetime.now(UTC), "k")
    store.add_round(made, [Pick(i, "audit", 0.25, None) for i in items])


def lease(ws, session, person, n, *, have=(), now=NOW, lease_s=300):
    return ws.dealing.lease_cards(session.id, person, n, have=have, now=now, lease_s=lease_s)


def test_events_cannot_be_changed_or_deleted(ws, session, people):
    ws.journal.add_events(session, people[0], [event(1, "yes")])
    with pytest.raises(sqlite3.IntegrityError, match="never changed"):
        ws.store.conn.execute("UPDATE events SET item = 2")
    with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
        ws.store.conn.execute("DELETE FROM events")


def test_a_repeated_event_id_changes_nothing(ws, session, people):
    e = event(1, "yes")
    assert ws.journal.add_events(session, people[0], [e]).accepted == 1
    again = ws.journal.add_events(session, people[0], [e, e])
    assert (again.accepted, again.duplicates) == (0, 2)
    assert ws.journal.count_events(session.id) == 1


def test_only_unknown_items_and_labels_are_rejected(ws, session, people):
    bad = [event(100, "yes"), event(-1, "yes"), event(1, "maybe"), event(2, "no", card=999)]
    out = ws.journal.add_events(session, people[0], bad)
    assert out.accepted == 1
    assert [why for _, why in out.rejected] == [
        "There is no item 100.",
        "There is no item -1.",
        "There is no label 'maybe'.",
    ]
    assert ws.journal.log(session)[0].card is None


def test_two_people_never_hold_the_same_card(ws, session, people):
    make_round(ws.store, session.id, 1, list(range(30)))
    mine = lease(ws, session, people[0], 20)
    theirs = lease(ws, session, people[1], 20)
    assert len(mine) == 20
    assert len(theirs) == 10
    assert not {c.item for c in mine} & {c.item for c in theirs}


def test_a_lease_that_ran_out_goes_back_to_the_pool_and_a_late_answer_counts(ws, session, people):
    make_round(ws.store, session.id, 1, [5])
    (card,) = lease(ws, session, people[0], 1)
    assert lease(ws, session, people[1], 1) == []
    (other,) = lease(ws, session, people[1], 1, now=NOW + 301)
    assert other.item == 5
    assert other.id != card.id
    assert ws.journal.add_events(session, people[0], [event(5, "yes", card.id)]).accepted == 1
    assert ws.journal.add_events(session, people[1], [event(5, "no", other.id)]).accepted == 1
    assert ws.journal.counts(session)["no"] == 1  # the newest answer to the item


def test_held_cards_are_extended_and_not_sent_again(ws, session, people):
    make_round(ws.store, session.id, 1, [1, 2, 3])
    first = lease(ws, session, people[0], 2)
    more = lease(ws, session, people[0], 2, have=[c.id for c in first], now=NOW + 200)
    assert [c.item for c in more] == [3]
    assert lease(ws, session, people[1], 3, now=NOW + 450) == []


def test_a_deck_is_told_which_of_its_cards_need_no_answer_any_more(ws, session, people):
    """A phone that slept showed cards that somebody else had answered meanwhile."""
    make_round(ws.store, session.id, 1, [1, 2, 3, 4, 5])
    mine = lease(ws, session, people[0], 4)
    have = [c.id for c in mine]
    assert ws.dealing.gone_cards(session.id, people[0], have, NOW) == []
    later = NOW + 400
    (other,) = lease(ws, session, people[1], 1, now=later)
    assert other.item == mine[0].item
    done = event(mine[1].item, "no", mine[1].id)
    ws.journal.add_events(session, people[1], [done, event(mine[2].item, "skip", mine[2].id)])
    lease(ws, session, people[0], 1, have=have, now=later)
    assert ws.dealing.gone_cards(session.id, people[0], [0, *have], later) == have[:2]
    ws.journal.add_events(session, people[1], [event(mine[1].item, None, mine[1].id)])
    assert ws.dealing.gone_cards(session.id, people[0], have, later) == have[:1]
    assert ws.dealing.gone_cards(session.id, people[0], [], later) == []


def test_after_a_reload_own_cards_come_first_and_keep_their_ids(ws, session, people):
    make_round(ws.store, session.id, 1, [1, 2, 3, 4])
    first = lease(ws, session, people[0], 3)
    ws.journal.add_events(session, people[0], [event(first[0].item, "no", first[0].id)])
    again = lease(ws, session, people[0], 3, have=None)
    assert [c.id for c in again[:2]] == [c.id for c in first[1:]]
    assert again[2].item == 4


def test_skip_comes_back_after_fifty_other_cards(ws, session, people):
    make_round(ws.store, session.id, 1, list(range(80)))
    (first,) = lease(ws, session, people[0], 1)
    ws.journal.add_events(session, people[0], [event(first.item, "skip", first.id)])
    for n in range(50):
        assert ws.journal.skipped(session.id) == [first.item], n
        (card,) = lease(ws, session, people[0], 1)
        assert card.item != first.item
        ws.journal.add_events(session, people[0], [event(card.item, "no", card.id)])
    assert ws.journal.skipped(session.id) == []
    assert lease(ws, session, people[0], 1)[0].item == first.item


def test_what_comes_back_is_dealt_at_once(tmp_path):
    """Dealing remembers what is left of a round; a lease that ran out and an undo put something back."""
    ws = make_pool(tmp_path, 250)
    session = ws.store.add_session("Is it?", ["yes", "no"], "find", ws.config)
    ann, bob = (ws.roster.add_person(name, "own", name).id for name in ("ann", "bob"))
    make_round(ws.store, session.id, 1, list(range(250)))  # read in several parts
    held = lease(ws, session, ann, 5)
    lease(ws, session, bob, 120)
    assert [c.item for c in lease(ws, session, bob, 2, now=NOW + 300.5)] == [c.item for c in held[:2]]
    ws.journal.add_events(session, ann, [event(held[4].item, "yes", held[4].id)])
    undo = str(uuid.uuid4())
    ws.journal.undo(session, ann, undo, NOW + 301, 1)
    again = lease(ws, session, bob, 3, now=NOW + 302.5)
    assert [c.item for c in again] == [c.item for c in held[2:]]
    rest = lease(ws, session, bob, 250, now=NOW + 303)
    assert len({c.item for c in rest}) == len(rest) == 250 - 5
    assert lease(ws, session, ann, 1, now=NOW + 303) == []
    ws.close()


def test_an_answered_card_is_held_by_nobody(ws, session, people):
    make_round(ws.store, session.id, 1, list(range(10)))
    cards = lease(ws, session, people[0], 3)
    assert ws.dealing.held(session.id, NOW) == sorted(c.item for c in cards)
    ws.journal.add_events(session, people[0], [event(cards[0].item, "no", cards[0].id)])
    assert ws.dealing.held(session.id, NOW) == sorted(c.item for c in cards[1:])
    held = "SELECT count(*) FROM cards WHERE lease_until > 0"
    assert ws.store.conn.execute(held).fetchone() == (2,)
    # a deck names those it has just answered too
    lease(ws, session, people[0], 0, have=[c.id for c in cards])
    assert ws.store.conn.execute(held).fetchone() == (2,)


def test_a_skip_that_comes_back_to_somebody_else_is_theirs(ws, session, people):
    make_round(ws.store, session.id, 1, list(range(60)))
    ann, bob = people
    cards = lease(ws, session, ann, 52, have=None)
    ws.journal.add_events(session, ann, [event(cards[0].item, "skip", cards[0].id)])
    for card in cards[1:51]:
        ws.journal.add_events(session, ann, [event(card.item, "no", card.id)])
    lease(ws, session, ann, 0, have=[c.id for c in cards])
    dealt = lease(ws, session, bob, 60, now=NOW + 6)
    assert cards[0].item in [c.item for c in dealt]
    assert ws.dealing.gone_cards(session.id, bob, [c.id for c in dealt], NOW + 7) == []


def test_a_card_that_somebody_else_answered_is_not_held_again_by_a_deck_that_slept(ws, session, people):
    make_round(ws.store, session.id, 1, [7])
    ann, bob = people
    (asleep,) = lease(ws, session, ann, 1)
    (card,) = lease(ws, session, bob, 1, now=NOW + 301)
    ws.journal.add_events(session, bob, [event(7, "yes", card.id)])
    lease(ws, session, ann, 1, have=[asleep.id], now=NOW + 310)
    shown = ws.journal.undo(session, bob, str(uuid.uuid4()), NOW + 311, 300)
    assert ws.dealing.gone_cards(session.id, bob, [shown.card.id], NOW + 312) == []
    assert [c.item for c in lease(ws, session, bob, 5, have=None, now=NOW + 313)] == [7]


def test_a_clock_put_back_revives_no_old_lease(ws, session, people):
    make_round(ws.store, session.id, 1, list(range(5)))
    ann, bob = people
    lease(ws, session, ann, 5)
    back = NOW - 400
    cards = [c.id for c in lease(ws, session, bob, 5, now=back)]
    assert len(cards) == 5
    for now in (back + 200, NOW + 1):
        lease(ws, session, bob, 0, have=cards, now=now)
        assert ws.dealing.gone_cards(session.id, bob, cards, now) == []


def test_a_refill_looks_at_its_own_cards_only(ws, session, people):
    """Not at all the cards that the person was ever dealt."""
    statements = []
    ws.store.conn.set_trace_callback(statements.append)
    lease(ws, session, people[0], 1, have=[1, 2])
    ws.store.conn.set_trace_callback(None)
    (update,) = [s for s in statements if s.lstrip().startswith("UPDATE cards SET leased_at")]
    plan = [row[3] for row in ws.store.conn.execute(f"EXPLAIN QUERY PLAN {update}")]
    assert plan[0] == "SEARCH cards USING INTEGER PRIMARY KEY (rowid=?)"


def test_what_was_asked_about_and_answered_is_passed_over_once_and_comes_back_when_taken_back(
    ws, session, people
):
    make_round(ws.store, session.id, 1, [90])
    ws.dealing.ask(session.id, list(range(40)))
    cards = lease(ws, session, people[0], 40, have=None)
    ws.journal.add_events(session, people[0], [event(c.item, "no", c.id) for c in cards])
    assert [c.item for c in lease(ws, session, people[0], 1)] == [90]
    looked = ws.dealing._first_asked(ws.store.conn, {"session": session.id, "now": NOW})
    assert looked > 40
    ws.journal.take_back(session.id, people[0], [5])
    assert [c.item for c in lease(ws, session, people[1], 1)] == [5]
    ws.journal.add_events(session, people[1], [event(5, "no")])
    other = Journal(ws.store.conn)  # another process takes an answer back
    assert lease(ws, session, people[1], 1) == []
    other.take_back(session.id, people[0], [6])
    assert [c.item for c in lease(ws, session, people[1], 1, now=NOW + 6)] == [6]


def test_work_that_was_rolled_back_leaves_its_cards_to_be_dealt(ws, session, people):
    make_round(ws.store, session.id, 1, list(range(40)))

    def deal(ws):
        lease(ws, session, people[0], 20)
        raise ValueError("and then it went wrong")

    writer = Writer(ws)
    writer.start()
    with pytest.raises(ValueError, match="went wrong"):
        writer.submit(deal).result(10)
    dealt = writer.submit(lambda ws: lease(ws, session, people[0], 3)).result(10)
    writer.stop()
    assert [c.item for c in dealt] == [0, 1, 2]


def test_a_round_has_a_batch_for_everybody_who_answers(ws, session, people):
    assert ws.journal.count_people(session.id, 600) == 0
    for person in [*people, people[0]]:
        ws.journal.add_events(session, person, [event(1, "yes")])
    assert ws.journal.count_people(session.id, 600) == 2
    time.sleep(0.02)
    assert ws.journal.count_people(session.id, 0.005) == 0


def test_unsure_never_comes_back_by_itself(ws, session, people):
    make_round(ws.store, session.id, 1, [1, 2])
    (card,) = lease(ws, session, people[0], 1)
    ws.journal.add_events(session, people[0], [event(card.item, "unsure", card.id)])
    assert [c.item for c in lease(ws, session, people[0], 5)] == [2]
    assert ws.journal.answers(session.id).labels.tolist() == [-1]


def test_undo_goes_back_any_number_of_steps_and_keeps_the_log(ws, session, people):
    make_round(ws.store, session.id, 1, [1, 2, 3])
    cards = lease(ws, session, people[0], 3)
    for card, answer in zip(cards, ("yes", "unsure", "skip"), strict=True):
        ws.journal.add_events(session, people[0], [event(card.item, answer, card.id)])
    back = [ws.journal.undo(session, people[0], f"u{i}", NOW, 300) for i in range(3)]
    assert [(u.item, u.label) for u in back] == [(3, "skip"), (2, "unsure"), (1, "yes")]
    assert [u.card.id for u in back] == [c.id for c in reversed(cards)]
    with pytest.raises(Conflict, match="nothing to undo"):
        ws.journal.undo(session, people[0], "u4", NOW, 300)
    assert ws.journal.count_events(session.id) == 6
    assert len(ws.journal.answers(session.id).items) == 0
    assert {c.id for c in lease(ws, session, people[0], 5, have=None)} == {c.id for c in cards}


@pytest.mark.parametrize("way", ["undo", "null"])
def test_a_card_shown_again_is_held_again_unless_somebody_else_has_it(ws, session, people, way):
    make_round(ws.store, session.id, 1, [1])
    (card,) = lease(ws, session, people[0], 1)
    ws.journal.add_events(session, people[0], [event(1, "yes", card.id)])

    def take_back(now):
        if way == "undo":
            ws.journal.undo(session, people[0], str(uuid.uuid4()), now, 300)
        else:
            ws.journal.add_events(session, people[0], [event(1, None, card.id)], lease=(now, 300))

    take_back(NOW + 1000)
    assert lease(ws, session, people[1], 5, now=NOW + 1200) == []
    (other,) = lease(ws, session, people[1], 5, now=NOW + 1400)
    assert other.item == 1
    ws.journal.add_events(session, people[0], [event(1, "skip", card.id)])
    take_back(NOW + 1500)
    mine = lease(ws, session, people[0], 5, now=NOW + 1501, have=None)
    assert mine == []
    assert [c.id for c in lease(ws, session, people[1], 5, now=NOW + 1502, have=None)] == [other.id]


def test_votes_count_those_who_say_the_same(ws, session, people):
    ws.journal.add_events(session, people[0], [event(1, "yes"), event(2, "yes")])
    ws.journal.add_events(session, people[1], [event(1, "no"), event(2, "yes"), event(3, "unsure")])
    votes = {key: n for key, (n, _) in ws.journal.votes(session.id).items()}
    assert votes == {(1, 0): 1, (1, 1): 1, (2, 0): 2, (3, -1): 1}


def test_undo_with_the_same_id_takes_back_once(ws, session, people):
    make_round(ws.store, session.id, 1, [1, 2])
    for card in lease(ws, session, people[0], 2):
        ws.journal.add_events(session, people[0], [event(card.item, "yes", card.id)])
    assert ws.journal.undo(session, people[0], "same", NOW, 300) == ws.journal.undo(
        session, people[0], "same", NOW, 300
    )
    assert ws.journal.counts(session)["yes"] == 1


def test_undo_is_for_ones_own_answers(ws, session, people):
    make_round(ws.store, session.id, 1, [1])
    (card,) = lease(ws, session, people[0], 1)
    ws.journal.add_events(session, people[0], [event(1, "yes", card.id)])
    with pytest.raises(Conflict):
        ws.journal.undo(session, people[1], "u", NOW, 300)


def test_taking_back_a_correction_brings_the_earlier_answer_back(ws, session, people):
    ws.journal.add_events(session, people[0], [event(1, "yes"), event(1, "no"), event(1, None)])
    assert ws.journal.counts(session)["yes"] == 1
    ws.journal.add_events(session, people[0], [event(1, None), event(1, None)])
    assert ws.journal.counts(session)["yes"] == 0


def test_take_back_clears_everybodys_answers(ws, session, people):
    ws.journal.add_events(session, people[0], [event(1, "yes"), event(1, "no")])
    ws.journal.add_events(session, people[1], [event(1, "yes")])
    ws.journal.take_back(session.id, people[0], [1])
    assert len(ws.journal.answers(session.id).items) == 0


def test_what_people_ask_for_comes_first_once(ws, session, people):
    make_round(ws.store, session.id, 1, [1, 2])
    assert ws.dealing.ask(session.id, [50, 51, 50]) == 2
    assert ws.dealing.ask(session.id, [50]) == 0
    cards = lease(ws, session, people[0], 3)
    assert [(c.item, c.reason, c.p_chosen) for c in cards[:2]] == [(50, "asked", None), (51, "asked", None)]
    assert cards[2].reason == "audit"
    assert cards[2].p_chosen == 0.25


def test_vanished_items_are_not_asked(ws, session, people):
    make_round(ws.store, session.id, 1, [1, 2])
    ws.catalog.mark_absent([1])
    assert [c.item for c in lease(ws, session, people[0], 5)] == [2]


def test_answers_as_they_stood_earlier(ws, session, people):
    ws.journal.add_events(session, people[0], [event(1, "yes"), event(2, "no")])
    then = ws.journal.last_event(session.id)
    ws.journal.add_events(session, people[0], [event(1, None), event(2, "yes")])
    old, new = ws.journal.answers(session.id, then), ws.journal.answers(session.id)
    assert (old.items.tolist(), old.labels.tolist()) == ([1, 2], [0, 1])
    assert (new.items.tolist(), new.labels.tolist()) == ([2], [0])


answer = st.sampled_from(["yes", "no", "unsure", "skip", None])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), answer), max_size=30))
def test_current_answers_are_what_replaying_the_log_says(tmp_path_factory, steps):
    ws = make_pool(tmp_path_factory.mktemp("log"), 4)
    session = ws.store.add_session("Is it?", ["yes", "no"], "find", ws.config)
    people = [ws.roster.add_person(name, "own", name).id for name in ("ann", "bob")]
    stacks: dict[tuple[int, int], list[tuple[int, str]]] = {}
    for at, (item, who, given_answer) in enumerate(steps):
        ws.journal.add_events(session, people[who], [event(item, given_answer)])
        stack = stacks.setdefault((item, who), [])
        if given_answer is not None:
            stack.append((at, given_answer))
        elif stack:
            stack.pop()
    expected = {}
    for (item, _), stack in sorted(stacks.items(), key=lambda kv: kv[1][-1][0] if kv[1] else -1):
        if stack and stack[-1][1] != "skip":
            expected[item] = stack[-1][1]
    got = ws.journal.answers(session.id)
    names = {0: "yes", 1: "no", -1: "unsure"}
    assert {int(i): names[int(n)] for i, n in zip(got.items, got.labels, strict=True)} == expected
    counts = ws.journal.counts(session)
    assert {k: counts[k] for k in ("yes", "no", "unsure")} == {
        k: list(expected.values()).count(k) for k in ("yes", "no", "unsure")
    }
    ws.close()


def test_count_per_minute_counts_answers_only(ws, session, people):
    ws.journal.add_events(session, people[0], [event(1, "yes"), event(1, None)])
    assert ws.journal.count_since(session.id, 60) == 1
    with contextlib.suppress(ZeroDivisionError), ws.store.transaction():
        ws.journal.add_events(session, people[0], [event(2, "yes")])
        assert ws.journal.count_since(session.id, 60) == 2
        raise ZeroDivisionError  # what is rolled back is not remembered
    ws.journal.add_events(session, people[0], [event(3, "yes")])
    assert ws.journal.count_since(session.id, 60) == 2
    time.sleep(0.3)
    ws.journal.add_events(session, people[0], [event(4, "yes")])
    assert ws.journal.count_since(session.id, 0.2) == 1
    assert ws.journal.count_since(session.id, 60) == 3


def test_a_deck_that_slept_keeps_the_cards_it_holds(ws, session, people):
    make_round(ws.store, session.id, 1, list(range(40)))
    held = lease(ws, session, people[0], 20)
    more = lease(ws, session, people[0], 20, have=[c.id for c in held], now=NOW + 400)
    assert not {c.item for c in held} & {c.item for c in more}
    assert lease(ws, session, people[1], 20, now=NOW + 500) == []


def test_an_answer_without_a_card_can_be_undone_and_gets_one(ws, session, people):
    ws.journal.add_events(session, people[0], [event(7, "yes")])
    back = ws.journal.undo(session, people[0], "u", NOW, 300)
    assert (back.item, back.label, back.card.item) == (7, "yes", 7)
    assert ws.journal.undo(session, people[0], "u", NOW, 300) == back


def test_a_later_skip_by_the_same_person_opens_the_item_again(ws, session, people):
    make_round(ws.store, session.id, 1, [1])
    ws.journal.add_events(session, people[0], [event(1, "yes"), event(1, "skip")])
    ws.journal.add_events(session, people[0], [event(i, "no") for i in range(2, 60)])
    assert [c.item for c in lease(ws, session, people[1], 5)] == [1]


def test_what_every_deck_asks_for_reads_only_what_is_new(ws, session):
    """The cost of a poll must not grow with the log."""
    plans = []
    for query in (
        "SELECT seq FROM events WHERE seq > 5 AND session = 1 ORDER BY seq",
        "SELECT kind FROM events WHERE session = 1 ORDER BY seq DESC LIMIT 9",
        "SELECT item FROM cards WHERE session = 1 ORDER BY id DESC LIMIT 2",
    ):
        plans += [row[3] for row in ws.journal.conn.execute("EXPLAIN QUERY PLAN " + query)]
    assert not any("TEMP B-TREE" in plan for plan in plans), plans


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), answer), max_size=25))
def test_the_standing_is_what_the_view_says(tmp_path_factory, steps):
    ws = make_pool(tmp_path_factory.mktemp("view"), 4)
    session = ws.store.add_session("Is it?", ["yes", "no"], "find", ws.config)
    people = [ws.roster.add_person(name, "own", name).id for name in ("ann", "bob")]
    for item, who, given_answer in steps:
        ws.journal.add_events(session, people[who], [event(item, given_answer)])
        ws.journal.standing(session.id)  # fed step by step
    rows = ws.journal.conn.execute("SELECT item, kind, label FROM answers WHERE kind <> 'skip' ORDER BY seq")
    view = {item: -1 if kind == "unsure" else label for item, kind, label in rows}
    got = ws.journal.answers(session.id)
    assert dict(zip(got.items.tolist(), got.labels.tolist(), strict=True)) == view
    whole = ws.journal.standing(session.id, ws.journal.last_event(session.id))
    assert whole.now == ws.journal.standing(session.id).now
    assert whole.shown == ws.journal.standing(session.id).shown
    ws.close()
