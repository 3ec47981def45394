import io
import json
import threading
import time
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labeler import loop, people
from labeler.people import COOKIE
from labeler.server import cards as cards_module
from labeler.server import guard, wire
from tests.pools import DIM, make_pool
from tests.served import URL, answer, begin, served, visit

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


@pytest.fixture
def shared(ws, session, monkeypatch):
    with served(ws, monkeypatch, shared=True) as (app, desk):
        yield app, desk


def picture(colour=(250, 10, 10), format="PNG"):
    out = io.BytesIO()
    Image.new("RGB", (24, 16), colour).save(out, format)
    return out.getvalue()


def cards_of(client, **query):
    reply = client.get("/api/cards", params=query)
    assert reply.status_code == 200
    return reply.json()["cards"]


def send(client, *events, **query):
    reply = client.post("/api/labels", json={"events": list(events)}, params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def is_problem(reply, *statuses):
    body = reply.json()
    assert reply.status_code in (statuses or range(400, 500)), reply.text
    assert set(body) == {"error", "do"}, body
    assert all(isinstance(text, str) and text.strip() for text in body.values())
    return True


# the session -------------------------------------------------------------------------------


def test_the_session_says_where_it_stands(client, session):
    found = client.get("/api/session").json()
    named = {"id", "question", "labels", "goal", "round", "events", "cards_shown", "counts", "found", "estimate"}
    more = {"worker", "embedded", "images", "owner", "stage", "total", "left_s", "drawn", "can_undo"}
    deck = {"per_minute", "rounds", "batch_size", "round_answered"}
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
    app, desk = server
    client = visit(app, url=PHONE)
    token = people.secrets.token_urlsafe(32)
    ws.store.add_person("volunteer", "swipe", people._key("link", token))
    client.cookies.set(COOKIE, token)
    card = cards_of(client, n=1)[0]
    assert not {"reason", "p_chosen", "score"} & set(card)
    send(client, answer(card["item"], card=card["card"]))
    undone = client.post("/api/undo", json={"id": str(uuid.uuid4())}).json()
    assert not {"reason", "p_chosen", "score"} & set(undone["card"])
    assert client.get("/api/session").json()["owner"] is False
    for method, path, body in OWNERS:
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
    log = ws.store.log(session)
    assert [(e.item, e.answer, e.card, e.ms) for e in log] == [(c["item"], "yes", c["card"], 812) for c in cards]
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
    assert ws.store.count_events(session.id) == 3


def test_a_late_answer_and_one_to_somebody_elses_card_are_stored(ws, session, server):
    app, _ = server
    late, other = visit(app), visit(app)
    card = cards_of(late, n=1)[0]
    ws.store.conn.execute("UPDATE cards SET lease_until = 0")
    mine = cards_of(other, n=1)[0]
    assert mine["item"] == card["item"]
    assert send(late, answer(card["item"], "yes", card["card"]))["accepted"] == 1
    assert send(late, answer(mine["item"], "no", mine["card"]))["accepted"] == 1
    assert send(late, answer(5, "no", 987654))["accepted"] == 1
    assert ws.store.count_events(session.id) == 3


@pytest.mark.parametrize("at", ["1970-01-01T00:00:00Z", "2999-01-01T00:00:00.000Z", "2026-11-20T12:00:00+05:30"])
def test_a_phones_wrong_clock_does_not_matter(client, at):
    assert send(client, answer(1, at=at))["accepted"] == 1


@pytest.mark.parametrize(("ms", "stored"), [(-5, 0), (1e12, 86_400_000), (12.7, 12), (None, None)])
def test_a_duration_is_kept_within_a_day(ws, session, client, ms, stored):
    send(client, answer(1, ms=ms))
    assert ws.store.log(session)[0].ms == stored


def test_a_bad_event_does_not_hold_back_the_others(client):
    bad = [
        answer(N), answer(2**40), answer(1, "maybe"), answer(1, "x" * 61), answer(-1), answer(1.5), answer("1"),
        answer(True), answer(None), answer(1, card="7"), answer(1, ms="fast"), answer(1, at="yesterday"),
        answer(1, at=5), answer(1, id="7"), answer(1, id=None), answer(1, 7), answer(1, ["yes"]),
        answer(1, at="0001-01-01T00:00:00+23:00"), answer(1, at="9" * 5000), answer(10**30),
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


def test_too_many_events_at_once_are_refused(client):
    assert is_problem(client.post("/api/labels", json={"events": [answer(1)] * 501}), 400)
    assert send(client) == {"accepted": 0, "duplicates": 0, "rejected": []}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": json_values | st.uuids().map(str), "card": json_values, "item": json_values | st.integers(0, 9),
            "label": json_values | st.just("yes"), "ms": json_values, "at": json_values | st.datetimes().map(str),
        },
    )
)  # fmt: skip
@settings(max_examples=300)
def test_any_event_is_either_read_or_called_malformed(raw):
    try:
        event = wire.read_event(raw)
    except ValueError as e:
        assert str(e).endswith(".")
    else:
        assert 0 <= event.item <= wire.HIGHEST
        assert event.at.tzinfo is not None


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


@pytest.mark.parametrize(
    "body",
    [
        {}, {"like": []}, {"like": [N]}, {"like": [-1]}, {"like": ["1"]}, {"like": [1], "k": 0}, {"like": [10**30]},
        {"embedding": []}, {"embedding": [0.0] * DIM}, {"embedding": [1.0] * (DIM + 1)}, {"embedding": [1e300] * DIM},
        {"embedding": ["1"] * DIM}, {"like": [1], "embedding": [1.0] * 3}, {"like": [1], "unlike": [1]}, [], "x", 7,
        {"like": [1], "k": 10**30}, {"like": [1], "k": 1.5}, {"unlike": [1]},
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
    assert is_problem(client.post("/api/search", files=[("image", ("a", picture()))], data={"k": "many"}), 400)
    assert is_problem(client.post("/api/search", files=[("image", ("a", picture()))] * 21), 400)
    broken = {"content-type": "multipart/form-data; boundary=x"}
    assert is_problem(client.post("/api/search", content=b"--x\r\nrubbish", headers=broken), 400)
    assert is_problem(
        client.post("/api/search", content=b"--x", headers={"content-type": "multipart/form-data"}), 400
    )


def test_search_before_anything_is_embedded_says_so(tmp_path, monkeypatch):
    ws = make_pool(tmp_path / "bare", 5, embedded=False)
    begin(ws)
    with served(ws, monkeypatch) as (app, _):
        assert is_problem(visit(app).get("/api/search?item=1"), 409)
    ws.close()


def test_what_is_asked_about_comes_first(client):
    assert client.post("/api/ask", json={"items": [41, 42]}).json() == {"asked": 2}
    first = cards_of(client, n=2)
    assert [(c["item"], c["reason"], c["p_chosen"]) for c in first] == [(41, "asked", None), (42, "asked", None)]
    assert is_problem(client.post("/api/ask", json={"items": [N]}), 404)


def test_a_session_is_started(server):
    app, desk = server
    client = visit(app)
    body = {"question": "Is it a ship?", "labels": ["ship", "other"], "goal": "classify"}
    made = client.post("/api/sessions", json=body).json()
    assert (made["question"], made["labels"], made["goal"]) == ("Is it a ship?", ["ship", "other"], "classify")
    assert client.get("/api/session").json()["id"] == made["id"]
    assert desk.worker.pokes == [made["id"]]
    for bad in ({"labels": ["a", "A"]}, {"labels": ["a"]}, {"labels": ["skip", "b"]}, {"question": " "}, {"goal": "x"},
                {"labels": ["a\n", "b"]}, {"question": "\ud800"}, {"labels": ["\ud800", "b"]}):  # fmt: skip
        sent = json.dumps(body | bad)
        reply = client.post("/api/sessions", content=sent, headers={"content-type": "application/json"})
        assert is_problem(reply, 400)


def test_labels_are_added_and_renamed_midway(client):
    send(client, answer(1, "yes"))
    assert client.post("/api/session/labels", json={"add": "maybe"}).json()["labels"] == ["yes", "no", "maybe"]
    renamed = client.post("/api/session/labels", json={"rename": "yes", "to": "ship"}).json()
    assert renamed["labels"] == ["ship", "no", "maybe"]
    assert renamed["counts"]["ship"] == 1
    assert send(client, answer(2, "yes"), answer(3, "ship"))["accepted"] == 2
    for bad in ({}, {"add": "ship"}, {"rename": "none"}, {"rename": "x", "to": "y"}, {"add": "a", "rename": "b"}):
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


# tiles -------------------------------------------------------------------------------------


@pytest.fixture
def photo(ws):
    """Item 3, with a file of 1500 x 900 pixels that carries a position and lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 30.0)
    rng = np.random.default_rng(0)
    pixels = np.repeat(np.repeat(rng.integers(0, 255, (90, 150, 3), np.uint8), 10, 0), 10, 1)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", exif=exif)
    (ws.images / "img0003.png").write_bytes(out.getvalue())
    ws.catalog.conn.execute(
        "UPDATE items SET hash = ?, width = 900, height = 1500 WHERE id = 3", (loop.images.content_hash(out.getvalue()),)
    )
    return 3


@pytest.mark.parametrize(
    ("w", "size"), [("256", (154, 256)), ("512", (307, 512)), ("1024", (614, 1024)), ("full", (900, 1500))]
)
def test_tiles_are_upright_small_and_without_metadata(client, photo, w, size):
    reply = client.get(f"/tiles/{photo}?w={w}")
    image = Image.open(io.BytesIO(reply.content))
    assert max(abs(a - b) for a, b in zip(image.size, size, strict=True)) <= 1
    assert reply.headers["content-type"] in ("image/webp", "image/jpeg")
    assert not image.getexif()
    assert "exif" not in image.info
    assert "immutable" in reply.headers["cache-control"]
    assert reply.headers["etag"].startswith('"')
    assert "set-cookie" not in reply.headers  # the answer may be kept for good
    again = client.get(f"/tiles/{photo}?w={w}", headers={"if-none-match": reply.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_tiles_are_never_enlarged(client):
    for w in ("256", "512", "1024", "full"):
        assert Image.open(io.BytesIO(client.get(f"/tiles/5?w={w}").content)).size == (24, 16)


def test_tiles_are_made_again_when_the_cache_is_deleted(ws, client, photo):
    first = client.get(f"/tiles/{photo}?w=512").content
    assert ws.tile(photo, 512).read_bytes() == first
    ws.tile(photo, 512).unlink()
    assert client.get(f"/tiles/{photo}?w=512").content == first


def test_the_memory_for_tiles_is_bounded(server, monkeypatch):
    from labeler.server.tiles import Made, Tiles

    tiles = Tiles(server[1])
    monkeypatch.setattr("labeler.server.tiles.MEMORY_BYTES", 1000)
    for i in range(20):
        tiles._keep((i, "512"), Made(b"x" * 100, "image/webp"))
        tiles._keep((i, "512"), Made(b"x" * 100, "image/webp"))
    assert len(tiles._kept) == 10
    assert tiles._bytes == 1000
    tiles._keep((99, "full"), Made(b"x" * (2 << 20), "image/webp"))
    assert tiles._get((99, "full")) is None


def test_a_picture_that_cannot_be_read_now_says_so(ws, client):
    (ws.images / "img0007.png").unlink()
    (ws.images / "img0008.png").write_bytes(picture((9, 9, 9)))
    for item in (7, 8):
        assert is_problem(client.get(f"/tiles/{item}?w=1024"), 404)
        assert client.get(f"/tiles/{item}?w=1024").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/tiles/..%2f..%2flabeler.db", "/tiles/../labeler.db", "/tiles/%2e%2e/%2e%2e/etc/passwd", "/tiles/3%00",
        "/tiles/-1", "/tiles/3.webp", "/tiles/%F0%9D%9F%9B", "/tiles/\u0663", "/tiles/99999999999999999999",
        "/tiles/60", "/tiles/1e2", "/tiles/ 3", "/tiles/", "/tiles/3/4", "/tiles/..\\..\\x", "/deck/../guard.py",
        "/deck/..%2fapi.py", "/deck/%2e%2e%2fapi.py", "/deck/deck.html", "/deck/", "/deck/nothing.js",
    ],
)  # fmt: skip
def test_paths_are_never_taken_from_a_client(client, path):
    reply = client.get(path)
    assert reply.status_code == 404
    assert b"import" not in reply.content


@pytest.mark.parametrize("w", ["0", "-1", "513", "FULL", "", "256%00", "..", "9" * 400])
def test_only_the_widths_there_are(client, w):
    assert is_problem(client.get(f"/tiles/3?w={w}"), 400)


# the light page, the description -----------------------------------------------------------


def test_the_light_page_names_each_file_by_its_version(client):
    page = client.get("/swipe")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    for name in ("deck.js", "deck.css"):
        start = page.text.index(f"/deck/{name}?v=")
        url = page.text[start : page.text.index('"', start)]
        kept = client.get(url)
        assert kept.status_code == 200
        assert "immutable" in kept.headers["cache-control"]
        fresh = client.get(f"/deck/{name}")
        assert fresh.headers["cache-control"] == "no-cache"
        assert client.get(f"/deck/{name}", headers={"if-none-match": fresh.headers["etag"]}).status_code == 304
    assert client.get("/deck/deck.js").headers["content-type"].startswith("text/javascript")


def test_the_description_needs_no_network(client):
    page = client.get("/api/docs")
    assert page.status_code == 200
    assert "//" not in page.text.replace("<!doctype", "")
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    paths = client.get("/api/openapi.json").json()["paths"]
    assert {"/session", "/cards", "/labels", "/undo", "/items/{item}", "/search", "/ask", "/sessions"} <= set(paths)
    for path in paths:
        assert path in page.text


def test_every_route_is_in_the_documentation(client):
    text = (loop.images.Path(__file__).parent.parent / "docs" / "http.md").read_text("utf-8")
    for path, methods in client.get("/api/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"{method.upper()} /api{path}" in text, path


# rubbish -----------------------------------------------------------------------------------

OWNERS = [
    ("GET", "/api/items/1", None),
    ("POST", "/api/ask", {"items": [1]}),
    ("POST", "/api/sessions", {"question": "Is it?", "labels": ["yes", "no"]}),
    ("POST", "/api/session/labels", {"add": "maybe"}),
    ("POST", "/api/examples", None),
]
ROUTES = [
    *OWNERS,
    ("GET", "/api/session?x=1", None),
    ("GET", "/api/cards", None),
    ("POST", "/api/labels", {"events": []}),
    ("POST", "/api/undo", {"id": "00000000-0000-4000-8000-000000000000"}),
    ("GET", "/api/search?item=1", None),
    ("POST", "/api/search", {"like": [1]}),
    ("GET", "/api/docs", None),
    ("GET", "/api/openapi.json", None),
    ("GET", "/tiles/1", None),
    ("GET", "/swipe", None),
    ("GET", "/deck/deck.js", None),
]
POSTS = sorted({path for method, path, _ in ROUTES if method == "POST"})
RUBBISH = [
    b"", b"{", b"null", b"[]", b"7", b'"x"', b"\xff\xfe", b'{"events": NaN}', b'{"id": 1e999}', b"[" * 100_000,
    b'{"id": ' + b"9" * 5000 + b"}", b'{"events": {"a": 1}}', b'{"items": [99999999999999999999999]}',
    b'{"items": [NaN]}', b'{"items": [Infinity]}', b'{"question": 7, "labels": {}}', b'{"id": "\\ud800"}',
    b'{"question": "' + b"x" * 301 + b'", "labels": ["a", "b"]}', b'{"like": [true]}', b'{"items": []}', b"\x00",
]  # fmt: skip


@pytest.mark.parametrize("path", POSTS)
def test_a_malformed_body_is_refused_with_a_sentence(client, path):
    for body in RUBBISH:
        for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
            assert is_problem(client.post(path, content=body, headers={"content-type": kind}), 400), body[:40]
        assert is_problem(client.post(path, content=body), 400)


@pytest.mark.parametrize(
    "query",
    ["n=0", "n=-1", "n=x", "n=1.5", "n=10000000000000000000000000", "n=NaN", "n=", "have=x", "have=1,,2", "have=-1",
     "have=" + "1," * 9000 + "1", "have=" + ",".join(["1"] * 1001), "have=99999999999999999999", "session=x",
     "session=0", "session=-1", "session=99999999999999999999999", "have=1%00"],
)  # fmt: skip
def test_a_malformed_query_is_refused_with_a_sentence(client, query):
    assert is_problem(client.get(f"/api/cards?{query}"), 400)


@pytest.mark.parametrize("query", ["", "item=x", "item=-1", "item=1&k=0", "item=1&k=x", "item=99999999999999999999"])
def test_a_malformed_search_is_refused_with_a_sentence(client, query):
    assert is_problem(client.get(f"/api/search?{query}"), 400)


@pytest.mark.parametrize("path", ["/api/items/x", "/api/items/-1", "/api/items/99999999999999999999", "/api/items/60"])
def test_an_unknown_item_is_refused_with_a_sentence(client, path):
    assert is_problem(client.get(path), 400, 404)


@pytest.mark.parametrize("path", POSTS)
def test_a_huge_body_is_refused(client, path):
    most = guard.MOST_PICTURE_BYTES if path.startswith(guard.PICTURE_ROUTES) else guard.MOST_BYTES
    headers = {"content-type": "application/json", "content-length": str(most + 1)}
    assert is_problem(client.post(path, content=b"{}", headers=headers), 413)

    def chunks():
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(most // (1 << 16) + 2):
            yield b" " * (1 << 16)

    kind = "application/json"
    if path in guard.PICTURE_ROUTES:
        kind = "multipart/form-data; boundary=x"
    assert is_problem(client.post(path, content=chunks(), headers={"content-type": kind}), 413)


def test_other_addresses_and_methods_are_refused_with_a_sentence(client):
    assert is_problem(client.get("/api/nothing"), 404)
    assert is_problem(client.get("/api/labels"), 405)
    assert is_problem(client.delete("/api/session"), 405)
    assert is_problem(client.options("/api/cards"), 405)
    assert client.head("/tiles/1").status_code == 200
    assert client.head("/tiles/1").content == b""
    assert client.head("/swipe").status_code == 200


def test_a_bug_is_a_sentence_too(server, monkeypatch):
    from starlette.testclient import TestClient

    app, _ = server
    monkeypatch.setattr(loop, "session_status", lambda *_: 1 / 0)
    client = TestClient(app, base_url=URL, client=("127.0.0.1", 1), raise_server_exceptions=False)
    reply = client.get("/api/session")
    assert reply.status_code == 500
    assert "division" not in reply.text
    assert set(reply.json()) == {"error", "do"}
