import asyncio
import json
import threading
import time
import uuid

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeler import coding, loop
from labeler.door import COOKIE
from labeler.scan import walk
from labeler.server import cards as cards_module
from labeler.server import desk as desk_module
from labeler.server import wire
from tests.pools import DIM, KEY, make_pool
from tests.served import (
    OWNERS,
    ROUTES,
    URL,
    Still,
    answer,
    awaited,
    begin,
    build,
    cards_of,
    cookie_of,
    is_problem,
    picture,
    served,
    visit,
)

N = 60
PHONE = "http://192.168.1.5:8501"


@pytest.fixture
def ws(tmp_path):
    ws = make_pool(tmp_path, N, images=True)
    yield ws
    ws.close()


@pytest.fixture
def session(ws):
    return begin(ws)


@pytest.fixture
def server(ws, session, monkeypatch):
    with served(ws, monkeypatch) as (app, desk):
        yield app, desk


@pytest.fixture
def client(server):
    return visit(server[0])


def send(client, *events, **query):
    reply = client.post("/api/labels", json={"events": list(events)}, params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


# the session -------------------------------------------------------------------------------


def test_the_session_says_where_it_stands(client, session):
    found = client.get("/api/session").json()
    named = {"id", "question", "labels", "goal", "round", "events", "counts", "found", "estimate"}
    more = {"worker", "embedded", "images", "owner", "stage", "total", "left_s", "drawn", "can_undo"}
    deck = {"cards_shown", "per_minute", "rounds", "batch_size", "round_answered"}
    assert named | more | deck <= set(found)
    assert found["id"] == session.id
    assert found["counts"] == {"yes": 0, "no": 0, "unsure": 0, "skip": 0}
    assert (found["images"], found["embedded"], found["worker"], found["owner"]) == (N, N, "idle", True)


def test_the_newest_session_is_meant_and_others_can_be_named(ws, client, session):
    newer = loop.start_session(ws, "Is it another?", ("a", "b"))
    assert client.get("/api/session").json()["id"] == newer.id
    assert client.get(f"/api/session?session={session.id}").json()["id"] == session.id
    assert is_problem(client.get("/api/session?session=99"), 404)


def test_a_workspace_without_a_session_says_so(ws, monkeypatch):
    with served(ws, monkeypatch) as (app, _):
        client = visit(app)
        for method, path, body in ROUTES:
            if path.startswith(("/api/session?", "/api/cards", "/api/labels", "/api/undo", "/api/ask")):
                assert is_problem(client.request(method, path, json=body), 404)


# cards -------------------------------------------------------------------------------------


def test_cards_have_what_the_deck_needs_and_the_owner_sees_why(ws, client):
    cards = cards_of(client, n=5)
    assert len(cards) == 5
    for card in cards:
        assert set(card) == {"card", "item", "url", "width", "height", "round", "reason", "p_chosen", "score"}
        assert (card["width"], card["height"], card["round"]) == (24, 16, 1)
        assert client.get(card["url"]).headers["content-type"] == "image/webp"


def test_people_who_swipe_do_not_see_why_a_card_was_chosen(ws, session, server):
    client = visit(server[0], url=PHONE)
    client.cookies.set(COOKIE, cookie_of(ws))
    card = cards_of(client, n=1)[0]
    assert not {"reason", "p_chosen", "score"} & set(card)
    send(client, answer(card["item"], card=card["card"]))
    undone = client.post("/api/undo", json={"id": str(uuid.uuid4())}).json()
    assert not {"reason", "p_chosen", "score"} & set(undone["card"])
    assert client.get("/api/session").json()["owner"] is False
    for method, path, body in [*OWNERS, ("GET", "/", None), ("GET", "/_stcore/health", None)]:
        assert is_problem(client.request(method, path, json=body), 403)


def test_two_clients_never_hold_the_same_item(server):
    app, _ = server
    held, lock = [], threading.Lock()

    def take(name):
        client = visit(app)
        for _ in range(4):
            mine = [c["item"] for c in cards_of(client, n=3, have="999")]
            with lock:
                held.extend((name, item) for item in mine)

    threads = [threading.Thread(target=take, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    items = [item for _, item in held]
    assert len(items) == len(set(items)) > 30


def test_a_reload_gets_the_same_cards_again_and_a_refill_gets_others(client):
    first = [c["card"] for c in cards_of(client, n=4)]
    assert [c["card"] for c in cards_of(client, n=4)] == first
    assert [c["card"] for c in cards_of(client, n=4, have="")] == first
    have = ",".join(map(str, first))
    assert not {c["card"] for c in cards_of(client, n=4, have=have)} & set(first)


def test_running_out_of_cards_is_no_error(client):
    seen = cards_of(client, n=200)
    assert len(seen) <= N
    assert cards_of(client, n=20, have=",".join(str(c["card"]) for c in seen)) == []


def test_a_request_for_cards_waits_a_moment_for_the_round(server, monkeypatch):
    app, desk = server
    client = visit(app)
    desk.worker.busy = True
    threading.Timer(0.1, lambda: setattr(desk.worker, "busy", False)).start()
    began = time.monotonic()
    cards_of(client, n=1)
    assert 0.08 < time.monotonic() - began < 1
    monkeypatch.setattr(cards_module, "ROUND_WAIT_S", 0.05)
    desk.worker.busy = True
    assert cards_of(client, n=1)


# answers -----------------------------------------------------------------------------------


def test_accepted_answers_are_on_disk(ws, session, client):
    cards = cards_of(client, n=3)
    done = send(client, *(answer(c["item"], "yes", c["card"]) for c in cards))
    assert done == {"accepted": 3, "duplicates": 0, "rejected": []}
    log = ws.journal.log(session)
    expected = [(c["item"], "yes", c["card"], 812) for c in cards]
    assert [(e.item, e.answer, e.card, e.ms) for e in log] == expected
    assert log[0].at.isoformat() == "2026-11-20T12:00:00+00:00"


def test_the_worker_hears_of_answers(server, session):
    app, desk = server
    send(visit(app), answer(1))
    assert desk.worker.pokes == [session.id]


def test_a_repeat_changes_nothing(ws, session, client):
    events = [answer(1), answer(2, "no")]
    send(client, *events)
    assert send(client, *events) == {"accepted": 0, "duplicates": 2, "rejected": []}
    twice = answer(3)
    assert send(client, twice, twice) == {"accepted": 1, "duplicates": 1, "rejected": []}
    assert ws.journal.count_events(session.id) == 3


def test_a_late_answer_and_one_to_somebody_elses_card_are_stored(ws, session, server):
    app, _ = server
    late, other = visit(app), visit(app)
    card = cards_of(late, n=1)[0]
    ws.store.conn.execute("UPDATE cards SET lease_until = ?", (time.time(),))
    mine = cards_of(other, n=1)[0]
    assert mine["item"] == card["item"]
    assert send(late, answer(card["item"], "yes", card["card"]))["accepted"] == 1
    assert send(late, answer(mine["item"], "no", mine["card"]))["accepted"] == 1
    assert send(late, answer(5, "no", 987654))["accepted"] == 1
    assert ws.journal.count_events(session.id) == 3


@pytest.mark.parametrize("at", ["1970-01-01T00:00:00Z", "2999-01-01T00:00:00.000Z", "2026-11-20T12:00+05:30"])
def test_a_phones_wrong_clock_does_not_matter(client, at):
    assert send(client, answer(1, at=at))["accepted"] == 1


@pytest.mark.parametrize(("ms", "stored"), [(-5, 0), (1e12, 86_400_000), (12.7, 12), (None, None)])
def test_a_duration_is_kept_within_a_day(ws, session, client, ms, stored):
    send(client, answer(1, ms=ms))
    assert ws.journal.log(session)[0].ms == stored


def test_a_bad_event_does_not_hold_back_the_others(client):
    bad = [
        answer(N), answer(2**40), answer(1, "maybe"), answer(1, "x" * 61), answer(-1), answer(1.5),
        answer("1"), answer(True), answer(None), answer(1, card="7"), answer(1, ms="fast"),
        answer(1, at="yesterday"), answer(1, at=5), answer(1, id="7"), answer(1, id=None), answer(1, 7),
        answer(1, ["yes"]), answer(1, at="0001-01-01T00:00:00+23:00"), answer(1, at="9" * 5000),
        answer(10**30),
    ]  # fmt: skip
    done = send(client, answer(1), *bad, "event", None, 7, [], {}, answer(2))
    assert done["accepted"] == 2
    assert len(done["rejected"]) == len(bad) + 5
    assert all(set(r) == {"id", "why"} and r["why"].endswith(".") for r in done["rejected"])
    named = {r["id"] for r in done["rejected"]}
    assert {e["id"] for e in bad if isinstance(e["id"], str)} <= named


def test_an_event_without_a_label_is_malformed_but_null_takes_back(client):
    event = answer(1)
    send(client, event)
    del event["label"]
    assert send(client, event | {"id": str(uuid.uuid4())})["rejected"]
    assert send(client, answer(1, None))["accepted"] == 1
    assert client.get("/api/session").json()["counts"]["yes"] == 0


def test_unsure_and_skip_are_counted(client):
    send(client, answer(1, "unsure"), answer(2, "skip"))
    assert client.get("/api/session").json()["counts"] == {"yes": 0, "no": 0, "unsure": 1, "skip": 1}


def test_an_id_in_capitals_is_the_same_id(client):
    event = answer(1)
    send(client, event)
    assert send(client, event | {"id": event["id"].upper()})["duplicates"] == 1
    loud = answer(N, id=str(uuid.uuid4()).upper())
    assert send(client, loud)["rejected"][0]["id"] == loud["id"]


def test_answers_go_to_the_session_that_is_named(ws, session, client):
    other = loop.start_session(ws, "Another?", ("a", "b"))
    assert send(client, answer(1, "a"), session=other.id)["accepted"] == 1
    assert send(client, answer(1, "a"), session=session.id)["rejected"]


def test_an_answer_belongs_to_the_question_of_its_card(ws, client):
    first = begin(ws)
    other = loop.new_session(ws, "Is it another?", ["yes", "no"])
    loop.learn(ws, other)
    (card,) = cards_of(client, n=1)
    loop.use_session(ws, first)
    assert send(client, answer(card["item"], "yes", card["card"]))["accepted"] == 1
    assert [loop.session_status(ws, s)["events"] for s in (first, other)] == [0, 1]


def test_too_many_events_at_once_are_refused(client):
    assert is_problem(client.post("/api/labels", json={"events": [answer(1)] * 501}), 400)
    assert send(client) == {"accepted": 0, "duplicates": 0, "rejected": []}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


any_event = st.fixed_dictionaries(
    {},
    optional={
        "id": json_values | st.uuids().map(str),
        "card": json_values,
        "item": json_values | st.integers(0, 9),
        "label": json_values | st.just("yes"),
        "ms": json_values,
        "at": json_values | st.datetimes().map(str),
    },
)


@given(json_values | any_event)
@settings(max_examples=300, deadline=None)
def test_any_event_is_either_read_or_called_malformed(raw):
    why = ""
    try:
        event = wire.read_event(raw)
    except ValueError as e:
        why = str(e)
    assert why.endswith(".") or (0 <= event.item <= wire.HIGHEST and event.at.tzinfo is not None)


# undo --------------------------------------------------------------------------------------


def test_undo_goes_back_step_by_step_and_then_says_there_is_nothing(client):
    cards = cards_of(client, n=3)
    for card, label in zip(cards, ("yes", "no", "skip"), strict=True):
        send(client, answer(card["item"], label, card["card"]))
    assert client.get("/api/session").json()["can_undo"]
    for card, label in zip(reversed(cards), ("skip", "no", "yes"), strict=True):
        undone = client.post("/api/undo", json={"id": str(uuid.uuid4())}).json()
        assert (undone["item"], undone["label"]) == (card["item"], label)
        assert undone["card"] == card
    assert is_problem(client.post("/api/undo", json={"id": str(uuid.uuid4())}), 409)
    assert not client.get("/api/session").json()["can_undo"]


def test_a_repeated_undo_takes_back_one_answer(client):
    cards = cards_of(client, n=2)
    send(client, *(answer(c["item"], "yes", c["card"]) for c in cards))
    body = {"id": str(uuid.uuid4())}
    first = client.post("/api/undo", json=body).json()
    assert client.post("/api/undo", json={"id": body["id"].upper()}).json() == first
    assert client.get("/api/session").json()["counts"]["yes"] == 1


def test_undo_takes_back_only_ones_own_answer(server):
    app, _ = server
    one, two = visit(app), visit(app)
    card = cards_of(one, n=1)[0]
    send(one, answer(card["item"], "yes", card["card"]))
    assert is_problem(two.post("/api/undo", json={"id": str(uuid.uuid4())}), 409)


NULL_AT_FIRST = ("estimate", "advice", "certificate", "feedback")  # the last: where the owner wants it


def test_the_described_answers_look_like_the_real_ones(client):
    described = client.get("/api/openapi.json").json()["paths"]

    def shape(value):
        if isinstance(value, dict) and not {"yes", "no"} & set(value):
            return {key: shape(part) for key, part in value.items() if key not in NULL_AT_FIRST}
        return [shape(value[0])] if isinstance(value, list) and value and isinstance(value[0], dict) else None

    def is_like(method, path, reply):
        content = described[path][method]["responses"]["200"]["content"]["application/json"]
        assert shape(reply.json()) == shape(content["example"]), path

    card = cards_of(client, n=1)[0]
    is_like("get", "/cards", client.get("/api/cards?n=1"))
    event = answer(card["item"], card=card["card"])
    is_like("post", "/labels", client.post("/api/labels", json={"events": [event, answer(N)]}))
    is_like("get", "/session", client.get("/api/session"))
    is_like("get", "/items/{item}", client.get(f"/api/items/{card['item']}"))
    is_like("get", "/search", client.get("/api/search?item=1"))
    is_like("post", "/search", client.post("/api/search", json={"like": [1]}))
    is_like("post", "/undo", client.post("/api/undo", json={"id": str(uuid.uuid4())}))
    is_like("post", "/ask", client.post("/api/ask", json={"items": [1]}))
    is_like("post", "/session/labels", client.post("/api/session/labels", json={"add": "maybe"}))


# items, search, asking ---------------------------------------------------------------------


def test_an_item_tells_its_file_and_everything_said_about_it(ws, client):
    card = cards_of(client, n=1)[0]
    send(client, answer(card["item"], "no", card["card"]))
    found = client.get(f"/api/items/{card['item']}").json()
    assert found["path"] == f"img{card['item']:04}.png"
    assert (found["width"], found["height"], found["score"]) == (24, 16, None)
    [event] = found["labels"]
    assert (event["label"], event["card"], event["reason"]) == ("no", card["card"], card["reason"])


def test_a_name_that_is_no_text_can_still_be_shown(ws, client):
    ws.catalog.conn.execute(
        "UPDATE files SET path = ?, raw = ? WHERE item = 3", ("\\xff<script>.png", b"\xff<script>.png")
    )
    assert client.get("/api/items/3").json()["path"] == "\\xff<script>.png"


def test_an_items_score_is_how_likely_the_target_is(ws, session, client):
    for item in range(20):
        send(client, answer(item, "yes" if item % 10 == 0 else "no"))
    loop.learn(ws, session)
    target, other = (client.get(f"/api/items/{i}").json()["score"] for i in (30, 31))
    assert 0 <= other < target <= 1


def test_search_finds_what_is_alike_best_first(client):
    results = client.get("/api/search?item=10&k=6").json()["results"]
    assert len(results) == 6
    assert all(set(r) == {"item", "cos", "url"} for r in results)
    assert results[0]["item"] == 10
    assert [r["cos"] for r in results] == sorted((r["cos"] for r in results), reverse=True)
    posted = client.post("/api/search", json={"like": [10], "k": 6}).json()["results"]
    assert posted == results
    away = client.post("/api/search", json={"like": [10], "unlike": [1], "k": 6}).json()["results"]
    assert [r["cos"] for r in away] != [r["cos"] for r in results]


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, exact: client.get(f"/api/search?item=10&exact={exact}"),
        lambda client, exact: client.post("/api/search", json={"like": [10], "exact": exact == "true"}),
        lambda client, exact: client.post(
            "/api/search", files=[("image", ("a.png", picture()))], data={"exact": exact}
        ),
    ],
)
def test_every_item_is_compared_where_one_asks_for_it(client, monkeypatch, ask):
    asked = []
    real = coding.index
    monkeypatch.setattr(
        coding, "index", lambda *args, **more: asked.append(more["exact"]) or real(*args, **more)
    )
    assert ask(client, "true").status_code == ask(client, "false").status_code == 200
    assert asked == [True, False]
    monkeypatch.setattr(coding, "SLOW_ROWS", N - 1)
    assert is_problem(ask(client, "true"), 400)


def test_search_by_a_vector_and_for_more_than_there_is(client):
    row = [0.0, 3.0] + [0.0] * (DIM - 2)
    results = client.post("/api/search", json={"embedding": row, "k": 10_000}).json()["results"]
    assert len(results) == N
    assert results[0]["item"] % 10 == 0


def test_search_by_pictures(client):
    files = [("image", ("a.png", picture(), "image/png")), ("unlike_image", ("b.png", picture((0, 0, 9))))]
    reply = client.post("/api/search", files=files, data={"k": "3"})
    assert reply.status_code == 200
    assert len(reply.json()["results"]) == 3
    again = client.post("/api/search", files=files[:1], data={"k": "3", "like": ["10"], "unlike": ["1"]})
    assert len(again.json()["results"]) == 3


def test_a_picture_that_can_not_be_used_is_named(client):
    files = [("image", ("good.png", picture())), ("unlike_image", ("tr\u202euth.csv", b"a,b"))]
    reply = client.post("/api/search", files=files)
    assert is_problem(reply, 400)
    assert reply.json()["error"].startswith("tr?uth.csv: ")


def test_scrolling_embeds_a_picture_once(server, client, monkeypatch):
    embedded = []
    real = server[1].worker.embed
    monkeypatch.setattr(server[1].worker, "embed", lambda data: embedded.append(data) or real(data))
    for k in ("3", "6", "9"):
        reply = client.post("/api/search", files=[("image", ("a.png", picture()))], data={"k": k})
        assert len(reply.json()["results"]) == int(k)
    assert embedded == [picture()]


def test_search_by_words(client):
    results = client.post("/api/search", json={"words": [" red "], "k": 5}).json()["results"]
    assert len(results) == 5
    both = {"words": ["red"], "k": "5"}
    form = client.post("/api/search", data=both, files=[("image", ("a", picture()))]).json()["results"]
    assert len(form) == 5
    assert form != results


def test_the_owner_is_told_files_and_answers(client):
    send(client, answer(10, "yes"), answer(11, "unsure"))
    asked = {"like": [10], "k": N, "about": True}
    about = {r["item"]: r for r in client.post("/api/search", json=asked).json()["results"]}
    assert len(about) == N
    assert all(set(r) == {"item", "cos", "url", "name", "answer"} for r in about.values())
    assert (about[10]["answer"], about[11]["answer"], about[12]["answer"]) == ("yes", "unsure", None)
    assert about[10]["name"] == client.get("/api/items/10").json()["path"]


@pytest.mark.parametrize(
    "body",
    [
        {}, {"like": []}, {"like": [N]}, {"like": [-1]}, {"like": ["1"]}, {"like": [1], "k": 0},
        {"like": [10**30]}, {"embedding": []}, {"embedding": [0.0] * DIM}, {"embedding": [1.0] * (DIM + 1)},
        {"embedding": [1e300] * DIM}, {"embedding": ["1"] * DIM}, {"like": [1], "embedding": [1.0] * 3},
        {"like": [1], "unlike": [1]}, [], "x", 7, {"like": [1], "k": 10**30},
        {"like": [1], "k": 1.5}, {"unlike": [1]}, {"words": [""]}, {"words": ["blue"]}, {"words": "red"},
        {"words": ["x" * 201]}, {"words": ["red"] * 6}, {"words": ["a\u0007"]}, {"like": [1], "about": "yes"},
    ],
)  # fmt: skip
def test_a_search_that_makes_no_sense_says_so(client, body):
    reply = client.post("/api/search", json=body)
    if body == {"like": [1], "unlike": [1]}:  # nothing is left of it, or everything is equally near
        assert reply.status_code < 500
    else:
        assert is_problem(reply, 400, 404)


def test_a_form_that_makes_no_sense_says_so(client):
    sent = [("image", ("x.jpg", b"<html>not a picture"))]
    assert is_problem(client.post("/api/search", files=sent), 400)
    assert is_problem(client.post("/api/search", files=[("other", ("x", b""))]), 400)
    good = ("image", ("a", picture()))
    assert is_problem(client.post("/api/search", files=[good], data={"k": "many"}), 400)
    assert is_problem(client.post("/api/search", files=[good] * 21), 400)
    broken = {"content-type": "multipart/form-data; boundary=x"}
    assert is_problem(client.post("/api/search", content=b"--x\r\nrubbish", headers=broken), 400)
    assert is_problem(
        client.post("/api/search", content=b"--x", headers={"content-type": "multipart/form-data"}), 400
    )


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_vector_that_is_not_finite_says_so(client, text):
    body = '{"embedding": [' + ", ".join([text] + ["1.0"] * (DIM - 1)) + "]}"
    reply = client.post("/api/search", content=body, headers={"content-type": "application/json"})
    assert is_problem(reply, 400)


@pytest.mark.parametrize("data", [bytes(50_000_000), b"\xff\xd8\xff\xe0" + bytes(50_000_000)])
def test_fifty_megabytes_that_are_no_picture_say_so(client, data):
    assert is_problem(client.post("/api/search", files=[("image", ("a.jpg", data))]), 400, 413)
    assert client.get("/api/search?item=1&k=3").status_code == 200


def test_search_before_anything_is_embedded_says_so(tmp_path, monkeypatch):
    ws = make_pool(tmp_path / "bare", 5, embedded=False, images=True)
    begin(ws)
    with served(ws, monkeypatch) as (app, _):
        client = visit(app)
        assert is_problem(client.get("/api/search?item=1"), 409)
        assert is_problem(client.post("/api/search", json={"words": ["red"]}), 409)
        assert is_problem(client.post("/api/search", json={"embedding": [1.0] * DIM}), 409)
        for data in (picture(), (ws.images / "img0001.png").read_bytes()):
            assert is_problem(client.post("/api/search", files=[("image", ("a", data))]), 409)
    ws.close()


def test_an_item_whose_file_was_gone_before_it_was_seen_is_no_example(ws, client):
    nothing = np.full(DIM, DIM**-0.5, np.float32)
    path = ws.vectors(KEY, DIM).path
    rows = np.fromfile(path, np.float32).reshape(-1, DIM)
    rows[7] = nothing
    path.write_bytes(rows.tobytes())
    for reply in (
        client.get("/api/search?item=7"),
        client.post("/api/search", json={"like": [7]}),
        client.post("/api/search", json={"like": [3], "unlike": [7]}),
    ):
        assert is_problem(reply, 404)
        assert reply.json()["error"] == "Item 7 could not be seen, so nothing is like it."


def test_an_item_whose_file_went_later_is_an_example_and_no_result(ws, client):
    (ws.images / "img0010.png").unlink()
    scan = ws.catalog.begin_scan()
    ws.catalog.note_files(scan, list(walk(ws.images)))
    ws.catalog.end_scan(scan)
    results = client.get("/api/search?item=10&k=5").json()["results"]
    assert len(results) == 5
    assert 10 not in {r["item"] for r in results}


def test_nobody_waits_for_the_pictures_of_others(ws, session, monkeypatch):
    """Pictures that wait for the encoder take no place that searches by items need."""
    monkeypatch.setattr(desk_module, "Worker", Still)
    app, desk = build(ws)
    go_on = threading.Event()

    async def visits():
        async with desk.serving(ws, shared=False):
            real = desk.worker.embed
            monkeypatch.setattr(desk.worker, "embed", lambda data: go_on.wait(30) and real(data))
            transport = httpx.ASGITransport(app, client=("127.0.0.1", 50000))
            async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
                files = [("image", (f"{i}.png", picture((i, 9, 9)))) for i in range(3)]
                waiting = [asyncio.create_task(client.post("/api/search", files=files)) for _ in range(5)]
                await asyncio.sleep(0.2)
                quick = await asyncio.wait_for(client.get("/api/search?item=10&k=5"), 10)
                assert len(quick.json()["results"]) == 5
                assert not any(task.done() for task in waiting)
                go_on.set()
                for reply in await asyncio.gather(*waiting):
                    assert len(reply.json()["results"]) == 50

    awaited(visits())


def test_what_is_asked_about_comes_first(client):
    assert client.post("/api/ask", json={"items": [41, 42]}).json() == {"asked": 2}
    first = [(c["item"], c["reason"], c["p_chosen"]) for c in cards_of(client, n=2)]
    assert first == [(41, "asked", None), (42, "asked", None)]
    assert is_problem(client.post("/api/ask", json={"items": [N]}), 404)


def test_a_session_is_started(server):
    app, desk = server
    client = visit(app)
    body = {"question": "Is it a ship?", "labels": ["ship", "other"], "goal": "classify"}
    made = client.post("/api/sessions", json=body).json()
    assert {key: made[key] for key in body} == body
    assert client.get("/api/session").json()["id"] == made["id"]
    assert desk.worker.pokes == [made["id"]]
    labels = [["a", "A"], ["a"], ["skip", "b"], ["a\n", "b"], ["\ud800", "b"], ["a"] * 10, "ab", None, [1, 2]]
    bad = [{"labels": names} for names in labels] + [{"question": " "}, {"question": "\ud800"}, {"goal": "x"}]
    for part in bad:
        sent = json.dumps(body | part)
        reply = client.post("/api/sessions", content=sent, headers={"content-type": "application/json"})
        assert is_problem(reply, 400)


def test_labels_are_added_and_renamed_midway(client):
    send(client, answer(1, "yes"))
    added = client.post("/api/session/labels", json={"add": "maybe"}).json()
    assert added["labels"] == ["yes", "no", "maybe"]
    renamed = client.post("/api/session/labels", json={"rename": "yes", "to": "ship"}).json()
    assert renamed["labels"] == ["ship", "no", "maybe"]
    assert renamed["counts"]["ship"] == 1
    assert send(client, answer(2, "yes"), answer(3, "ship"))["accepted"] == 2
    both = {"add": "a", "rename": "ship", "to": "b"}
    for bad in ({}, {"add": "ship"}, {"rename": "ship"}, {"rename": "x", "to": "y"}, both):
        assert is_problem(client.post("/api/session/labels", json=bad), 400, 404)


def test_an_example_in_the_pool_becomes_an_answer_and_one_outside_does_not(ws, session, client):
    inside = (ws.images / "img0010.png").read_bytes()
    files = [("image", ("in.png", inside)), ("image", ("out.png", picture((1, 2, 3), "JPEG")))]
    assert client.post("/api/examples", files=files).json() == {"items": [10, None]}
    assert client.get("/api/session").json()["found"] == 1
    assert len(loop.examples(ws, session)) == 2
    assert client.post("/api/examples", files=files[:1], data={"label": "no"}).status_code == 200
    for bad in ([("image", ("x.png", b"rubbish"))], [("other", ("x.png", picture()))]):
        assert is_problem(client.post("/api/examples", files=bad), 400)
    assert is_problem(client.post("/api/examples", files=files, data={"label": "none"}), 404)
    assert is_problem(client.post("/api/examples", json={"image": "x"}), 400)


def test_answers_of_another_workspace_are_refused_and_nothing_is_stored(client):
    card = cards_of(client, n=1)[0]
    stamp = client.get("/api/session").json()["workspace"]
    events = [answer(card["item"], card=card["card"])]
    reply = client.post("/api/labels", json={"events": events, "workspace": "other"})
    assert reply.status_code == 409
    assert set(reply.json()) == {"error", "do"}
    assert client.get("/api/session").json()["events"] == 0
    assert client.post("/api/labels", json={"events": events, "workspace": stamp}).json()["accepted"] == 1


def test_a_target_is_set_changed_and_cleared(ws, client, session):
    assert client.get("/api/session").json()["target_share"] is None
    for share in (0.95, 0.5, 0.999, None):
        told = client.post("/api/target", json={"share": share})
        assert told.status_code == 200
        assert told.json()["target_share"] == share
        assert client.get("/api/session").json()["target_share"] == share
    assert [share for share, _ in ws.store.targets(session.id)] == [0.95, 0.5, 0.999, None]
    other = loop.start_session(ws, "Is it another?", ("a", "b"))
    named = client.post("/api/target", json={"share": 0.8}, params={"session": session.id}).json()
    assert (named["id"], named["target_share"]) == (session.id, 0.8)
    assert loop.get_session(ws, other.id).target_share is None
    assert is_problem(client.post("/api/target", json={"share": 0.8}, params={"session": 99}), 404)


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b'{"share": 95}', b'{"share": 1}', b'{"share": 0.49}', b'{"share": -1}', b'{"share": "0.95"}',
        b'{"share": true}', b'{"share": [0.9]}', b'{"share": NaN}', b'{"share": 1e999}', b"[]", b"0.9", b"",
    ],
)  # fmt: skip
def test_what_is_no_target_is_refused_and_changes_nothing(ws, client, session, body):
    loop.set_target(ws, session, 0.9)
    reply = client.post("/api/target", content=body, headers={"content-type": "application/json"})
    assert is_problem(reply, 400)
    assert loop.get_session(ws, session.id).target_share == 0.9
