"""Known images from outside the folder of images: asked as gold, and in no other way part of the pool."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active import learner
from labeler import backup, crowds, gold, images, loop, people, pieces, restore, results, searching
from labeler.config import Config
from labeler.workspace import Workspace
from tests.fakes import MeanColour
from tests.pools import event
from tests.served import cards_of, served, visit
from tests.test_cli import run

N, YES, NO = 60, 6, 8


def paint(path: Path, number: int) -> Path:
    """Save an image that no other number gives: red where it is of the target, a number below ten."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 60, (12, 16, 3)).astype(np.uint8)
    pixels[..., 0 if number % 100 < 10 else 2] += 150
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def ws(tmp_path, monkeypatch):
    """A workspace on a folder of images of which none is taken in yet."""
    monkeypatch.setattr(loop, "load_encoder", lambda ws: MeanColour())
    for i in range(N):
        paint(tmp_path / "pictures" / f"{i:02}.png", i)
    ws = Workspace.open(tmp_path / "ws", Config(images=str(tmp_path / "pictures")))
    yield ws
    ws.close()


@pytest.fixture
def known(tmp_path):
    """A folder of images that are not in the pool, each in the folder of its answer."""
    for i in range(YES):
        paint(tmp_path / "known" / "yes" / f"k{i}.png", 100 + i)
    for i in range(NO):
        paint(tmp_path / "known" / "no" / "deep" / f"n{i}.png", 110 + i)
    return tmp_path / "known"


def take_in(ws):
    loop.prepare(ws, report=lambda p: None)


def begin(ws, known):
    session = loop.new_session(ws, "Is it red?", ("yes", "no"), votes=3)
    assert gold.give(ws, session, known) == (YES + NO, [])
    return session


def outside(ws):
    """Return {item: file name} of the images of the pool's folder that are not."""
    items = ws.catalog.items_between(0, ws.catalog.count_items())
    return {i.id: Path(i.path).name for i in items if i.path and not i.is_of_folder}


def cards(ws, session, n=30):
    """Return a newcomer's first cards."""
    person = ws.roster.add_person(f"p{n}{ws.store.fact('owner')}", "swipe").id
    return person, ws.dealing.lease_cards(session.id, person, n, have=(), now=1e9, lease_s=300)


def test_given_with_the_first_start_they_lie_between_the_others_and_are_asked_as_gold_alone(ws, known):
    session = begin(ws, known)
    assert gold.look(ws, session) == gold.Standing(0, {"yes": 0, "no": 0}, YES + NO, 0)
    take_in(ws)
    found = outside(ws)
    assert len(found) == YES + NO
    assert min(found) < N / 2 < max(found)  # their numbers tell nothing
    assert not set(range(N, N + YES + NO)) <= set(found)
    assert gold.look(ws, session) == gold.Standing(YES + NO, {"yes": YES, "no": NO}, 0, 0)
    assert ws.catalog.absent() == sorted(found)
    made = loop.learn(ws, session)
    assert made.embedded
    assert made.pool == N + YES + NO
    assert not {p.item for p in ws.store.picks(session.id, made.number)} & set(found)
    _, dealt = cards(ws, session)
    asked = {c.item for c in dealt if c.reason == "gold"}
    assert len(asked) >= 3
    assert asked <= set(found)
    assert not {c.item for c in dealt if c.reason != "gold"} & set(found)


def test_they_count_nowhere_but_for_the_person_who_answers(ws, known, tmp_path):
    session = begin(ws, known)
    take_in(ws)
    loop.learn(ws, session)
    status = loop.status(ws, session)
    assert (status["images"], status["embedded"], status["duplicates"]) == (N, N, 0)
    assert status["integrity"] == "ok"
    person, dealt = cards(ws, session)
    said = [event(c.item, "yes", c.id) for c in dealt]
    assert ws.journal.add_events(session, person, said).accepted == len(said)
    on_gold = [c for c in dealt if c.reason == "gold"]
    stored = dict(ws.store.conn.execute("SELECT item, gold FROM events"))
    truth = pieces.known(ws.store.conn, session.id)
    assert {c.item: stored[c.item] for c in on_gold} == {c.item: truth[c.item] for c in on_gold}
    assert set(loop.session_status(ws, session)["counts"].values()) == {0, len(dealt) - len(on_gold)}
    loop.learn(ws, session)
    row = searching.item_rows(ws, [on_gold[0].item])  # it has a vector of its own, and nobody finds it
    near = loop.neighbours(ws, row, k=N + YES + NO)
    assert len(near) == N
    assert not {item for item, _ in near} & set(outside(ws))
    results.export(ws, session, format="csv", out=tmp_path / "out", predicted_from=0.0)
    with open(tmp_path / "out" / "labels.csv", encoding="utf-8", newline="") as f:
        labels = list(csv.DictReader(f))
    assert len(labels) == N
    assert not {int(row["item"]) for row in labels} & set(outside(ws))
    with open(tmp_path / "out" / "events.csv", encoding="utf-8", newline="") as f:
        said = [row["path"] for row in csv.DictReader(f) if row["reason"] == "gold"]
    assert {Path(path).parent.name for path in said} <= {"yes", "deep"}  # where the owner has them


def test_a_phone_gets_their_pictures_and_nothing_tells_them_from_others(ws, known, monkeypatch):
    session = begin(ws, known)
    take_in(ws)
    loop.learn(ws, session)
    code = people.make_link(ws, "swipe", lasts_s=3600)[0]
    with served(ws, monkeypatch, shared=True) as (app, _):
        client = visit(app, url="http://192.168.1.5:8501", peer="192.168.1.7")
        assert client.post("/join", data={"token": code, "name": "ada"}).status_code == 303
        got = cards_of(client, session=session.id, n=30)
        mine = [c for c in got if c["item"] in outside(ws)]
        others = [c for c in got if c["item"] not in outside(ws)]
        assert mine
        assert others
        assert {tuple(c) for c in mine} == {tuple(c) for c in others}
        assert {(c["width"], c["height"]) for c in got} == {(16, 12)}
        heads = [client.get(c["url"]) for c in (mine[0], others[0])]
        assert [h.status_code for h in heads] == [200, 200]
        assert set(heads[0].headers) == set(heads[1].headers)
        session_says = client.get("/api/session", params={"session": session.id}).json()
        assert session_says["images"] == N


def test_what_comes_into_the_pool_later_gets_the_owners_answer(ws, known):
    session = begin(ws, known)
    take_in(ws)
    loop.learn(ws, session)
    assert ws.journal.count_events(session.id) == 0
    shutil.copy(known / "yes" / "k0.png", ws.images / "found-again.png")
    take_in(ws)
    assert ws.catalog.count_present() == N + 1
    assert len(outside(ws)) == YES + NO - 1
    loop.learn(ws, session)
    assert ws.journal.counts(session)["yes"] == 1
    assert gold.look(ws, session) == gold.Standing(YES + NO, {"yes": YES, "no": NO}, 0, 0)
    (ws.images / "found-again.png").unlink()
    take_in(ws)
    assert ws.catalog.count_present() == N  # and it is known from outside again
    assert gold.look(ws, session).ready == YES + NO
    assert loop.status(ws, session)["integrity"] == "ok"


def test_what_is_in_the_pool_too_is_read_from_there(ws, known):
    shutil.copy(ws.images / "03.png", known / "yes" / "copy.png")
    session = loop.new_session(ws, "Is it red?", ("yes", "no"))
    gold.give(ws, session, known)  # nothing of the pool is known yet
    take_in(ws)
    loop.learn(ws, session)
    assert ws.catalog.count_present() == N
    assert len(outside(ws)) == YES + NO
    assert ws.journal.counts(session)["yes"] == 1
    assert loop.status(ws)["duplicates"] == 0
    gold.give(ws, session, known)
    assert ws.catalog.count_new() == 0  # started again, nothing is read again


def test_a_file_that_is_gone_is_not_asked_until_it_is_back(ws, known):
    session = begin(ws, known)
    take_in(ws)
    loop.learn(ws, session)
    lost = known / "yes" / "k1.png"
    kept = lost.read_bytes()
    item = next(item for item, name in outside(ws).items() if name == "k1.png")
    lost.unlink()
    take_in(ws)
    assert item not in pieces.known(ws.store.conn, session.id)
    assert gold.look(ws, session) == gold.Standing(YES + NO - 1, {"yes": YES - 1, "no": NO}, 1, 0)
    lost.write_bytes(kept)
    take_in(ws)
    assert pieces.known(ws.store.conn, session.id)[item] == 0
    ws.catalog.mark_absent([item])  # the disk did not give it for a moment
    take_in(ws)
    assert pieces.known(ws.store.conn, session.id)[item] == 0
    paint(lost, 199)  # another picture under its name: nobody has said what that shows
    take_in(ws)
    assert item not in pieces.known(ws.store.conn, session.id)
    assert ws.catalog.count_present() == N
    assert ws.journal.count_events(session.id) == 0


def test_a_card_of_one_that_is_gone_meanwhile_leaves_the_deck(ws, known):
    session = begin(ws, known)
    take_in(ws)
    loop.learn(ws, session)
    person, dealt = cards(ws, session)
    card = next(c for c in dealt if c.reason == "gold")
    assert ws.dealing.gone_cards(session.id, person, [c.id for c in dealt], 1e9) == []
    again = ws.dealing.lease_cards(session.id, person, 30, have=None, now=1e9, lease_s=300)
    assert card in again  # a reload brings the same card
    shutil.rmtree(known)
    take_in(ws)
    gone = ws.dealing.gone_cards(session.id, person, [c.id for c in dealt], 1e9)
    assert gone == [c.id for c in dealt if c.reason == "gold"]


def test_the_command_takes_them_in_and_says_what_it_could_not(ws, known, tmp_path):
    take_in(ws)
    session = loop.new_session(ws, "Is it red?", ("yes", "no"))
    (known / "yes" / "broken.png").write_bytes(b"no picture")
    said = run("gold", "--workspace", ws.folder, "--from", known).output
    assert f"{YES + NO} images with a known answer ({YES} yes, {NO} no)" in said
    assert "Not there: 1." in said
    assert any(Path(path).name == "broken.png" for path, _ in ws.catalog.set_aside())
    assert loop.status(ws)["images"] == N
    assert gold.look(ws, session).ready == YES + NO
    assert run("gold", "--workspace", ws.folder, "--none").output.startswith("Gold:      0 images")
    assert loop.status(ws)["images"] == N


def holders(ws):
    """Return {item: whether the file that it points to is there} of the images outside."""
    items = ws.catalog.items_between(0, ws.catalog.count_items())
    return {i.id: Path(i.path).is_file() for i in items if not i.is_of_folder}


@pytest.mark.parametrize("scanned_first", [True, False])
def test_a_folder_that_was_moved_or_copied_is_read_where_it_is_now(ws, known, tmp_path, scanned_first):
    session = begin(ws, known)
    take_in(ws)
    if scanned_first:  # the old files are known to be gone before the new ones are there
        shutil.copytree(known, tmp_path / "elsewhere")
        shutil.rmtree(known)
        take_in(ws)
        assert gold.look(ws, session) == gold.Standing(0, {"yes": 0, "no": 0}, YES + NO, 0)
        gold.give(ws, session, tmp_path / "elsewhere")
    else:
        shutil.copytree(known, tmp_path / "elsewhere")
        gold.give(ws, session, tmp_path / "elsewhere")
        take_in(ws)
        shutil.rmtree(known)
    take_in(ws)
    assert list(holders(ws).values()) == [True] * (YES + NO)
    assert gold.look(ws, session).ready == YES + NO
    assert loop.status(ws)["duplicates"] == 0


def test_what_is_given_while_the_last_images_are_embedded_is_taken_in_too(ws, known, monkeypatch):
    session = loop.new_session(ws, "Is it red?", ("yes", "no"))

    class Late(MeanColour):
        def forward(self, prepared):
            if not ws.catalog.count_new() and not gold.look(ws, session).waiting:
                gold.give(ws, session, known)  # all files are read by now
            return super().forward(prepared)

    monkeypatch.setattr(loop, "load_encoder", lambda ws: Late())
    take_in(ws)
    assert gold.look(ws, session).ready == YES + NO
    assert ws.registry.embedded(MeanColour.key) == N + YES + NO


def test_an_example_that_is_a_known_image_too_is_no_answer_of_the_pool(ws, known, tmp_path):
    session = begin(ws, known)
    picture = known / "yes" / "k0.png"
    assert loop.add_example(ws, session, picture.name, picture.read_bytes()) is None
    take_in(ws)
    assert loop.add_example(ws, session, picture.name, picture.read_bytes()) is None
    loop.learn(ws, session)
    assert loop.session_status(ws, session)["found"] == 0
    results.export(ws, session, format="folders", out=tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.png"))
    shutil.copy(picture, ws.images / "found-again.png")
    take_in(ws)
    loop.learn(ws, session)
    assert loop.session_status(ws, session)["found"] == 1


def test_an_answer_without_its_card_is_no_vote_either(ws, known):
    session = begin(ws, known)
    take_in(ws)
    loop.learn(ws, session)
    person = ws.roster.add_person("sly", "swipe").id
    item = next(iter(outside(ws)))
    for other in (ws.roster.owner().id, person):
        assert ws.journal.add_events(session, other, [event(item, "yes")]).accepted == 1
    assert set(ws.journal.counts(session).values()) == {0}
    assert len(ws.journal.votes(session.id)) == 0
    status = loop.session_status(ws, session)
    assert (status["found"], status["unfinished"]) == (0, 0)


def test_what_left_the_pool_and_is_known_from_outside_keeps_its_answers(ws, known):
    shutil.copy(ws.images / "03.png", known / "yes" / "copy.png")
    take_in(ws)
    session = loop.new_session(ws, "Is it red?", ("yes", "no"))
    gold.give(ws, session, known)  # the pool's copy is known by now
    take_in(ws)
    loop.learn(ws, session)
    item = ws.catalog.item_by_hash(next(p for p in pieces.pieces(ws.store.conn, session.id) if p.item).hash)
    assert ws.journal.counts(session)["yes"] == 1
    (ws.images / "03.png").unlink()
    take_in(ws)
    assert gold.look(ws, session) == gold.Standing(YES + NO + 1, {"yes": YES + 1, "no": NO}, 0, 0)
    assert item in ws.catalog.absent()
    assert ws.journal.counts(session)["yes"] == 1
    shutil.copy(known / "yes" / "copy.png", ws.images / "03.png")
    take_in(ws)
    assert item not in ws.catalog.absent()
    assert {i.path for i in ws.catalog.items_between(item, item + 1)} == {"03.png"}


def test_a_card_of_what_left_the_pool_leaves_the_deck_though_it_is_known_from_outside(ws, known):
    take_in(ws)
    session = loop.new_session(ws, "Is it red?", ("yes", "no"))
    item = next(i.id for i in ws.catalog.items_between(0, N) if i.path == "03.png")
    person = ws.roster.add_person("late", "swipe").id
    card = ws.dealing.add_card(session.id, item, person, "spread", 1e9)
    assert ws.dealing.gone_cards(session.id, person, [card], 1e9 + 1) == []
    (ws.images / "03.png").rename(known / "yes" / "moved.png")
    gold.give(ws, session, known)
    take_in(ws)
    assert item in pieces.known(ws.store.conn, session.id)
    assert ws.dealing.gone_cards(session.id, person, [card], 1e9 + 1) == [card]
    late = [event(item, "no", card)]  # swiped without a network before it left: an answer as any
    assert ws.journal.add_events(session, person, late).accepted == 1
    stored = ws.store.conn.execute("SELECT gold FROM events WHERE person = ?", (person,))
    assert stored.fetchall() == [(None,)]


def test_a_copy_that_changes_leaves_the_item_to_the_pools_other_file(ws, known):
    shutil.copy(ws.images / "03.png", known / "yes" / "copy.png")
    shutil.copy(ws.images / "03.png", ws.images / "twin.png")
    session = loop.new_session(ws, "Is it red?", ("yes", "no"))
    gold.give(ws, session, known)  # noted first: of the lowest number
    take_in(ws)
    item = ws.catalog.item_by_hash(images.content_hash((ws.images / "twin.png").read_bytes()))
    paint(ws.images / "03.png", 303)
    take_in(ws)
    assert item not in ws.catalog.absent()
    assert ws.catalog.last_path(item) == "twin.png"
    paint(ws.images / "twin.png", 304)
    take_in(ws)
    assert item in ws.catalog.absent()
    assert ws.catalog.last_path(item) == str(known / "yes" / "copy.png")
    assert item in pieces.known(ws.store.conn, session.id)


def test_files_of_the_pool_alone_are_stamped_and_counted(ws, known):
    shutil.copy(ws.images / "03.png", known / "yes" / "copy.png")
    session = loop.new_session(ws, "Is it red?", ("yes", "no"))
    gold.give(ws, session, known)
    take_in(ws)
    loop.learn(ws, session)
    assert set(ws.catalog.stamps()) == {f"{i:02}.png" for i in range(N)}
    assert crowds.pool(ws, session) == N
    (item,) = [p.item for p in pieces.pieces(ws.store.conn, session.id) if p.item is not None]
    assert ws.catalog.paths([item]) == {item: ["03.png"]}


def test_an_outside_image_is_found_by_itself_and_by_nothing_else(ws, known):
    begin(ws, known)
    take_in(ws)
    for item in list(outside(ws))[:3]:
        row = searching.item_rows(ws, [item])
        assert loop.neighbours(ws, row, k=3, by=[item])[0][0] == item
        assert item not in [i for i, _ in loop.neighbours(ws, row, k=N + YES + NO)]


def test_a_file_that_could_not_be_read_is_tried_again_and_forgotten_when_it_is_gone(ws, known):
    broken = known / "yes" / "broken.png"
    broken.write_bytes(b"no picture")
    session = loop.new_session(ws, "Is it red?", ("yes", "no"))
    gold.give(ws, session, known)
    take_in(ws)
    assert ws.catalog.count_aside() == 1
    broken.unlink()
    take_in(ws)
    assert ws.catalog.count_aside() == 0
    broken.write_bytes(b"no picture")
    gold.give(ws, session, known)
    take_in(ws)
    assert ws.catalog.count_aside() == 1
    paint(broken, 150)
    gold.give(ws, session, known)
    take_in(ws)
    assert ws.catalog.count_aside() == 0
    assert len(outside(ws)) == YES + NO + 1


def test_nothing_of_them_stands_in_for_something_else_in_the_pool(ws, known, monkeypatch):
    for i in range(200):
        paint(known / "no" / f"many{i}.png", 1010 + 100 * i)
    session = loop.new_session(ws, "Is it red?", ("yes", "no"), "find", votes=3)
    gold.give(ws, session, known)
    take_in(ws)
    inside = [i for i in range(N) if i not in outside(ws)]
    for item, label in zip(inside[:2], ("yes", "no"), strict=True):
        loop.correct(ws, session, loop.owner(ws), item, label)
    drawn = []
    real = learner._provisional

    def provisional(rows, pool, rng, *, out):
        found = real(rows, pool, rng, out=out)
        drawn.append((found, np.asarray(pool)))
        return found

    monkeypatch.setattr(learner, "_provisional", provisional)
    loop.learn(ws, session)
    ((found, rows),) = drawn
    theirs = np.delete(rows, sorted(outside(ws)), 0)
    assert 0 < len(found) < len(rows)
    assert (found @ theirs.T > 1 - 1e-6).any(1).all()


def test_a_restored_workspace_looks_for_the_pools_images_alone(ws, known, tmp_path):
    begin(ws, known)
    take_in(ws)
    backup.write(ws, tmp_path / "all.zip", vectors=True, report=lambda *_: None)
    shutil.rmtree(ws.images)
    made = restore.restore(tmp_path / "all.zip", tmp_path / "again", None, lambda *_: None)
    assert made.images_found == 0  # though those of the other folder are there
