import os

import pytest

from labeler.catalog import Aside, Decoded, SeenFile
from labeler.config import Config
from labeler.items import shown_path
from labeler.registry import Registry
from labeler.workspace import Workspace
from tests.pools import event, make_pool


@pytest.fixture
def catalog(tmp_path):
    ws = Workspace.open(tmp_path / "ws", Config(images=str(tmp_path)))
    yield ws.catalog
    ws.close()


def scan(catalog, files: dict[str, tuple[int, int]]) -> int:
    number = catalog.begin_scan()
    before = catalog.count_new()
    catalog.note_files(number, [SeenFile(p, s, m) for p, (s, m) in files.items()])
    catalog.end_scan(number)
    return catalog.count_new() - before


def decode(catalog, hashes: dict[str, str]) -> dict[str, int]:
    files = {f.path: f.id for f in catalog.new_files(100)}
    got = catalog.add_decoded([Decoded(files[p], h, 4, 3) for p, h in hashes.items()])
    return {p: got[files[p]] for p in hashes}


def test_item_ids_are_dense_from_zero_and_equal_bytes_share_one(catalog):
    scan(catalog, {"a": (1, 1), "b": (1, 1), "c": (1, 1)})
    items = decode(catalog, {"a": "h1", "b": "h2", "c": "h1"})
    assert sorted(set(items.values())) == [0, 1]
    assert items["a"] == items["c"]
    assert catalog.count_duplicates() == 1
    assert catalog.problems() == []


def test_an_unchanged_file_is_not_read_again_a_changed_one_is(catalog):
    scan(catalog, {"a": (1, 1), "b": (1, 1)})
    decode(catalog, {"a": "h1", "b": "h2"})
    assert scan(catalog, {"a": (1, 1), "b": (1, 2)}) == 1
    assert [f.path for f in catalog.new_files(9)] == ["b"]


def test_changed_content_is_a_new_item_and_the_old_one_leaves_the_pool(catalog):
    scan(catalog, {"a": (1, 1)})
    old = decode(catalog, {"a": "h1"})["a"]
    scan(catalog, {"a": (2, 2)})
    assert catalog.absent() == []
    new = decode(catalog, {"a": "h2"})["a"]
    assert new != old
    assert catalog.absent() == [old]


def test_a_renamed_file_is_known_by_its_content(catalog):
    scan(catalog, {"old/a": (1, 1)})
    item = decode(catalog, {"old/a": "h1"})["old/a"]
    scan(catalog, {"new/b": (1, 1)})
    assert catalog.absent() == [item]
    assert decode(catalog, {"new/b": "h1"}) == {"new/b": item}
    assert catalog.absent() == []
    assert catalog.item(item).path == "new/b"
    assert catalog.paths() == {item: ["new/b"]}


def test_one_of_two_copies_may_go(catalog):
    scan(catalog, {"a": (1, 1), "b": (1, 1)})
    item = decode(catalog, {"a": "h1", "b": "h1"})["a"]
    scan(catalog, {"b": (1, 1)})
    assert catalog.absent() == []
    assert catalog.item(item).path == "b"


def test_what_cannot_be_read_is_set_aside_and_tried_again_when_it_changes(catalog):
    scan(catalog, {"bad": (0, 1), "locked": (5, 1)})
    ids = {f.path: f.id for f in catalog.new_files(9)}
    catalog.add_decoded(
        [Aside(ids["bad"], "The file is empty."), Aside(ids["locked"], "No permission to read it.")]
    )
    assert catalog.set_aside() == [("bad", "The file is empty."), ("locked", "No permission to read it.")]
    assert scan(catalog, {"bad": (0, 1), "locked": (5, 1)}) == 1  # permissions change without a new mtime
    assert [f.path for f in catalog.new_files(9)] == ["locked"]
    assert scan(catalog, {"bad": (7, 2), "locked": (5, 1)}) == 1


def test_names_that_are_no_text_are_kept_as_bytes_and_shown_as_text(catalog):
    name = os.fsdecode(b"caf\xe9.jpg")
    scan(catalog, {name: (1, 1)})
    assert catalog.new_files(1)[0].path == name
    item = decode(catalog, {name: "h1"})[name]
    assert os.fsencode(catalog.item(item).path) == b"caf\xe9.jpg"
    assert catalog.paths()[item] == [name]
    assert shown_path(name) == ("caf\\xe9.jpg", b"caf\xe9.jpg")


def test_new_files_come_in_a_fixed_random_order(catalog):
    names = {f"f{i:03}": (1, 1) for i in range(50)}
    scan(catalog, names)
    order = [f.path for f in catalog.new_files(50)]
    assert sorted(order) == list(names)
    assert order != list(names)
    assert order == [f.path for f in catalog.new_files(50)]


def test_the_encoder_used_last_is_the_one_in_use(catalog):
    registry = Registry(catalog.conn)
    assert registry.in_use() is None
    registry.use("one", 3)
    registry.set_embedded("one", 3, 7)
    registry.use("two", 4)
    assert registry.in_use() == ("two", 4, 0)
    registry.use("one", 3)
    assert registry.in_use() == ("one", 3, 7)


def test_an_answer_that_is_missing_from_the_log_is_found(tmp_path):
    ws = make_pool(tmp_path, 10)
    session = ws.store.add_session("Is it?", ["yes", "no"], "find", ws.config)
    ws.journal.add_events(session, ws.roster.owner().id, [event(i, "yes") for i in range(5)])
    assert ws.catalog.problems() == []
    ws.store.conn.execute("DROP TRIGGER events_kept")
    ws.store.conn.execute("DELETE FROM events WHERE seq = 3")
    assert ws.catalog.problems() == ["4 events are stored where 5 were written"]
    ws.close()


def test_an_item_whose_other_file_was_touched_while_its_own_went_points_to_what_is_there(catalog):
    scan(catalog, {"b": (1, 1)})
    item = decode(catalog, {"b": "h"})["b"]
    scan(catalog, {"a": (1, 1), "b": (1, 1)})
    assert decode(catalog, {"a": "h"})["a"] == item
    assert catalog.item(item).path == "b"
    scan(catalog, {"a": (1, 2)})  # b is deleted, a has another time
    decode(catalog, {"a": "h"})
    assert (catalog.item(item).path, catalog.item(item).present) == ("a", True)


def test_a_scan_writes_nothing_for_files_that_are_as_they_were(catalog):
    files = {f"{i}": (i, 1) for i in range(50)}
    scan(catalog, files)
    decode(catalog, {name: f"h{name}" for name in list(files)[:49]})
    with_new = catalog.conn.total_changes
    assert scan(catalog, dict(list(files.items())[:49]) | {"49": (49, 1)}) == 0
    assert catalog.conn.total_changes - with_new == 1  # the one that still waits
    catalog.add_decoded([Aside(f.id, "no picture") for f in catalog.new_files(9)])
    before = catalog.conn.total_changes
    assert scan(catalog, files) == 0
    assert catalog.conn.total_changes == before
    assert catalog.count_present() == 49
    assert scan(catalog, {"0": (0, 1)}) == 0
    assert (catalog.count_present(), len(catalog.absent())) == (1, 48)
    assert scan(catalog, files) == 49  # they are back, and wait to be read again
