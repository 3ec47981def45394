import io
import json

import numpy as np
import pytest
from PIL import Image

from labeler import images, loop, results
from labeler.catalog import Decoded, SeenFile
from labeler.config import Config
from labeler.errors import BadInput, Missing, NotReady
from labeler.workspace import Workspace
from tests.fakes import MeanColour
from tests.pools import DIM, event, is_target, make_pool


@pytest.fixture
def ws(tmp_path):
    ws = make_pool(tmp_path, 100)
    yield ws
    ws.close()


def picture(colour=(250, 10, 10)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(out, "PNG")
    return out.getvalue()


def test_start_session_goes_on_with_the_same_question_and_makes_another_for_a_new_one(ws):
    first = loop.start_session(ws, "Is this an island?", ["yes", "no"], "find")
    assert loop.start_session(ws) == first
    assert loop.start_session(ws, "Is this an island?") == first
    other = loop.start_session(ws, "Is this a cloud?")
    assert other.id != first.id
    assert loop.start_session(ws, "Is this an island?", ["yes", "no"]) == first
    assert [s.id for s in loop.sessions(ws)] == [first.id, other.id]
    assert loop.newest_session(ws) == first


def test_another_goal_or_a_label_added_since_does_not_begin_a_new_session(ws):
    first = loop.start_session(ws, "Is this an island?", ["yes", "no"], "find")
    loop.add_label(ws, first, "cloud")
    loop.rename_label(ws, first, "yes", "island")
    again = loop.start_session(ws, "Is this an island?", ["yes", "no"], "classify")
    assert (again.id, again.goal, again.labels) == (first.id, "classify", ("island", "no", "cloud"))
    assert loop.start_session(ws, goal="find").id == first.id
    assert loop.start_session(ws, "Is this an island?", ["no", "yes"]).id != first.id
    with pytest.raises(BadInput, match="question is empty"):
        loop.start_session(ws, "")


def test_an_example_in_the_pool_is_a_card_and_an_answer(ws):
    session = loop.start_session(ws)
    data = picture()
    ws.catalog.conn.execute("UPDATE items SET hash = ? WHERE id = 7", (images.content_hash(data),))
    assert loop.add_example(ws, session, "a.png", data) == 7
    assert loop.add_example(ws, session, "a.png", data) == 7
    status = loop.session_status(ws, session)
    assert (status["found"], status["cards_shown"], status["events"]) == (1, 1, 1)
    assert ws.journal.log(session)[0].reason == "asked"
    assert ws.journal.log(session)[0].p_chosen is None


def test_an_example_outside_the_pool_counts_as_nothing_but_leads_the_search(ws):
    session = loop.start_session(ws)
    assert loop.add_example(ws, session, "../../etc/passwd.png", picture()) is None
    assert loop.examples(ws, session)[0].name == "passwd.png"
    status = loop.session_status(ws, session)
    assert (status["found"], status["cards_shown"], status["events"]) == (0, 0, 0)
    target = np.eye(DIM, dtype=np.float32)[1]
    ws.store.set_example_vector(loop.examples(ws, session)[0].id, "colours-8", target)
    made = loop.learn(ws, session)
    finds = [p.item for p in ws.store.picks(session.id, made.number) if p.reason == "find"][:5]
    assert all(is_target(i) for i in finds)


def test_an_example_joins_as_an_answer_when_its_file_appears_later(ws):
    session = loop.start_session(ws)
    data = picture()
    loop.add_example(ws, session, "a.png", data)
    ws.catalog.conn.execute("UPDATE items SET hash = ? WHERE id = 3", (images.content_hash(data),))
    assert loop.link_examples(ws, session) == 1
    assert loop.link_examples(ws, session) == 0
    assert loop.session_status(ws, session)["found"] == 1


def test_examples_get_vectors_of_the_encoder(ws):
    session = loop.start_session(ws)
    loop.add_example(ws, session, "red.png", picture((200, 0, 0)))
    assert loop.embed_examples(ws, MeanColour()) == 1
    assert loop.embed_examples(ws, MeanColour()) == 0
    ((_, vector),) = ws.store.example_vectors(session.id, MeanColour.key)
    assert vector[0] > 0.99


@pytest.mark.parametrize("data", [b"", b"<html>no</html>", picture()[:40]])
def test_an_example_that_cannot_be_read_is_refused_by_name(ws, data):
    session = loop.start_session(ws)
    with pytest.raises(BadInput, match=r"a\.jpg can't be used"):
        loop.add_example(ws, session, "a.jpg", data)
    assert loop.examples(ws, session) == []


def test_neighbours_are_the_nearest_and_leave_out_what_vanished(ws):
    rows = ws.vectors("colours-8", DIM).rows()
    ws.catalog.mark_absent([20])
    got = loop.neighbours(ws, loop.item_rows(ws, [10]), k=5)
    cos = rows @ rows[10]
    cos[20] = -2
    assert [i for i, _ in got] == np.argsort(-cos, kind="stable")[:5].tolist()
    assert got[0][1] == pytest.approx(1, abs=1e-5)
    assert len(loop.neighbours(ws, rows[:1], k=1000)) == 99


def test_neighbours_of_something_that_cannot_be_searched(ws, tmp_path):
    with pytest.raises(BadInput, match="3 numbers; this pool's have 8"):
        loop.neighbours(ws, np.ones((1, 3), np.float32))
    with pytest.raises(BadInput, match="NaN"):
        loop.neighbours(ws, np.full((1, DIM), np.nan, np.float32))
    with pytest.raises(Missing, match="no item 100"):
        loop.item_rows(ws, [100])
    empty = make_pool(tmp_path / "empty", 0, embedded=False)
    with pytest.raises(NotReady, match="Nothing is embedded yet"):
        loop.neighbours(empty, np.ones((1, DIM), np.float32))
    empty.close()


def test_correct_overrides_the_deck_and_none_clears_it(ws):
    session = loop.start_session(ws)
    swiper = ws.roster.add_person("ann", "own", "ann").id
    loop.record(ws, session, swiper, [event(4, "yes")])
    loop.correct(ws, session, loop.owner(ws), 4, "no")
    assert ws.journal.counts(session)["no"] == 1
    loop.correct(ws, session, loop.owner(ws), 4, None)
    assert sum(ws.journal.counts(session).values()) == 0
    with pytest.raises(Missing):
        loop.correct(ws, session, loop.owner(ws), 4, "maybe")


def test_status_has_the_promised_fields_and_is_json(ws):
    loop.start_session(ws)
    status = json.loads(json.dumps(loop.status(ws)))
    assert {
        "workspace",
        "images",
        "embedded",
        "set_aside",
        "duplicates",
        "session",
        "integrity",
    } <= status.keys()
    assert {
        *(
            "id",
            "question",
            "labels",
            "goal",
            "round",
            "events",
            "cards_shown",
            "counts",
            "found",
            "estimate",
        ),
    } <= status["session"].keys()
    assert status["integrity"] == "ok"
    assert (status["images"], status["embedded"]) == (100, 100)


def test_status_says_what_is_broken(ws):
    ws.vectors("colours-8", DIM).cut(50)
    assert any("50 vectors where 100" in p for p in loop.status(ws)["integrity"])


def test_predictions_leave_out_what_people_answered(ws):
    session = loop.start_session(ws)
    person = loop.owner(ws)
    answers = [event(i, "yes" if is_target(i) else "no") for i in range(31)] + [event(31, "unsure")]
    loop.record(ws, session, person, answers)
    loop.learn(ws, session)
    grid = loop.labels_grid(ws, session, source="predicted", order="surest", limit=1000)
    assert grid.total == 68
    assert {g.source for g in grid.items} == {"predicted"}
    assert min(g.item for g in grid.items) == 32
    likely = loop.labels_grid(ws, session, source="predicted", label="yes", limit=1000)
    assert {g.item for g in likely.items} == {i for i in range(32, 100) if is_target(i)}
    people = loop.labels_grid(ws, session, order="newest", limit=3)
    assert [g.item for g in people.items] == [31, 30, 29]
    assert people.total == 32
    assert loop.export_counts(ws, session, 0.0)["yes"] == (4, 6)
    assert loop.export_counts(ws, session, None)["yes"] == (4, 0)


def test_export_has_a_row_per_file_and_marks_predictions(ws, tmp_path):
    session = loop.start_session(ws)
    loop.record(ws, session, loop.owner(ws), [event(i, "yes" if is_target(i) else "no") for i in range(30)])
    loop.learn(ws, session)
    report = loop.export(ws, session, format="csv", out=tmp_path / "out", predicted_from=0.5)
    lines = (tmp_path / "out" / "labels.csv").read_text("utf-8").splitlines()
    assert len(lines) == 1 + 100
    assert sum(",person," in line for line in lines) == 30
    assert sum(",predicted," in line for line in lines) == 70
    assert (report.person, report.predicted, report.events) == (30, 70, 30)


def test_a_drawn_workspace_says_so_as_long_as_its_images_are_the_drawn_ones(tmp_path):
    folder = tmp_path / "demo"
    ws = Workspace.open(folder, Config(images=str(folder / "images")))
    assert not loop.is_drawn(ws)
    loop.mark_drawn(ws)
    assert loop.pool_status(ws)["drawn"]
    ws.close()
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "mine.png").write_bytes(b"mine")
    ws = Workspace.open(folder, Config(images=str(photos)))
    assert not loop.is_drawn(ws)
    loop.prepare(ws, report=lambda p: None)
    assert [p.name for p in photos.iterdir()] == ["mine.png"]
    ws.close()


def test_a_file_that_changed_since_it_was_labeled_is_not_copied(tmp_path):
    ws = make_pool(tmp_path, 20, images=True)
    session = loop.start_session(ws)
    loop.record(ws, session, loop.owner(ws), [event(3, "yes"), event(4, "yes")])
    changed, kept = (ws.catalog.paths()[i][0] for i in (3, 4))
    (ws.images / changed).write_bytes(picture())
    report = results.export(ws, session, format="folders", out=tmp_path / "out")
    assert report.missing == (changed,)
    assert [p.name for p in (tmp_path / "out" / "yes").iterdir()] == [kept]
    ws.close()


def test_an_answer_to_what_a_file_held_before_keeps_its_path_in_the_log_alone(ws, tmp_path):
    session = loop.start_session(ws)
    loop.record(ws, session, loop.owner(ws), [event(3, "yes")])
    scan = ws.catalog.begin_scan()
    ws.catalog.note_files(scan, [SeenFile("img0003.png", 99, 99)])
    file = next(f.id for f in ws.catalog.new_files(9) if f.path == "img0003.png")
    ws.catalog.add_decoded([Decoded(file, "other bytes", 9, 9)])
    loop.export(ws, session, format="csv", out=tmp_path / "out")
    labels = (tmp_path / "out" / "labels.csv").read_text("utf-8").splitlines()
    events = (tmp_path / "out" / "events.csv").read_text("utf-8").splitlines()
    assert len(labels) == 1
    assert ",3,img0003.png,yes," in events[1]


def test_an_export_is_of_one_moment(ws, tmp_path, monkeypatch):
    """Undone, and answered, while the rows are being written: each item has one row all the same."""
    session = loop.start_session(ws)
    person = loop.owner(ws)
    loop.record(ws, session, person, [event(i, "yes" if is_target(i) else "no") for i in range(30)])
    loop.learn(ws, session)
    write = results.write

    def meanwhile(*args):
        ws.journal.take_back(session.id, person, [5])
        loop.record(ws, session, person, [event(50, "yes")])
        return write(*args)

    monkeypatch.setattr(results, "write", meanwhile)
    loop.export(ws, session, format="csv", out=tmp_path / "out", predicted_from=0.0)
    rows = (tmp_path / "out" / "labels.csv").read_text("utf-8").splitlines()[1:]
    assert sorted(int(row.split(",")[0]) for row in rows) == list(range(100))
