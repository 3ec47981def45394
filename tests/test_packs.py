"""Cards taken along: leased for a day, nobody else's meanwhile, given back; no browser needed."""

import time
import uuid
from collections import Counter

import pytest

from labeler import dealing, learning, loop, members, packs, people
from tests.pools import make_pool
from tests.served import answer, begin, cards_of, is_problem, served, visit
from tests.test_joining import joined


@pytest.fixture
def ws(tmp_path):
    ws = make_pool(tmp_path, 120, images=True)
    begin(ws)
    yield ws
    ws.close()


@pytest.fixture
def app(ws, monkeypatch):
    with served(ws, monkeypatch) as (app, _):
        yield app


def take(client, n, have=()):
    reply = client.post("/api/pack", json={"n": n, "have": list(have)})
    assert reply.status_code == 200, reply.text
    return reply.json()


def leases(ws):
    """Return {card: seconds that it is held from now on}."""
    now = time.time()
    rows = ws.dealing.conn.execute("SELECT id, lease_until FROM cards").fetchall()
    return {card: until - now for card, until in rows}


def test_a_pack_is_leased_for_a_day_and_nobody_else_gets_its_cards(app, ws):
    mine, other = visit(app), visit(app)
    deck = [c["card"] for c in cards_of(mine, n=5)]
    pack = take(mine, 30, deck)
    along = [c["card"] for c in pack["cards"]]
    assert len(along) == 30
    assert pack["lease_s"] == packs.PACK_S
    assert all(packs.PACK_S - 60 < leases(ws)[card] <= packs.PACK_S for card in [*deck, *along])
    items = {c["item"] for c in pack["cards"]}
    ws.dealing.forget()
    assert not items & {c["item"] for c in cards_of(other, n=100)}
    assert mine.get("/api/pack").json()["held"] == 35
    assert other.get("/api/pack").json()["held"] == 0


def test_who_gets_fewer_cards_is_told_whether_more_are_coming(ws, monkeypatch):
    with served(ws, monkeypatch) as (app, desk):
        client = visit(app)
        assert not take(client, 20)["coming"]
        assert desk.worker.pokes == []
        desk.worker.busy = True
        assert not take(client, 1)["coming"]  # it has all it asked for
        assert take(client, packs.MOST - 30)["coming"]
        assert desk.worker.pokes == []
        desk.worker.busy = False
        assert not take(client, 1)["coming"]
        assert desk.worker.pokes == [1]


def test_what_a_deck_asks_later_does_not_cut_a_pack_short_and_gives_none_of_it_again(app, ws):
    client = visit(app)
    cards_of(client, n=1)
    along = [c["card"] for c in take(client, 20)["cards"]]
    new = cards_of(client, n=5)  # a new deck: in another tab, or after a reload
    assert not {c["card"] for c in new} & set(along)
    cards_of(client, n=1, have=",".join(map(str, along)))
    assert take(client, 0, along)["gone"] == []
    assert all(leases(ws)[card] > packs.PACK_S - 60 for card in along)


def test_a_card_of_a_pack_whose_answer_is_taken_back_is_held_for_the_rest_of_the_day(app, ws):
    client = visit(app)
    pack = take(client, 20)["cards"]
    for card, undo in zip(pack[:2], ("event", "route"), strict=True):
        client.post("/api/labels", json={"events": [answer(card["item"], "yes", card["card"])]})
        assert leases(ws)[card["card"]] < 0
        if undo == "event":
            client.post("/api/labels", json={"events": [answer(card["item"], None, card["card"])]})
        else:
            body = {"id": str(uuid.uuid4())}
            assert client.post("/api/undo", json=body).json() == client.post("/api/undo", json=body).json()
        assert leases(ws)[card["card"]] > packs.PACK_S - 60


def test_a_lease_that_a_clock_made_longer_is_shortened_again(app, ws):
    """Cards that were given "later" than now, before the clock was set back, are no pack."""
    client = visit(app)
    (card,) = cards_of(client, n=1)
    with ws.dealing.conn as conn:
        conn.execute("UPDATE cards SET leased_at = leased_at + 7200, lease_until = lease_until + 7200")
    cards_of(client, n=1, have=str(card["card"]))
    assert leases(ws)[card["card"]] < 301


def test_what_is_given_back_is_dealt_again_and_answered_cards_stay_answered(app, ws):
    mine, other = visit(app), visit(app)
    along = take(mine, 40)["cards"]
    done = along[0]
    mine.post("/api/labels", json={"events": [answer(done["item"], "yes", done["card"])]})
    assert other.post("/api/pack/back", json={"cards": [c["card"] for c in along]}).json() == {"back": 0}
    some = [c["card"] for c in along[:11]]
    assert mine.post("/api/pack/back", json={"cards": some}).json() == {"back": 10}
    again = {c["item"] for c in cards_of(other, n=60)}
    assert {c["item"] for c in along[1:11]} <= again
    assert not {c["item"] for c in [done, *along[11:]]} & again
    assert mine.post("/api/pack/back", json={}).json() == {"back": 29}
    assert mine.get("/api/pack").json()["held"] == 0
    assert visit(app).post("/api/pack/back", json={}).json() == {"back": 0}


def test_the_pack_hears_which_cards_are_gone_and_a_late_answer_is_one_more_vote(app, ws):
    mine, other = visit(app), visit(app)
    along = take(mine, 10)["cards"]
    ids = [c["card"] for c in along]
    mine.post("/api/pack/back", json={})  # as when the day is over
    theirs = cards_of(other, n=4)
    said = [answer(c["item"], "no", c["card"]) for c in theirs[:2]]
    other.post("/api/labels", json={"events": said})
    taken = {c["item"] for c in theirs}
    assert take(mine, 0, ids)["gone"] == [c["card"] for c in along if c["item"] in taken]
    late = [answer(c["item"], "yes", c["card"]) for c in along]
    assert mine.post("/api/labels", json={"events": late}).json()["accepted"] == 10
    votes = Counter(e.item for e in ws.journal.log(ws.store.session(1)))
    assert votes == Counter([*(c["item"] for c in along), *(c["item"] for c in theirs[:2])])


def test_one_person_takes_no_more_than_500_and_a_round_is_made_for_who_asks(app, ws, monkeypatch):
    monkeypatch.setattr(packs, "MOST", 70)
    client = visit(app)
    session = ws.store.session(1)
    before = learning._how_many(ws, session, time.time())
    first = take(client, 60)["cards"]
    assert learning._how_many(ws, session, time.time()) == before + 2 * len(first)
    assert learning._how_many(ws, session, time.time() + learning.PRESENT_S) == before
    loop.learn(ws, session)
    rest = take(client, 60)["cards"]
    assert len(first) + len(rest) == 70
    full = client.post("/api/pack", json={"n": 1, "have": []})
    assert is_problem(full, 409)
    assert "70 cards" in full.json()["error"]
    assert take(client, 0, [rest[0]["card"]])["gone"] == []


def test_who_asks_again_and_again_does_not_get_all_there_is(tmp_path, monkeypatch):
    """One who only swipes holds 200 cards beside packs, on all devices together, however they ask."""
    many = make_pool(tmp_path / "many", 700)
    code = people.make_link(many, "swipe", lasts_s=60)[0]
    session = begin(many)
    with served(many, monkeypatch, shared=True) as (app, _):
        greedy, other = joined(app, code, "Greedy"), joined(app, code, "Other")
        tablet = joined(app, members.link_of(many, many.roster.named("Greedy")), "")
        got = [cards_of(client, n=200, have="0") for client in (greedy, greedy, tablet)]
        assert [len(cards) for cards in got] == [dealing.MOST_HELD, 0, 0]
        assert len(cards_of(greedy, n=20)) == 20  # a reload shows what one has
        assert len(take(greedy, 50)["cards"]) == 50  # beside that one may take cards along
        assert cards_of(greedy, n=1, have="0") == []
        assert many.dealing.count_wanting(session.id, time.time()) == 0  # no round is made for that
        card = got[0][0]
        greedy.post("/api/labels", json={"events": [answer(card["item"], card=card["card"])]})
        assert len(cards_of(greedy, n=20, have="0")) == 1
        assert len(cards_of(other, n=200)) == 200
    many.close()


def test_a_pack_says_what_it_weighs_also_before_tiles_are_made(app, ws):
    client = visit(app)
    before = client.get("/api/pack").json()
    sizes = [len(client.get(f"/tiles/{item}").content) for item in range(120)]
    known = client.get("/api/pack").json()
    for told in (before, known):
        assert told["tile_bytes"] == pytest.approx(sum(sizes) / 120, abs=30)
    assert (known["most"], known["lease_s"]) == (500, 86_400)
    for card in take(client, 20)["cards"]:
        assert card["bytes"] == sizes[card["item"]]


def test_where_no_picture_can_be_made_nothing_is_said_of_its_weight(tmp_path, monkeypatch):
    ws = make_pool(tmp_path, 20)
    begin(ws)
    with served(ws, monkeypatch) as (app, _):
        assert visit(app).get("/api/pack").json()["tile_bytes"] is None
        assert {c["bytes"] for c in take(visit(app), 5)["cards"]} == {None}
    ws.close()


def test_asking_what_a_pack_weighs_leaves_nobody(app, ws):
    people = "SELECT count(*) FROM people"
    before = ws.store.conn.execute(people).fetchone()
    for _ in range(3):
        assert visit(app).get("/api/pack").status_code == 200
        assert visit(app).post("/api/pack/back", json={}).status_code == 200
    assert ws.store.conn.execute(people).fetchone() == before
