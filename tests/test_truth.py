import os
import shutil

import pytest
from PIL import Image

from labeler.errors import BadInput
from labeler.truth import hidden_name, hide_names, read_truth
from tests.folders import embedded, paint_classes


@pytest.fixture
def source(tmp_path):
    return paint_classes(tmp_path / "birds", {"wren": 12, "owl": 9})


def test_names_in_the_flat_folder_say_nothing_and_keep_no_order(source, tmp_path):
    flat = tmp_path / "sim" / "images"
    classes = hide_names(source, flat)
    assert len(classes) == 21
    assert sorted(os.listdir(flat)) == sorted(classes)
    for name in classes:
        assert not {"wren", "owl"} & set(name.split("."))
        stem, kind = name.split(".")
        assert len(stem) == 16
        assert kind == "png"
    in_order = [classes[hidden_name(f"{c}/{i:03}.png")] for c in ("owl", "wren") for i in range(9)]
    by_name = [classes[name] for name in sorted(classes)]
    assert in_order == ["owl"] * 9 + ["wren"] * 9
    assert by_name not in ([*["owl"] * 9, *["wren"] * 12], [*["wren"] * 12, *["owl"] * 9])
    link = flat / hidden_name("wren/003.png")
    assert link.read_bytes() == (source / "wren" / "003.png").read_bytes()
    assert classes[link.name] == "wren"


def test_hidden_again_only_what_changed_is_touched(source, tmp_path):
    flat = tmp_path / "sim" / "images"
    before = hide_names(source, flat)
    stamps = {p.name: os.lstat(p).st_mtime_ns for p in flat.iterdir()}
    (source / "owl" / "000.png").unlink()
    Image.new("RGB", (8, 8)).save(source / "owl" / "new.png")
    after = hide_names(source, flat)
    assert sorted(os.listdir(flat)) == sorted(after)
    assert before.keys() - after.keys() == {hidden_name("owl/000.png")}
    assert after.keys() - before.keys() == {hidden_name("owl/new.png")}
    same = before.keys() & after.keys()
    assert {n: os.lstat(flat / n).st_mtime_ns for n in same} == {n: stamps[n] for n in same}


def test_links_follow_a_folder_that_was_moved(source, tmp_path):
    flat = tmp_path / "sim" / "images"
    hide_names(source, flat)
    moved = source.rename(tmp_path / "moved")
    hide_names(moved, flat)
    assert all(p.exists() for p in flat.iterdir())


@pytest.mark.parametrize("refused", [("symlink",), ("symlink", "link")])
def test_without_symbolic_links_it_takes_hard_ones_and_without_those_copies(
    source, tmp_path, monkeypatch, refused
):
    def no(*_):
        raise OSError("not here")

    for name in refused:
        monkeypatch.setattr(os, name, no)
    flat = tmp_path / "sim" / "images"
    for _ in range(2):
        hide_names(source, flat)
    one = flat / hidden_name("wren/003.png")
    original = source / "wren" / "003.png"
    assert not one.is_symlink()
    assert one.read_bytes() == original.read_bytes()
    assert os.path.samefile(one, original) == (len(refused) == 1)
    Image.new("RGB", (30, 30)).save(original)  # through a hard link the same file; a copy is made anew
    hide_names(source, flat)
    assert one.read_bytes() == original.read_bytes()


def test_a_folder_with_anything_else_in_it_is_left_alone(source, tmp_path):
    flat = tmp_path / "mine"
    flat.mkdir()
    (flat / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(BadInput, match="holds other things, such as holiday.jpg"):
        hide_names(source, flat)
    assert os.listdir(flat) == ["holiday.jpg"]


def test_a_folder_without_folders_is_refused(tmp_path):
    paint_classes(tmp_path / "flat", {"": 3})
    with pytest.raises(BadInput, match="holds no folder with images in it"):
        hide_names(tmp_path / "flat", tmp_path / "sim" / "images")


def test_the_class_is_the_folder_that_an_image_lies_in(tmp_path, monkeypatch):
    source = paint_classes(tmp_path / "all", {"": 2, "train/cat": 3, "test/cat": 2, "train/dog": 4})
    ws, classes = embedded(source, tmp_path / "sim", monkeypatch)
    truth = read_truth(ws, classes)
    assert {name: len(items) for name, items in truth.items.items()} == {"cat": 5, "dog": 4}
    assert len(truth.names) == 11  # those of no class are in the pool too
    ws.close()


def test_an_image_with_copies_in_two_classes_is_one_item_of_both(source, tmp_path, monkeypatch):
    shutil.copy(source / "wren" / "001.png", source / "owl" / "copy.png")
    shutil.copy(source / "wren" / "002.png", source / "wren" / "again.png")
    ws, classes = embedded(source, tmp_path / "sim", monkeypatch)
    truth = read_truth(ws, classes)
    assert {name: len(items) for name, items in truth.items.items()} == {"owl": 10, "wren": 12}
    assert truth.several == 1
    assert len(truth.names) == 21
    assert len({*truth.items["owl"].tolist()} & {*truth.items["wren"].tolist()}) == 1
    ws.close()


def test_the_order_of_a_class_depends_on_the_files_alone(source, tmp_path, monkeypatch):
    orders = []
    for place in ("one", "two"):
        ws, classes = embedded(source, tmp_path / place, monkeypatch)
        truth = read_truth(ws, classes)
        orders.append([truth.names[i] for i in truth.items["wren"].tolist()])
        ws.close()
    assert orders[0] == orders[1]


def test_what_cannot_be_read_is_counted_by_class(source, tmp_path, monkeypatch):
    (source / "lost").mkdir()
    for i in range(2):
        (source / "lost" / f"{i}.jpg").write_bytes(b"")
    ws, classes = embedded(source, tmp_path / "sim", monkeypatch)
    truth = read_truth(ws, classes)
    assert truth.aside == {"lost": 2}
    assert "lost" not in truth.items
    ws.close()


def test_images_whose_files_are_gone_are_in_no_class(source, tmp_path, monkeypatch):
    ws, classes = embedded(source, tmp_path / "sim", monkeypatch)
    ws.close()
    (source / "owl" / "000.png").unlink()
    ws, classes = embedded(source, tmp_path / "sim", monkeypatch)
    truth = read_truth(ws, classes)
    assert len(truth.items["owl"]) == 8
    assert len(truth.names) == 20
    ws.close()
