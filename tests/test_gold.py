"""Images whose answer is known: where they come from, who gets them, what they count for; and runs."""

import contextlib
import csv
import re
import shutil
import uuid
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from active.retire import gold_share
from benchmarks.server import running
from labeler import (
    backup,
    certificate,
    crowds,
    disputes,
    gold,
    loop,
    members,
    people,
    pieces,
    restore,
    results,
    trainer,
)
from labeler.domain import LabelEvent
from labeler.errors import BadInput
from labeler.retiring import Retiring
from labeler.runs import RUN, run_of
from labeler.workspace import Workspace
from tests.pools import event, is_target, make_pool
from tests.served import answer, cards_of, served, visit
from tests.test_app import free_port
from tests.test_cli import run
from tests.test_deck import READY
from tests.test_joining import PHONE_LIKE
from tests.test_pages import HOME

LEASE_S = 300
PHONE = "http://192.168.1.5:8501"


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    ws = make_pool(tmp_path_factory.mktemp("gold"), 240, images=True)
    yield ws
    ws.close()


@pytest.fixture
def team(ws):
    return Team(ws, loop.new_session(ws, f"Is it? {uuid.uuid4()}", ("yes", "no"), votes=3))


def right(item):
    return "yes" if is_target(item) else "no"


class Team:
    """A question, with a clock of its own, and people who come by a link."""

    def __init__(self, ws, session):
        self.ws, self.session, self.now = ws, session, 1e9
        loop.learn(ws, session)

    def person(self, role="swipe"):
        return self.ws.roster.add_person(f"p{uuid.uuid4()}", role).id

    def own(self, items):
        """Let the owner answer these rightly, and take them as gold."""
        said = [event(item, right(item)) for item in items]
        self.ws.journal.add_events(self.session, loop.owner(self.ws), said)
        assert gold.settle(self.ws, self.session, len(items)) == len(items)

    def deal(self, person, n=20, have=()):
        return self.ws.dealing.lease_cards(
            self.session.id, person, n, have=have, now=self.now, lease_s=LEASE_S
        )

    def answer(self, person, card, label=None):
        self.answer_all(person, [card], lambda _: label or right(card.item))

    def answer_all(self, person, cards, say):
        said = [event(card.item, say(card), card.id) for card in cards]
        assert self.ws.journal.add_events(self.session, person, said).accepted == len(cards)

    def on_gold(self, person, n, say=right):
        """Let somebody skip cards and answer gold until they have answered n; return these."""
        out = []
        while len(out) < n:
            if not (cards := self.deal(person, 10)):
                assert loop.learn(self.ws, self.session).number < 20
            self.answer_all(person, cards, lambda c: say(c.item) if c.reason == "gold" else "skip")
            out += [card for card in cards if card.reason == "gold"]
        return out

    def facts(self):
        """What answers come to, in all the places where they count."""
        ws, number = self.ws, self.session.id
        stands = loop.session_status(ws, self.session)
        agreed = disputes.agree(ws, self.session)
        names = ("counts", "found", "cards_shown", "unfinished", "finished", "round_answered")
        return (
            {k: stands[k] for k in names}, ws.journal.votes(number),
            ws.journal.count_after(number, 0), ws.journal.reasons(number)[0].tolist(),
            crowds.answers(ws, self.session).items.tolist(), ws.journal.last_events(number),
            agreed and agreed[0].items,
        )  # fmt: skip


# dealing -----------------------------------------------------------------------------------


def test_a_newcomer_gets_much_of_it_and_less_later_each_piece_once(ws):
    team = Team(ws, loop.new_session(ws, f"Many? {uuid.uuid4()}", ("yes", "no"), votes=25))
    team.own(range(100))
    is_gold = []
    for _ in range(8):
        person, had = team.person(), []
        while len(had) < 110:
            cards = team.deal(person, 10)
            if len(cards) < 10:
                loop.learn(ws, team.session)
            team.answer_all(person, cards, lambda c: "unsure")
            had += cards
        mine = [c for c in had if c.reason == "gold"]
        assert len({c.item for c in had}) == len(had)
        assert {c.item for c in mine} <= set(range(100))
        assert all(c.p_chosen is None and c.score is None for c in mine)
        assert not {c.item for c in had if c.reason != "gold"} & set(range(100))
        is_gold.append([c.reason == "gold" for c in had[:110]])
    first, late = np.mean(np.array(is_gold)[:, :10]), np.mean(np.array(is_gold)[:, 60:])
    assert 0.15 < first < 0.55  # 0.34 is expected, of 80 cards
    assert 0.01 < late < 0.15  # 0.06, of 400
    assert (gold_share(0), gold_share(1000)) == (0.4, 0.05)


def test_owners_get_none_nor_does_anybody_when_nothing_else_is_left(team):
    team.own(range(40))
    assert "gold" not in {card.reason for card in team.deal(loop.owner(team.ws), 200)}
    alone = Team(team.ws, loop.new_session(team.ws, f"Rest? {uuid.uuid4()}", ("yes", "no")))
    alone.own(range(180))
    loop.learn(alone.ws, alone.session)
    person, got = alone.person(), []
    while cards := alone.deal(person, 1):
        got += cards
        alone.answer(person, cards[0])
    assert sorted(c.item for c in got if c.reason != "gold") == list(range(180, 240))
    assert 0 < sum(c.reason == "gold" for c in got) < 60


def test_gold_never_changes_what_is_drawn_nor_with_what_probability(team):
    team.own(range(60))
    picks = {p.item: p for p in team.ws.store.picks(team.session.id, 1)}
    cards = team.deal(team.person(), 40)
    ordinary = [c for c in cards if c.reason != "gold"]
    assert 0 < len(ordinary) < 40
    for card in ordinary:
        assert (card.reason, card.p_chosen) == (picks[card.item].reason, picks[card.item].p_chosen)
    places = list(picks)
    assert [c.item for c in ordinary] == sorted((c.item for c in ordinary), key=places.index)
    assert [c.id for c in cards] == list(range(cards[0].id, cards[0].id + 40))  # dealt among the others


def test_a_card_stays_while_the_deck_holds_it_and_comes_back_after_a_reload(team):
    team.own(range(10))
    one, two = team.person(), team.person()
    held = {who: team.deal(who, 30) for who in (one, two)}
    shared = {c.item for c in held[one] if c.reason == "gold"} & {
        c.item for c in held[two] if c.reason == "gold"
    }
    assert shared  # any number of people may have one at a time
    mine = [c.id for c in held[one]]
    assert team.ws.dealing.gone_cards(team.session.id, one, mine, team.now) == []
    assert [c.id for c in team.deal(one, 30, have=None)] == mine
    team.now += LEASE_S + 1
    again = {c.item for c in team.deal(one, 30) if c.reason == "gold"}
    assert again  # nobody has answered them, so they may come again


def test_while_a_certificate_runs_nothing_stands_between_its_cards(ws):
    session = loop.new_session(ws, f"Sure? {uuid.uuid4()}", ("yes", "no"))
    team = Team(ws, session)
    team.own(range(120))
    person = team.person()
    before = [c.id for c in team.deal(person, 30) if c.reason == "gold"]
    assert before
    certificate.begin(ws, session, 0.5, 20)
    assert set(before) <= set(ws.dealing.gone_cards(session.id, person, before, team.now))
    cards = team.deal(person, 30, have=None)
    drawn = {p.item for p in ws.store.picks(session.id, 2)}
    assert len(cards) == 20
    assert {c.item for c in cards} == drawn
    certificate.cancel(ws, session)


# what it counts for ------------------------------------------------------------------------


def test_answers_count_for_the_person_alone_and_undo_works_as_ever(team):
    team.own(range(100))
    person = team.person()
    cards = [c for c in team.deal(person, 30) if c.reason == "gold"]
    before = team.facts()
    for card in cards:
        team.answer(person, card, "no" if card is cards[0] else None)
    assert team.facts() == before
    assert team.ws.journal.given(team.session.id, person)[0] == len(cards)
    assert team.ws.journal.count_answers_of(person) == len(cards)
    told = loop.session_status(team.ws, team.session, person)
    assert sum(told["counts"].values()) == 100 + len(cards)
    assert told["cards_shown"] == len(cards)
    held = crowds.opinion(team.ws, team.session)
    at = held.people.tolist().index(person)
    assert held.found.gold[at].sum() == len(cards)
    undone = team.ws.journal.undo(team.session, person, str(uuid.uuid4()), team.now, LEASE_S)
    assert (undone.item, undone.card.id) == (cards[-1].item, cards[-1].id)
    assert crowds.opinion(team.ws, team.session).found.gold[at].sum() == len(cards) - 1
    assert team.facts() == before
    team.answer(person, undone.card, "unsure")  # says nothing about the person
    assert crowds.opinion(team.ws, team.session).found.gold[at].sum() == len(cards) - 1
    assert members.erase(team.ws, person, with_answers=True) == len(cards)
    assert team.facts() == before
    assert not len(crowds.opinion(team.ws, team.session).on_gold)


def test_a_skipped_piece_is_not_put_off_for_others_and_does_not_come_again(team):
    team.own(range(60))
    person = team.person()
    card = next(c for c in team.deal(person, 30) if c.reason == "gold")
    team.answer(person, card, "skip")
    assert team.ws.journal.skipped(team.session.id) == []
    team.now += LEASE_S + 1
    assert card.item not in {c.item for c in team.deal(person, 100)}


def test_who_has_seen_it_as_gold_is_not_asked_again_when_it_is_open_and_the_other_way_round(team):
    team.own(range(0, 240, 2))
    person, other = team.person(), team.person()
    card = next(c for c in team.deal(person, 30) if c.reason == "gold")
    team.answer(person, card)
    team.ws.journal.take_back(team.session.id, loop.owner(team.ws), [card.item])  # it is open again
    assert card.item not in pieces.known(team.ws.store.conn, team.session.id)
    team.ws.dealing.ask(team.session.id, [card.item])
    assert card.item not in {c.item for c in team.deal(person, 60)}
    asked = next(c for c in team.deal(other, 20) if c.reason == "asked")
    assert asked.item == card.item
    team.answer(other, asked)
    loop.correct(team.ws, team.session, loop.owner(team.ws), card.item, right(card.item))
    gold.clear(team.ws, team.session)
    content = team.ws.catalog.hashes([card.item])[card.item]
    pieces.add(team.ws.store.conn, team.session.id, [pieces.Piece(content, 0, card.item, "settled")])
    team.now += LEASE_S + 1
    assert not [c for c in team.deal(other, 40) if c.reason == "gold"]
    assert [c.item for c in team.deal(team.person(), 40) if c.reason == "gold"] == [card.item]


def test_an_owners_new_answer_is_what_is_known(team):
    team.own(range(100))
    person = team.person()
    cards = team.on_gold(person, 5)
    at = crowds.opinion(team.ws, team.session).people.tolist().index(person)
    assert crowds.opinion(team.ws, team.session).found.gold[at].trace() == len(cards)
    other = "no" if right(cards[0].item) == "yes" else "yes"
    loop.correct(team.ws, team.session, loop.owner(team.ws), cards[0].item, other)
    assert crowds.opinion(team.ws, team.session).found.gold[at].trace() == len(cards) - 1
    assert pieces.known(team.ws.store.conn, team.session.id)[cards[0].item] == ("yes", "no").index(other)
    loop.correct(team.ws, team.session, loop.owner(team.ws), cards[1].item, "unsure")
    assert cards[1].item not in pieces.known(team.ws.store.conn, team.session.id)


def test_the_server_hears_of_it_answer_by_answer_as_a_fit_to_all_does(ws):
    session = loop.new_session(ws, f"Open? {uuid.uuid4()}", ("yes", "no"), votes=15, least=2)
    team, retiring = Team(ws, session), Retiring()
    team.own(range(100))
    one, two = team.person(), team.person()
    retiring.catch_up(ws, session)  # before anything was said: what follows is taken in answer by answer
    for n in (2, 4):
        team.on_gold(one, n)
        team.on_gold(two, n, lambda _: "no")
        ws.journal.undo(session, two, str(uuid.uuid4()), team.now, LEASE_S)
        retiring.catch_up(ws, session)
    loop.correct(ws, session, loop.owner(ws), int(crowds.opinion(ws, session).on_gold["item"][0]), "yes")
    retiring.catch_up(ws, session)
    held = crowds.opinion(ws, session)
    known = retiring._of[session.id]
    for person, counts in zip(held.people.tolist(), held.found.gold, strict=True):
        assert known.live._gold[known.person[person]].tolist() == counts.tolist()
    assert held.found.gold.sum() >= 8
    fresh = Retiring()
    fresh.catch_up(ws, session)
    again = fresh._of[session.id]
    for person in held.people.tolist():
        assert np.allclose(
            again.live.rates(again.person[person]),
            held.found.skill.rates[held.people == person][0],
            atol=0.01,
        )


def test_who_is_against_gold_is_shown_to_the_owner_with_the_evidence(ws):
    session = loop.new_session(
        ws, f"Spoiled? {uuid.uuid4()}", ("yes", "no")
    )  # one answer each: gold alone tells
    team = Team(ws, session)
    team.own(range(0, 240, 3))
    good = [team.person() for _ in range(4)]
    bad = team.person()
    rng = np.random.default_rng(1)
    for person in good:
        team.on_gold(person, 14)
    team.on_gold(bad, 20, lambda item: rng.choice(["yes", "no"]))
    found = disputes.doubts(ws, session)
    assert [d.person for d in found] == [bad]
    assert any(text.startswith("Right about ") and "images of known label" in text for text in found[0].says)


def test_an_export_says_which_answers_were_on_gold_and_counts_none_as_a_vote(team, tmp_path):
    team.own(range(60))
    person = team.person()
    cards = team.on_gold(person, 6, lambda item: "no")
    results.export(team.ws, team.session, format="csv", out=tmp_path)
    with open(tmp_path / "events.csv", encoding="utf-8", newline="") as f:
        rows = [row for row in csv.DictReader(f) if row["reason"] == "gold"]
    assert sorted(int(row["item"]) for row in rows) == sorted(c.item for c in cards)
    assert {(row["p_chosen"], row["label"]) for row in rows} == {("", "no")}
    with open(tmp_path / "labels.csv", encoding="utf-8", newline="") as f:
        labels = {int(row["item"]): row for row in csv.DictReader(f) if row["source"] == "person"}
    for card in cards:
        assert (labels[card.item]["label"], labels[card.item]["votes"]) == (right(card.item), "1")


# where it comes from -----------------------------------------------------------------------


def test_a_folder_of_known_answers_counts_once_its_images_are_in_the_pool(ws, tmp_path):
    session = loop.new_session(ws, f"Given? {uuid.uuid4()}", ("yes", "no"))
    for item in (0, 10, 11, 12):
        (tmp_path / right(item) / "deep").mkdir(parents=True, exist_ok=True)
        shutil.copy(ws.images / f"img{item:04}.png", tmp_path / right(item) / "deep" / f"other{item}.png")
    (tmp_path / "no" / "strange.png").write_bytes(b"nobody has this")
    loop.correct(ws, session, loop.owner(ws), 12, "yes")  # said before: it stands
    assert gold.give(ws, session, tmp_path) == (5, [])
    assert gold.look(ws, session) == gold.Standing(4, {"yes": 3, "no": 1}, 1, 0)
    assert pieces.known(ws.store.conn, session.id) == {0: 0, 10: 0, 11: 1, 12: 0}
    assert ws.journal.counts(session)["yes"] == 3  # what the owner knows is the owner's answer
    gold.give(ws, session, tmp_path)
    assert ws.journal.count_events(session.id) == 4  # twice is once
    ws.store.conn.execute("UPDATE items SET hash = 'x' || hash WHERE id = 11")
    fresh = loop.new_session(ws, f"Later? {uuid.uuid4()}", ("yes", "no"))
    gold.give(ws, fresh, tmp_path)
    assert gold.look(ws, fresh).waiting == 2
    ws.store.conn.execute("UPDATE items SET hash = substr(hash, 2) WHERE id = 11")  # it is taken in
    trainer.learn(ws, fresh.id)  # what the process that learns does when something is taken in
    assert 11 in pieces.known(ws.store.conn, fresh.id)
    assert gold.clear(ws, fresh) == 5
    assert gold.look(ws, fresh).ready == 0


def test_a_folder_that_can_not_be_used_says_why(ws, tmp_path, monkeypatch):
    session = loop.new_session(ws, f"Bad? {uuid.uuid4()}", ("yes", "no"))
    with pytest.raises(BadInput, match="not there"):
        gold.give(ws, session, tmp_path / "none")
    with pytest.raises(BadInput, match="no folder with images"):
        gold.give(ws, session, tmp_path)
    (tmp_path / "perhaps").mkdir()
    shutil.copy(ws.images / "img0001.png", tmp_path / "perhaps")
    with pytest.raises(BadInput, match="is no label's"):
        gold.give(ws, session, tmp_path)
    (tmp_path / "perhaps").rename(tmp_path / "no")
    (tmp_path / "yes").mkdir()
    shutil.copy(ws.images / "img0001.png", tmp_path / "yes" / "copy.png")
    with pytest.raises(BadInput, match="two labels"):
        gold.give(ws, session, tmp_path)
    shutil.copy(ws.images / "img0002.png", tmp_path / "yes" / "copy.png")
    monkeypatch.setattr(gold, "MOST", 1)
    with pytest.raises(BadInput, match="2 known images"):
        gold.give(ws, session, tmp_path)
    assert gold.look(ws, session).waiting == 0


def test_settled_images_are_those_that_people_agree_on_as_many_of_each_label(team):
    crowd = [team.person() for _ in range(3)]
    for person in crowd:
        said = ["yes" if item == 5 and person == crowd[0] else right(item) for item in range(60)]
        events = [event(item, label) for item, label in enumerate(said)]
        team.ws.journal.add_events(team.session, person, events)
    team.ws.journal.add_events(team.session, crowd[0], [event(70, "yes")])  # one answer settles nothing
    assert gold.settle(team.ws, team.session, 10) == 10
    known = pieces.known(team.ws.store.conn, team.session.id)
    assert Counter(known.values()) == {0: 5, 1: 5}
    assert all(("yes", "no")[label] == right(item) for item, label in known.items())
    assert gold.settle(team.ws, team.session, 200) < 60
    after = pieces.known(team.ws.store.conn, team.session.id)
    assert 70 not in after
    assert known.items() <= after.items()
    other = team.person()
    assert {c.item for c in team.on_gold(other, 5)} <= set(after)
    assert not [c for c in team.deal(crowd[0], 60) if c.reason == "gold"]  # they made it so


def test_the_command_says_what_there_is(team):
    place = ("gold", "--workspace", team.ws.folder, "--session", team.session.id)
    for item in range(8):
        loop.correct(team.ws, team.session, loop.owner(team.ws), item, right(item))
    assert "0 images with a known answer" in run(*place).output
    said = run(*place, "--settled", 20).output
    assert "8 images were settled, not 20" in said
    assert "8 images with a known answer (1 yes, 7 no)" in said
    assert "are told whether they agreed" in run(*place, "--feedback").output
    assert team.ws.store.session(team.session.id).gold_feedback
    assert "Gold        8 images" in run("status", *place[1:]).output
    assert "0 images" in run(*place, "--none").output
    run(*place, "--none", "--settled", 3, code=2)


def test_a_backup_holds_it_and_a_restored_workspace_goes_on_with_it(team, tmp_path):
    team.own(range(60))
    person = team.person()
    cards = team.on_gold(person, 4)
    backup.write(team.ws, tmp_path / "all.zip", vectors=True, report=lambda p: None)
    restore.restore(tmp_path / "all.zip", tmp_path / "again", team.ws.images, lambda p: None)
    with contextlib.closing(Workspace.open(tmp_path / "again")) as there:
        known = [pieces.known(one.store.conn, team.session.id) for one in (there, team.ws)]
        assert known[0] == known[1]
        said = there.journal.cast_gold(team.session.id)
        assert said["item"].tolist() == [c.item for c in cards]
        again = Team.__new__(Team)
        again.__dict__ |= team.__dict__ | {"ws": there}
        assert not {c.item for c in again.on_gold(person, 4)} & {c.item for c in cards}


# what others see ---------------------------------------------------------------------------


def joined(app, ws, role="swipe"):
    client = visit(app, url=PHONE, peer="192.168.1.7")
    code = people.make_link(ws, role, lasts_s=60)[0]
    assert client.post("/join", data={"token": code, "name": f"n{uuid.uuid4()}"[:20]}).status_code == 303
    return client


def test_nothing_that_a_swiper_gets_tells_which_card_is_gold(team, monkeypatch):
    team.own(range(0, 240, 3))
    ws, number = team.ws, team.session.id
    with served(ws, monkeypatch, shared=True) as (app, _):
        client = joined(app, ws)
        cards = cards_of(client, session=number, n=40)
        reason = dict(ws.store.conn.execute("SELECT id, reason FROM cards WHERE session = ?", (number,)))
        kinds = {kind: [c for c in cards if (reason[c["card"]] == "gold") == kind] for kind in (True, False)}
        assert len(kinds[True]) >= 5
        assert {tuple(c) for c in cards} == {("card", "item", "url", "width", "height", "round")}
        assert [c["card"] for c in cards] == list(range(cards[0]["card"], cards[0]["card"] + 40))
        assert {c["round"] for c in cards} == {1}
        urls = {c["url"].replace(f"/tiles/{c['item']}?", "/tiles/N?") for c in cards}
        assert len(urls) == 1  # they differ by the item alone, of whatever number
        heads = {kind: client.get(group[0]["url"]).headers for kind, group in kinds.items()}
        assert set(heads[True]) == set(heads[False])
        shown = ("counts", "found", "cards_shown", "round_answered", "mine", "events")
        told = {}
        for kind, group in kinds.items():
            before = client.get("/api/session", params={"session": number}).json()
            sent = {"events": [answer(c["item"], "yes", c["card"]) for c in group[:3]]}
            reply = client.post("/api/labels", params={"session": number}, json=sent)
            after = client.get("/api/session", params={"session": number}).json()
            told[kind] = (
                [_moved(before[k], after[k]) for k in shown],
                sorted(reply.json()),
                reply.json()["accepted"],
            )
            undo = client.post("/api/undo", params={"session": number}, json={"id": str(uuid.uuid4())}).json()
            assert undo["card"] == {k: group[2][k] for k in undo["card"]}
            again = {"events": [answer(undo["item"], "yes", undo["card"]["card"])]}
            client.post("/api/labels", params={"session": number}, json=again)
        assert told[True] == told[False]


def _moved(before, after):
    if isinstance(before, dict):
        return {k: after[k] if isinstance(after[k], str) else after[k] - before[k] for k in before}
    return after - before


def test_people_are_told_only_where_the_owner_wants_it(team, monkeypatch):
    team.own(range(0, 240, 3))
    ws, number = team.ws, team.session.id
    loop.set_gold_feedback(ws, team.session, True)
    with served(ws, monkeypatch, shared=True) as (app, _):
        client = joined(app, ws)
        cards = cards_of(client, session=number, n=40)
        known = pieces.known(ws.store.conn, number)
        golden = [c for c in cards if c["item"] in known]
        plain = next(c for c in cards if c["item"] not in known)
        says = ["yes", "no", "unsure", "skip"]
        sent = [answer(c["item"], say, c["card"]) for c, say in zip(golden, says, strict=False)]
        sent.append(answer(plain["item"], "yes", plain["card"]))
        reply = client.post("/api/labels", params={"session": number}, json={"events": sent}).json()
        assert reply["feedback"] == [
            {"id": e["id"], "label": right(e["item"]), "right": e["label"] == right(e["item"])}
            for e in sent[:3]
        ]
        loop.set_gold_feedback(ws, team.session, False)
        later = {"events": [answer(golden[5]["item"], "yes", golden[5]["card"])]}
        assert "feedback" not in client.post("/api/labels", params={"session": number}, json=later).json()


# runs --------------------------------------------------------------------------------------


def say(team, person, labels):
    events = [event(i, label) for i, label in enumerate(labels)]
    team.ws.journal.add_events(team.session, person, events)


def test_a_run_is_of_equal_labels_that_stand(team):
    person = team.person()
    say(team, person, ["no"] * (RUN - 1))
    assert run_of(team.ws.store.conn, team.session.id, person) is None
    say(team, person, ["yes", *["no"] * RUN])
    found = run_of(team.ws.store.conn, team.session.id, person)
    assert (found.label, found.last) == (1, team.ws.journal.last_event(team.session.id))
    assert run_of(team.ws.store.conn, team.session.id, person, after=found.last - RUN + 1) is None
    team.ws.journal.undo(team.session, person, str(uuid.uuid4()), team.now, LEASE_S)
    assert run_of(team.ws.store.conn, team.session.id, person) is None  # a "yes" is among the last ones
    for odd in ("unsure", "skip"):
        say(team, person, ["no"] * RUN)
        say(team, person, [odd])
        assert run_of(team.ws.store.conn, team.session.id, person) is None


def test_a_run_is_broken_by_a_likely_card_of_the_round_whose_probability_stays(ws):
    session = loop.new_session(ws, f"Run? {uuid.uuid4()}", ("yes", "no"))
    owner = loop.owner(ws)
    ws.journal.add_events(session, owner, [event(i, right(i)) for i in range(60)])
    team = Team(ws, session)
    picks = {p.item: p for p in ws.store.picks(session.id, 1)}
    likely = [i for i, p in picks.items() if p.reason == "find" and p.score >= 0.5]
    unlikely = [i for i, p in picks.items() if p.reason == "find" and p.score < 0.5]
    assert len(likely) >= 5
    assert unlikely
    calm = team.person()
    assert [c.item for c in team.deal(calm, 4)] == list(picks)[:4]  # nobody else is in a run
    for wanted, label in ((likely, "no"), (unlikely, "yes")):
        person = team.person()
        say(team, person, [label] * RUN)
        cards = team.deal(person, 4)
        first = cards[0]
        assert len(cards) == len({c.item for c in cards}) == 4
        assert first.item in wanted
        assert (first.reason, first.p_chosen) == ("find", picks[first.item].p_chosen)
        rest = [c.item for c in cards[1:]]
        assert rest == sorted(rest, key=list(picks).index)
        more = team.deal(person, 4, have=[c.id for c in cards])  # once for each run
        order = [list(picks).index(c.item) for c in more]
        assert order == sorted(order)
    at = loop.owner(ws)
    say(team, at, ["no"] * RUN)
    got = [c.item for c in team.deal(at, 8)]
    assert got == sorted(got, key=list(picks).index)  # the owner's come as the round has them


def test_a_run_is_broken_by_gold_where_the_round_has_nothing_likely(team):
    team.own(range(0, 240, 5))  # every other one is a target
    person = team.person()
    say(team, person, ["yes"] * RUN)
    first = team.deal(person, 4)[0]
    assert (first.reason, right(first.item)) in {("gold", "no"), ("find", "no")}
    other = team.person()
    say(team, other, ["no"] * RUN)
    first = team.deal(other, 4)[0]
    assert right(first.item) == "yes"


def test_the_owner_sees_how_right_somebody_is_on_gold(team, monkeypatch):
    team.own(range(60))
    person, other = team.person(), team.person()
    given = team.on_gold(person, 6)
    team.on_gold(other, 3, lambda item: "no" if right(item) == "yes" else "yes")
    back = LabelEvent(str(uuid.uuid4()), given[0].item, None, datetime.now(UTC))
    assert gold.rightness(team.ws, team.session, person) == (len(given), len(given))
    right_of_other, n = gold.rightness(team.ws, team.session, other)
    assert right_of_other == 0 < n
    assert team.ws.journal.add_events(team.session, person, [back]).accepted == 1
    assert gold.rightness(team.ws, team.session, person) == (len(given) - 1,) * 2
    monkeypatch.setenv("LABELER_WORKSPACE", str(team.ws.folder))
    loop.use_session(team.ws, team.session)
    test = AppTest.from_file(str(HOME), default_timeout=30)
    test.switch_page("team.py").run()
    next(s for s in test.selectbox if s.key == "who").set_value(person).run()
    wanted = f"Right on {len(given) - 1} of {len(given) - 1} images whose answer is known, in this question."
    assert wanted in [m.value for m in test.markdown]
    assert not test.exception


# on a phone --------------------------------------------------------------------------------


def test_a_phone_is_told_without_being_held_up(tmp_path, browser):
    """A real server, a browser on a phone: answers on gold, and what is said of them."""
    ws = make_pool(tmp_path, 60, images=True)
    session = loop.start_session(ws, "Is it red?", ("yes", "no"), "find")
    team = Team(ws, session)
    team.own(range(10, 50))
    loop.set_gold_feedback(ws, session, True)
    options = ["--workspace", str(ws.folder), "--share", "--port", str(free_port())]
    with running(*options) as server, contextlib.closing(browser.new_context(**PHONE_LIKE)) as context:
        page = context.new_page()
        page.goto(re.search(r"http://\S+/join\?token=\S+", "\n".join(server.lines))[0])
        page.get_by_role("button", name="Start").tap()
        page.wait_for_url("**/swipe*")
        page.wait_for_selector(READY)
        page.locator(".hint .btn").tap()
        toast = page.locator(".toast", has_text="one is known to be “no”")
        for _ in range(30):
            if toast.is_visible():
                break
            page.keyboard.press("ArrowRight")  # "yes" to all
            page.wait_for_timeout(250)
        toast.wait_for()
        before = ws.journal.count_events(session.id)
        for _ in range(60):  # the line is in nobody's way; a press while no card is there yet is none
            page.keyboard.press("ArrowRight")
            page.wait_for_timeout(250)
            if ws.journal.count_events(session.id) > before:
                break
        assert ws.journal.count_events(session.id) > before
        style = "e => getComputedStyle(e).pointerEvents"  # whatever it says by now
        assert page.locator(".toast").evaluate(style) == "none"
    (person,) = [p for p in ws.roster.people() if p.role == "swipe"]
    wrong = ws.journal.cast_gold(session.id)
    assert set(wrong["person"].tolist()) == {person.id}
    assert (wrong["number"] == 0).all()
    ws.close()
