"""Several people for each image: who is asked what, and when an image needs no more answers."""

import csv
import time
import uuid
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active.live import Live
from active.skill import learned, looks
from labeler import crowds, drawing, learning, loop, members, opening, people, results, retiring
from labeler.domain import LabelEvent
from labeler.errors import BadInput
from labeler.retiring import Retiring
from tests.pools import is_target, make_pool
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
        stands = loop.session_status(self.ws, self.ws.store.session(self.session.id))
        return stands["unfinished"], stands["finished"]

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


def test_a_round_that_is_handed_out_is_put_to_others_in_the_same_moment(crowd):
    """Nobody has answered yet, and the first who come hold all of it."""
    first, second = crowd.deal(0, 8), crowd.deal(1, 8)
    assert len(first) + len(second[:6]) == 14
    held = [card.item for card in first + second[:6]]
    assert sorted(held) == list(range(14))
    assert [card.item for card in second[6:]] == held[:2]  # the order of the round
    assert [card.item for card in crowd.deal(2, 14)] == held
    assert [card.item for card in crowd.deal(3, 14)] == held[2:]  # three hold the first two
    assert crowd.deal(4, 14) == []


def test_what_somebody_who_held_it_lets_go_is_dealt_at_once(crowd):
    for who in range(3):
        assert len(crowd.deal(who, 14)) == 14
    assert crowd.deal(3, 14) == []
    crowd.ws.roster.send_away(crowd.people[0])
    crowd.now += 1
    assert len(crowd.deal(3, 14)) == 14


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


def test_what_is_taught_is_what_people_say_and_not_what_the_model_does(ws, monkeypatch):
    """An image of which the model is sure is no teacher of the model: its votes are."""
    crowd = Crowd(ws, loop.new_session(ws, "Taught?", ("yes", "no"), votes=3), 4)
    voted(ws, crowd, {i: ["no", "no", "no"] for i in range(9)} | {i: ["yes"] * 3 for i in range(9, 13)})
    voted(ws, crowd, {13: ["yes", "no", None]})
    real = crowds.known

    def sure(said, n_labels):
        items = np.unique(said["item"])
        p = np.where(items >= 9, 0.995, 0.005)  # right, and sure of 13 too
        return replace(real(said, n_labels), predicted=items, p=np.stack([p, 1 - p], 1))

    without = crowds.answers(ws, crowd.session)
    monkeypatch.setattr(crowds, "known", sure)
    crowds._newest.pop(ws, None)
    found = crowds.answers(ws, crowd.session)
    assert (found.taught == without.labels).all()
    assert found.weight == pytest.approx(without.sure)
    assert (found.labels[13], found.taught[13]) == (0, 1)


def test_the_learner_gets_what_is_taught_and_how_much_it_weighs(ws, monkeypatch):
    crowd = Crowd(ws, loop.new_session(ws, "Learner?", ("yes", "no"), votes=3), 3)
    voted(ws, crowd, {i: ["yes", "yes" if i < 3 else "no", "no"] for i in range(8)})
    real, seen = drawing.labeled_rows, []
    other = replace(crowds.answers(ws, crowd.session), taught=np.arange(8) % 2)
    monkeypatch.setattr(crowds, "answers", lambda *args: other)
    monkeypatch.setattr(drawing, "labeled_rows", lambda *args: seen.append(real(*args)) or seen[-1])
    loop.learn(ws, crowd.session)
    assert seen[0].y.tolist() == other.taught.tolist()
    assert seen[0].sure.tolist() == other.weight.tolist()
    assert 0.5 <= other.weight.min() < other.weight.max() < 1


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


def test_who_looks_late_opens_nothing_that_is_full_or_an_owners(open_crowd):
    """What is done is seen a moment after the answers, when there may be more of them."""
    crowd, journal = open_crowd, open_crowd.ws.journal
    full, owned, open_ = (card.item for card in crowd.deal(0, 3))
    for who in range(6):
        for card in crowd.deal(who, 14):
            if card.item == full or (card.item == open_ and who < 3):
                crowd.answer(who, card, "yes" if who % 2 else "no")
    crowd.owner(owned, "no")
    journal.set_done(crowd.session.id, [full, owned, open_], [])
    assert crowd.progress() == (0, 3)
    journal.set_done(crowd.session.id, [], [full, owned, open_])
    assert crowd.progress() == (1, 2)
    assert journal.votes_of(crowd.session.id, [open_]) == {open_: (3, False)}


def test_another_process_and_a_new_start_come_to_the_same(open_crowd):
    crowd, keeper = open_crowd, Retiring()
    for who in range(4):
        for card in crowd.deal(who, 14, have=[]):
            crowd.answer(who, card, "yes" if card.item < 3 else "no")
        settle(crowd, keeper)
    before = crowd.progress()
    assert before == (0, 14)
    assert settle(crowd, Retiring()) == ([], [])
    fresh = Crowd.__new__(Crowd)
    fresh.__dict__ |= crowd.__dict__
    loop.set_votes(crowd.ws, crowd.session, 6, 2)  # counts anew: nothing is done until it was looked at
    assert crowd.progress()[1] == 0
    assert len(settle(fresh, Retiring())[0]) == before[1]


def test_what_an_owners_answer_has_ended_opens_when_they_step_back(open_crowd):
    crowd, keeper = open_crowd, Retiring()
    olga = crowd.ws.roster.add_person("Olga", "own").id
    code, link = people.make_link(crowd.ws, "own", lasts_s=60)
    crowd.ws.roster.join(people.hash_token(code), "Otto", uuid.uuid4().hex)  # an owner remains
    crowd.ws.roster.withdraw(link.id)
    one, two = crowd.deal(0, 2)
    for item in (one.item, two.item):
        loop.correct(crowd.ws, crowd.session, olga, item, "no")

    def standing():
        said = crowds.answers(crowd.ws, crowd.session)
        return crowd.progress(), said.owned.tolist(), (said.weight == 1).tolist()

    settle(crowd, keeper)
    assert standing() == ((0, 2), [True, True], [True, True])
    members.set_role(crowd.ws, olga, "swipe")
    assert sorted(settle(crowd, keeper)[1]) == sorted([one.item, two.item])
    assert standing() == ((2, 0), [False, False], [False, False])  # with no other answer
    crowd.now += LEASE_S + 1
    again = {card.item for card in crowd.deal(1, 14)}
    assert {one.item, two.item} <= again, "others are asked"
    members.set_role(crowd.ws, olga, "own")
    settle(crowd, keeper)
    assert standing() == ((0, 2), [True, True], [True, True])


def test_an_answer_that_is_taken_back_opens_what_had_retired(open_crowd):
    crowd, keeper = open_crowd, Retiring()
    for who in range(4):
        for card in crowd.deal(who, 14, have=[]):
            crowd.answer(who, card, "no" if card.item % 2 else "yes")
        settle(crowd, keeper)
    assert crowd.progress()[1]
    done = crowd.progress()[1]
    taken = crowd.ws.journal.take_back_all(crowd.session.id, crowd.people[0])
    assert taken == 14
    assert crowd.progress()[1] < done  # already before anybody looks again
    settle(crowd, keeper)
    held = keeper._of[crowd.session.id]
    assert held.person[crowd.people[0]] not in held.live.votes().people
    now = crowd.ws.journal.votes_of(crowd.session.id, list(range(14)))
    assert all(not is_done for votes, is_done in now.values() if votes == 1)
    for person in crowd.people[1:4]:
        crowd.ws.journal.take_back_all(crowd.session.id, person)
    settle(crowd, keeper)
    assert crowd.progress() == (0, 0)


def test_what_has_retired_stays_so_with_one_more_answer(open_crowd):
    """Nobody may be asked again between an answer and the look at it."""
    crowd, keeper = open_crowd, Retiring()
    late = crowd.deal(3, 14)
    crowd.now += LEASE_S + 1
    for who in range(3):
        for card in crowd.deal(who, 14, have=[]):
            crowd.answer(who, card)
        settle(crowd, keeper)
    now = crowd.ws.journal.votes_of(crowd.session.id, [card.item for card in late])
    card = next(card for card in late if now[card.item][1])
    crowd.answer(3, card, "yes")
    again = crowd.ws.journal.votes_of(crowd.session.id, [card.item])[card.item]
    assert again == (now[card.item][0] + 1, True)


def test_people_who_come_late_and_see_only_what_is_open_are_not_taken_not_to_look(tmp_path):
    """No round is made, so that nobody but the server fits: images stayed open with eight equal votes."""
    ws = make_pool(tmp_path, 60)
    for seed in range(8):
        crowd = Crowd(
            ws, loop.new_session(ws, f"Late? {seed}", ("yes", "no"), votes=15, least=2, seed=seed), 8
        )
        keeper = Retiring()
        for who in range(8):
            while cards := crowd.deal(who, 60, have=[]):
                for card in cards:
                    crowd.answer(who, card, "yes" if card.item % 3 == 0 else "no")
                settle(crowd, keeper)
        assert crowd.progress() == (0, 60), seed
        assert max(map(len, crowd.said.values())) <= 6
        found = crowds.opinion(ws, crowd.session).found
        assert looks(found.skill.kind, found.kinds).all()
    ws.close()


def test_a_look_that_fails_half_way_loses_no_vote(open_crowd, monkeypatch):
    crowd, keeper = open_crowd, Retiring()
    settle(crowd, keeper)
    for who in range(3):
        for card in crowd.deal(who, 14, have=[]):
            crowd.answer(who, card, "yes" if who == 1 else "no")  # two who agree would end an image
        if who == 1:
            with monkeypatch.context() as broken:
                broken.setattr(Live, "vote", lambda *args: 1 // 0)
                with pytest.raises(ZeroDivisionError):
                    settle(crowd, keeper)
        settle(crowd, keeper)
    live = keeper._of[crowd.session.id].live
    assert len(live.votes()) == sum(map(len, crowd.said.values())) > 2 * 14


def test_a_fit_of_the_process_that_learns_is_taken_in(open_crowd):
    crowd, keeper = open_crowd, Retiring()
    for who in range(3):
        for card in crowd.deal(who, 14, have=[]):
            crowd.answer(who, card, "yes" if who == 1 else "no")  # two who agree would end an image
        settle(crowd, keeper)  # the first look is a fit itself; those after it go vote by vote
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


def test_where_images_stay_open_people_are_fitted_anew_by_the_server_itself(open_crowd):
    """A fit by which nobody looks is not for good where no other one comes."""
    crowd, keeper = open_crowd, Retiring()

    def answer_all(who):
        for card in crowd.deal(who, 14, have=[]):
            crowd.answer(who, card, "no")
        settle(crowd, keeper)

    answer_all(0)
    held = crowds.opinion(crowd.ws, crowd.session)
    never_yes = np.tile([[0.0, 300.0], [0.0, 300.0]], (1, 1, 1))
    found = replace(
        held.found, counts=never_yes, kinds=learned(held.found.kinds, np.eye(9)[8:].repeat(90, 0))
    )
    retiring.keep(crowd.ws, crowd.session, replace(held, found=found))
    for who in range(1, 7):
        answer_all(who)
    assert crowd.progress() == (0, 14)
    assert max(map(len, crowd.said.values())) <= 5


def test_a_server_that_starts_sees_what_is_done(tmp_path, monkeypatch):
    ws = make_pool(tmp_path, 12, images=True)
    crowd = Crowd(ws, loop.new_session(ws, "Is it?", ("yes", "no"), votes=8, least=2), 3)
    for who in range(3):
        for card in crowd.deal(who, 12, have=[]):
            crowd.answer(who, card, "yes" if card.item % 2 else "no")
    assert crowd.progress() == (12, 0)
    with served(ws, monkeypatch):
        until(lambda: crowd.progress() == (0, 12))
    ws.close()


def test_what_is_known_beside_the_votes_is_the_same_vote_by_vote_and_at_once(tmp_path):
    """What was drawn, what the model said before, how fast people were, what owners said: by the cards."""
    ws, keeper = make_pool(tmp_path, 300), Retiring()
    crowd = Crowd(ws, loop.new_session(ws, "Beside?", ("yes", "no"), votes=6, least=2), 4)
    settle(crowd, keeper)
    rng, cards = np.random.default_rng(0), {}
    for _ in range(5):
        for who in range(4):
            events = []
            for card in crowd.deal(who, 12, have=[]):
                cards.setdefault(card.item, []).append(card)
                label = "yes" if is_target(card.item) != (rng.random() < 0.1) else "no"
                ms = 60 if who == 3 else 900 + int(rng.integers(200))
                events.append(LabelEvent(str(uuid.uuid4()), card.item, label, datetime.now(UTC), card.id, ms))
            ws.journal.add_events(crowd.session, crowd.people[who], events)
            settle(crowd, keeper)
        loop.learn(ws, crowd.session)
    owned = {item: "no" if is_target(item) else "yes" for item in sorted(cards)[:3]}
    for item, label in owned.items():
        crowd.owner(item, label)
    settle(crowd, keeper)
    held = crowds.opinion(ws, crowd.session)
    known = keeper._of[crowd.session.id]
    by_votes, at_once = known.live.known(), held.known
    drawn = sorted(item for item, dealt in cards.items() if any(c.reason == "audit" for c in dealt))
    assert 0 < len(drawn) < len(cards) / 2
    found = {item for item, dealt in cards.items() if any(c.reason == "find" for c in dealt)}
    assert len(at_once.predicted) > 0
    assert set(at_once.predicted.tolist()) <= found
    for one in (by_votes, at_once):
        assert one.drawn.tolist() == drawn
        assert one.settled.tolist() == list(owned)
        assert one.truth.tolist() == [("yes", "no").index(label) for label in owned.values()]
        assert one.predicted.tolist() == at_once.predicted.tolist()
        assert one.p == pytest.approx(at_once.p, abs=1e-4)
        assert one.pool == 300
    fast = held.votes.weights[held.said["person"] == crowd.people[3]]
    assert (fast < 0.5).all()
    assert (held.votes.weights[held.said["person"] != crowd.people[3]] == 1).all()
    live = known.live.votes()
    assert live.weights[live.people == known.person[crowd.people[3]]] == pytest.approx(fast)
    taught = crowds.answers(ws, crowd.session)
    assert ((taught.weight > 0.5) & (taught.weight < 1)).any()
    assert (taught.sure[np.isin(taught.items, list(owned))] == 1).all()
    ws.close()


def test_finds_are_not_labelled_no_for_having_been_found_first(tmp_path):
    """From dealing to labels: what is drawn at random holds few positives once most have been picked."""
    ws = make_pool(tmp_path, 800)
    crowd = Crowd(ws, loop.new_session(ws, "Finds?", ("yes", "no"), votes=3, seed=3), 10)
    rng = np.random.default_rng(1)
    right = rng.beta(8, 2, 10)
    for _ in range(10):
        for who in range(10):
            for card in crowd.deal(who, 10, have=[]):
                crowd.answer(
                    who, card, "yes" if is_target(card.item) == (rng.random() < right[who]) else "no"
                )
        loop.learn(ws, crowd.session)
    found = crowds.answers(ws, crowd.session)
    held = crowds.opinion(ws, crowd.session)
    truth = np.array([is_target(item) for item in found.items])
    assert truth.sum() > 65  # nearly all of them were found
    recall = (found.labels[truth] == 0).mean()
    taught = np.where(found.taught == 0, found.weight, 1 - found.weight)[truth].mean()
    assert recall > 0.8
    assert taught > 0.6
    assert 0.06 < held.found.share[0] < 0.15
    ws.close()


def test_who_cannot_tell_was_asked_too(open_crowd):
    crowd, keeper = open_crowd, Retiring()
    settle(crowd, keeper)
    items = set()
    for who in range(6):
        cards = {card.item: card for card in crowd.deal(who, 14, have=[])}
        items = items or {min(cards)}
        for item in items:
            crowd.answer(who, cards[item], "unsure" if who < 5 else "yes")
        crowd.now += LEASE_S + 1
        keeper.catch_up(crowd.ws, crowd.session)
        known = keeper._of[crowd.session.id]
        asked = keeper._retired(crowd.session, known, sorted(items))
        assert asked == [who == 5]


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
    ("text", "votes"),
    [
        ("3", (3, 3)),
        ("auto", (15, 2)),
        (" AUTO ", (15, 2)),
        ("1", (1, 1)),
        (None, None),
        ("3-8", (8, 3)),
        (" 2 - 25 ", (25, 2)),
        ("4-4", (4, 4)),
    ],
)
def test_votes_are_read(text, votes):
    assert opening.read_votes(text) == votes


@pytest.mark.parametrize(
    "text", ["0", "26", "-1", "many", "", "2.5", "٣", "1-5", "5-3", "3-26", "3-", "0-2", "3-4-5"]
)
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
    names = {"out": ws.roster.names(), "plain": {n: str(n) for n in ws.roster.names()}}
    results.export(ws, crowd.session, format="csv", out=tmp_path / "plain", with_names=False)
    for folder, known in names.items():
        with (tmp_path / folder / "events.csv").open(encoding="utf-8") as file:
            assert {row["person"] for row in csv.DictReader(file)} == {known[n] for n in crowd.people}


def test_a_class_that_is_about_to_come_finds_cards(open_crowd):
    ws, session = open_crowd.ws, open_crowd.session
    alone = learning._how_many(ws, session, time.time())
    link = people.make_link(ws, "swipe", lasts_s=60)[1]
    assert learning._how_many(ws, session, time.time()) == alone + session.batch_size * (learning.CLASS - 1)
    assert learning._how_many(ws, session, time.time() + 61) == alone
    ws.roster.withdraw(link.id)
    assert learning._how_many(ws, session, time.time()) == alone
