"""Several people for each image: who is asked what, and when an image needs no more answers."""

import csv
import time
import uuid
from collections import defaultdict
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeler import crowds, drawing, learning, loop, opening, people, results, retiring
from labeler.domain import LabelEvent
from labeler.errors import BadInput
from labeler.retiring import Retiring
from tests.pools import make_pool
from tests.served import answer, cards_of, served, visit
from tests.test_deck import until

LEASE_S = 300


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    ws = make_pool(tmp_path_factory.mktemp("votes"), 14)
    yield ws
    ws.close()


@pytest.fixture
def crowd(ws):
    return Crowd(ws, loop.new_session(ws, f"Is it? {uuid.uuid4()}", ("yes", "no"), votes=3), 5)


class Crowd:
    """Some people who swipe, with a clock of their own."""

    def __init__(self, ws, session, n):
        self.ws, self.session, self.now = ws, session, 1e9
        self.people = [ws.roster.add_person(f"p{uuid.uuid4()}", "swipe").id for _ in range(n)]
        self.said = defaultdict(list)  # of each item: who
        loop.learn(ws, session)

    def deal(self, who, n=4, have=None, device=None):
        return self.ws.dealing.lease_cards(
            self.session.id, self.people[who], n, have=have, now=self.now, lease_s=LEASE_S, device=device
        )

    def answer(self, who, card, label="no", device=None):
        self.said[card.item].append(self.people[who])
        event = LabelEvent(str(uuid.uuid4()), card.item, label, datetime.now(UTC), card.id)
        done = self.ws.journal.add_events(self.session, self.people[who], [event], device=device)
        assert done.accepted == 1

    def owner(self, item, label):
        loop.correct(self.ws, self.session, loop.owner(self.ws), item, label)

    def progress(self):
        return self.ws.journal.votes_progress(self.session.id)

    def go_on(self, who, n=4):
        """Answer what is dealt until nothing more is."""
        while cards := self.deal(who, n, have=[]):
            for card in cards:
                self.answer(who, card)


def test_each_image_goes_to_so_many_different_people_and_nobody_sees_one_twice(crowd):
    busy = True
    while busy:
        busy = False
        for who in range(5):
            for card in self_cards(crowd, who):
                crowd.answer(who, card, "yes" if card.item % 3 else "no")
                busy = True
    assert len(crowd.said) == 14
    for said in crowd.said.values():
        assert len(said) == len(set(said)) == 3
    assert crowd.progress() == (0, 14)


def self_cards(crowd, who):
    loop.learn(crowd.ws, crowd.session)
    return crowd.deal(who, 2, have=[])


def test_one_alone_sees_each_image_once_and_the_others_get_those_first(crowd):
    crowd.go_on(0)
    assert len(crowd.said) == 14
    assert all(len(people) == 1 for people in crowd.said.values())
    assert crowd.progress() == (14, 0)
    first = list(crowd.said)[:4]
    assert [card.item for card in crowd.deal(1, 4)] == first  # the oldest first, also after a reload
    assert [card.item for card in crowd.deal(1, 4)] == first


def test_no_more_hold_an_image_than_are_asked_and_nobody_starves(crowd):
    held = defaultdict(set)
    for who in range(5):
        for card in crowd.deal(who, 14):
            held[card.item].add(who)
    assert all(len(people) <= 3 for people in held.values())
    assert sum(len(people) for people in held.values()) == 3 * 14  # all that is asked is in somebody's hands
    by_person = [sum(who in people for people in held.values()) for who in range(5)]
    assert by_person[:3] == [14, 14, 14]
    crowd.now += LEASE_S + 1  # those who hold everything went away
    assert len(crowd.deal(4, 14)) == 14


def test_a_card_whose_image_got_its_answers_meanwhile_is_gone_and_a_late_answer_counts_as_one_more(crowd):
    late = crowd.deal(0, 1)[0]
    crowd.now += LEASE_S + 1
    for who in (1, 2, 3):
        cards = {card.item: card for card in crowd.deal(who, 14, have=[])}
        crowd.answer(who, cards[late.item])
    gone = crowd.ws.dealing.gone_cards(crowd.session.id, crowd.people[0], [late.id], crowd.now)
    assert gone == [late.id]
    assert crowd.deal(0, 1, have=[late.id]) != [late]
    crowd.answer(0, late, "yes")
    assert crowd.ws.journal.votes(crowd.session.id)[late.item, 0][0] == 1
    assert crowd.ws.journal.counts(crowd.session)["no"] == 1  # three against one


def test_unsure_is_an_answer_and_skip_is_none(crowd):
    one, two = crowd.deal(0, 2)
    crowd.answer(0, one, "unsure")
    crowd.answer(0, two, "skip")
    assert crowd.progress() == (1, 0)


def test_an_owners_answer_ends_it_and_stands_against_the_others(crowd):
    card = crowd.deal(0, 1)[0]
    crowd.answer(0, card, "no")
    crowd.owner(card.item, "yes")
    assert crowd.progress() == (0, 1)
    assert card.item not in {c.item for c in crowd.deal(1, 14)}
    assert crowd.ws.journal.counts(crowd.session)["yes"] == 1


def test_an_answer_that_is_taken_back_opens_the_image_again(crowd):
    items = []
    for who in range(3):
        cards = {card.item: card for card in crowd.deal(who, 14, have=[])}
        items = items or sorted(cards)
        crowd.answer(who, cards[items[0]])
        crowd.now += LEASE_S + 1
    assert crowd.progress()[1] == 1
    crowd.ws.journal.undo(crowd.session, crowd.people[2], str(uuid.uuid4()), crowd.now, LEASE_S)
    assert crowd.progress() == (1, 0)
    assert items[0] in {card.item for card in crowd.deal(3, 14)} or items[0] in {
        card.item for card in crowd.deal(2, 14)
    }


def test_two_devices_of_one_person_count_as_one(crowd):
    one = {card.item for card in crowd.deal(0, 5, device=1)}
    two = {card.item for card in crowd.deal(0, 5, device=2)}
    assert not one & two
    for card in crowd.deal(0, 5, device=1):
        crowd.answer(0, card, device=1)
    assert not one & {card.item for card in crowd.deal(0, 14, have=[], device=2)}


def test_more_answers_can_be_asked_for_later_and_fewer(ws):
    crowd = Crowd(ws, loop.new_session(ws, "Later?", ("yes", "no")), 3)
    crowd.go_on(0)
    assert not crowd.deal(1, 4)  # one answer each was enough
    loop.set_votes(ws, crowd.session, 2)
    assert crowd.progress() == (14, 0)
    assert len(crowd.deal(1, 4)) == 4
    loop.set_votes(ws, crowd.session, 1)
    crowd.now += LEASE_S + 1
    assert not crowd.deal(2, 4)
    for votes in (0, 26):
        with pytest.raises(BadInput):
            loop.set_votes(ws, crowd.session, votes)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_whatever_people_do_no_more_answer_than_are_asked_and_nobody_twice(ws, seed, votes):
    rng = np.random.default_rng(seed)
    crowd = Crowd(ws, loop.new_session(ws, f"Any? {seed}", ("yes", "no"), votes=votes), 4)
    decks = [[] for _ in range(4)]
    for _ in range(60):
        who = int(rng.integers(4))
        act = rng.random()
        if act < 0.5:
            decks[who] = [*decks[who], *crowd.deal(who, 3, have=[c.id for c in decks[who]])]
        elif act < 0.9 and decks[who]:
            crowd.answer(who, decks[who].pop(0), str(rng.choice(["yes", "no", "unsure"])))
        elif act < 0.95:
            loop.learn(ws, crowd.session)
        for item in {c.item for deck in decks for c in deck}:
            holders = {who for who, deck in enumerate(decks) if item in {c.item for c in deck}}
            assert len(holders) + len(crowd.said[item]) <= votes
    for said in crowd.said.values():
        assert len(said) == len(set(said)) <= votes


def test_a_class_that_comes_at_once_gets_a_round_of_its_size(tmp_path):
    ws = make_pool(tmp_path, 400)
    crowd = Crowd(ws, loop.new_session(ws, "A class?", ("yes", "no")), 15)
    crowd.now = time.time()
    dealt = sum(len(crowd.deal(who, 20, have=[])) for who in range(15))
    assert dealt < 15 * 20  # the first round is one person's
    assert learning.needs_round(ws, crowd.session, now=crowd.now)
    loop.learn(ws, crowd.session)
    dealt += sum(len(crowd.deal(who, 20, have=[])) for who in range(15))
    assert dealt >= 15 * 20
    ws.close()


# from votes to labels ----------------------------------------------------------------------


def voted(ws, crowd, table):
    """Answer cards: table {item: the answers of people 0, 1, …, None for none}."""
    for item, said in table.items():
        for who, label in enumerate(said):
            if label is not None:
                ms = 500 + 37 * ((7 * item + 13 * who) % 40)  # no person answers evenly
                event = LabelEvent(str(uuid.uuid4()), item, label, datetime.now(UTC), None, ms)
                ws.journal.add_events(crowd.session, crowd.people[who], [event])
    return crowds.answers(ws, crowd.session)


def test_who_is_right_weighs_more_than_who_is_many(ws):
    crowd = Crowd(ws, loop.new_session(ws, "Right?", ("yes", "no"), votes=5), 5)
    rng = np.random.default_rng(1)
    table = {item: [] for item in range(13)}
    for item in table:  # three see well, two always say no
        truth = "yes" if item % 2 else "no"
        table[item] = [truth, truth, truth, "no", "no"]
    table[13] = ["yes", None, None, "no", "no"]
    found = voted(ws, crowd, table)
    assert found.labels[found.items == 13] == 0
    assert 0.5 < found.sure[found.items == 13] < 1
    assert ws.journal.votes(crowd.session.id)[13, 1][0] == 2  # most of them said no
    assert rng is not None


def test_labels_are_a_function_of_the_events_alone_also_of_earlier_ones(ws):
    crowd = Crowd(ws, loop.new_session(ws, "Function?", ("a", "b", "c"), votes=3), 4)
    early = voted(ws, crowd, {i: ["abc"[i % 3], "abc"[i % 3], None] for i in range(6)})
    later = voted(ws, crowd, {i: [None, None, "a", "b"] for i in range(6)})
    again = crowds.answers(ws, crowd.session, early.last_event)
    assert np.array_equal(early.labels, again.labels)
    assert np.array_equal(early.sure, again.sure)
    assert later.last_event > early.last_event
    assert later.sure.mean() < early.sure.mean()


def test_nobody_who_can_tell_is_unsure_and_an_owner_is_sure(ws):
    crowd = Crowd(ws, loop.new_session(ws, "Unsure?", ("yes", "no"), votes=3), 3)
    voted(ws, crowd, {0: ["unsure", "unsure", None], 1: ["no", "no", "no"], 2: ["yes", "unsure", None]})
    crowd.owner(1, "yes")
    found = crowds.answers(ws, crowd.session)
    assert dict(zip(found.items.tolist(), found.labels.tolist(), strict=True)) == {0: -1, 1: 0, 2: 0}
    assert found.sure[found.items == 1] == 1


def test_a_round_learns_from_labels_by_how_sure_they_are_and_is_drawn_again_the_same(ws):
    crowd = Crowd(ws, loop.new_session(ws, "Sure?", ("yes", "no"), votes=3), 3)
    voted(ws, crowd, {i: ["yes", "yes" if i < 3 else "no", "no"] for i in range(8)})
    made = loop.learn(ws, crowd.session)
    assert drawing.draw_again(ws, crowd.session, made) == ws.store.picks(crowd.session.id, made.number)


# as many answers as it takes ----------------------------------------------------------------


@pytest.fixture
def open_crowd(ws):
    session = loop.new_session(ws, f"Open? {uuid.uuid4()}", ("yes", "no"), votes=6, least=2)
    return Crowd(ws, session, 8)


def settle(crowd, keeper):
    done, open_ = keeper.catch_up(crowd.ws, crowd.session)
    crowd.ws.journal.set_done(crowd.session.id, done, open_)
    return done, open_


def test_where_people_agree_two_answers_may_do_and_where_they_do_not_more_are_asked(tmp_path):
    ws, keeper = make_pool(tmp_path, 60), Retiring()
    crowd = Crowd(ws, loop.new_session(ws, "Open?", ("yes", "no"), votes=8, least=2), 9)
    while True:
        before = sum(map(len, crowd.said.values()))
        for who in range(9):
            for card in crowd.deal(who, 3, have=[]):
                split = len(crowd.said[card.item]) % 2 == 0  # as they are on six images
                truth = split if card.item < 6 else card.item % 3 == 0
                crowd.answer(who, card, "yes" if truth else "no")
            settle(crowd, keeper)
        loop.learn(ws, crowd.session)
        if sum(map(len, crowd.said.values())) == before:
            break
    asked = np.array([len(crowd.said[item]) for item in range(60)])
    assert all(len(set(said)) == len(said) for said in crowd.said.values())
    assert ((asked >= 2) & (asked <= 8)).all()
    assert asked.min() == 2
    assert asked[:6].mean() > asked[6:].mean() + 1
    assert crowd.progress() == (0, 60)
    ws.close()


def test_nothing_retires_against_its_only_vote_and_an_owner_ends_it(open_crowd):
    crowd, keeper = open_crowd, Retiring()
    one, two = crowd.deal(0, 2)
    crowd.answer(0, one, "yes")
    crowd.owner(two.item, "no")
    assert settle(crowd, keeper) == ([], [])
    assert crowd.progress() == (1, 1)


def test_another_process_and_a_new_start_come_to_the_same(open_crowd):
    crowd, keeper = open_crowd, Retiring()
    for who in range(4):
        for card in crowd.deal(who, 14, have=[]):
            crowd.answer(who, card, "yes" if card.item < 3 else "no")
        settle(crowd, keeper)
    before = crowd.progress()
    assert before[1] > 0
    assert settle(crowd, Retiring()) == ([], [])
    fresh = Crowd.__new__(Crowd)
    fresh.__dict__ |= crowd.__dict__
    loop.set_votes(crowd.ws, crowd.session, 6, 2)  # counts anew: nothing is done until it was looked at
    assert crowd.progress()[1] == 0
    assert len(settle(fresh, Retiring())[0]) == before[1]


def test_an_answer_that_is_taken_back_opens_what_had_retired(open_crowd):
    crowd, keeper = open_crowd, Retiring()
    for who in range(4):
        for card in crowd.deal(who, 14, have=[]):
            crowd.answer(who, card, "no" if card.item % 2 else "yes")
        settle(crowd, keeper)
    assert crowd.progress()[1]
    for person in crowd.people[:4]:
        crowd.ws.journal.take_back_all(crowd.session.id, person)
    settle(crowd, keeper)
    assert crowd.progress() == (0, 0)


def test_a_fit_of_the_process_that_learns_is_taken_in(open_crowd):
    crowd, keeper = open_crowd, Retiring()
    for who in range(3):
        for card in crowd.deal(who, 14, have=[]):
            crowd.answer(who, card, "no" if who < 2 else "yes")
    settle(crowd, keeper)
    known = keeper._of[crowd.session.id]
    before = known.live.rates(known.person[crowd.people[2]]).copy()
    loop.learn(crowd.ws, crowd.session)
    assert retiring.fit_file(crowd.ws, crowd.session).exists()
    settle(crowd, keeper)
    held = crowds.opinion(crowd.ws, crowd.session)
    after = known.live.rates(known.person[crowd.people[2]])
    assert not np.array_equal(before, after)
    rates = held.found.skill.rates[np.flatnonzero(held.people == crowd.people[2])[0]]
    assert np.allclose(after, rates, atol=0.05)
    retiring.fit_file(crowd.ws, crowd.session).write_bytes(b"cut off")
    assert settle(crowd, Retiring()) is not None


def test_over_http_images_are_done_as_answers_come(tmp_path, monkeypatch):
    ws = make_pool(tmp_path, 12, images=True)
    session = loop.new_session(ws, "Is it?", ("yes", "no"), votes=8, least=2)
    loop.learn(ws, session)
    with served(ws, monkeypatch, shared=True) as (app, desk):
        code = people.make_link(ws, "swipe", lasts_s=60)[0]
        clients = [visit(app, url="http://192.168.1.5:8501", peer=f"192.168.1.{i}") for i in range(5)]
        for client in clients:
            assert client.get(f"/api/session?token={code}").status_code == 200
        for _ in range(12):
            for client in clients:
                cards = cards_of(client, n=4)
                events = [answer(c["item"], "yes" if c["item"] % 2 else "no", card=c["card"]) for c in cards]
                assert client.post("/api/labels", json={"events": events}).json()["accepted"] == len(events)
                until(lambda: not desk._settling)
        stands = clients[0].get("/api/session").json()
        assert (stands["unfinished"], stands["finished"]) == (0, 12)
        assert 24 <= stands["events"] < 12 * 5  # fewer than everybody on everything
    ws.close()


@pytest.mark.parametrize(
    ("text", "votes"), [("3", (3, 3)), ("auto", (15, 2)), (" AUTO ", (15, 2)), ("1", (1, 1)), (None, None)]
)
def test_votes_are_read(text, votes):
    assert opening.read_votes(text) == votes


@pytest.mark.parametrize("text", ["0", "26", "-1", "many", "", "2.5", "٣"])
def test_what_is_no_number_of_votes_is_refused(text):
    with pytest.raises(BadInput):
        opening.read_votes(text)


def test_exports_say_how_sure_a_label_is_and_how_many_say_so(ws, tmp_path):
    crowd = Crowd(ws, loop.new_session(ws, "Export?", ("yes", "no"), votes=3), 3)
    voted(ws, crowd, {i: ["yes" if i % 2 else "no"] * 3 for i in range(6)} | {6: ["yes", "no", "no"]})
    results.export(ws, crowd.session, format="csv", out=tmp_path / "out")
    with (tmp_path / "out" / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    held = crowds.answers(ws, crowd.session)
    for row, sure in zip(rows, held.sure.tolist(), strict=True):
        assert float(row["posterior"]) == pytest.approx(sure, abs=1e-5)
        assert int(row["votes"]) == (3 if row["item"] != "6" else 2 if row["label"] == "no" else 1)
