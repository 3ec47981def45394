import csv
import json
import os
import shutil
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeler.errors import BadInput, Conflict
from labeler.export import About, EventRow, ExportData, LabelRow, write
from labeler.export.folders import safe_name
from labeler.export.records import iso, shown
from labeler.names import is_portable, twin_key

GOLDEN = Path(__file__).parent / "golden"
AT = datetime(2026, 11, 20, 12, 0, 0, 123456, UTC)
FILES = ("sea/1.png", "land/1.png", "copy of 1.png", "=1+1.png", "naïve, “quoted”.png", "b\xe9ach/2.png")
LABELS = [
    LabelRow(0, "sea/1.png", "yes", "person", None, 1, AT),
    LabelRow(0, "copy of 1.png", "yes", "person", None, 1, AT),
    LabelRow(1, "land/1.png", "yes", "person", 0.999999999, 2, AT.astimezone(timezone(timedelta(hours=5)))),
    LabelRow(2, "=1+1.png", "unsure", "person", None, 1, AT),
    LabelRow(3, "naïve, “quoted”.png", "no", "predicted", 0.8125),
    LabelRow(4, "b\xe9ach/2.png", "yes", "predicted", 0.5),
]
EVENTS = [
    EventRow("e-1", 0, "sea/1.png", "no", "owner", AT, 900, 1, "audit", 0.05, 1),
    EventRow("e-2", 0, "sea/1.png", None, "owner", AT),
    EventRow("e-3", 0, "sea/1.png", "yes", 'Ann "A"\nB', AT, 0, 2, "find", 1.0, 2),
    EventRow("e-4", 2, "=1+1.png", "skip", "owner", AT, 12, 3, "asked", None, 0),
]


@pytest.fixture
def images(tmp_path):
    for i, name in enumerate(FILES):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture %d" % i)
    return tmp_path / "images"


def make_data(images, labels=LABELS, events=EVENTS, *, session=1, names=("yes", "no")):
    about = About("/ws", session, "Is it?", names, 0.5)
    return ExportData(images, about, iter(labels), iter(events))


def tree(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if not p.is_dir()
    }


def without_about(folder):
    return {k: v for k, v in tree(folder).items() if k != "export.json"}


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_tables_are_as_the_golden_files(images, tmp_path, kind):
    report = write(kind, make_data(images), tmp_path / "out")
    assert without_about(tmp_path / "out") == tree(GOLDEN / kind)
    assert (report.person, report.predicted, report.events) == (4, 2, 4)
    assert report.out == tmp_path / "out"


def test_folders_are_as_the_golden_index_says(images, tmp_path):
    report = write("folders", make_data(images), tmp_path / "out", "copy")
    index = tmp_path / "out" / "index.csv"
    assert index.read_bytes() == (GOLDEN / "folders" / "index.csv").read_bytes()
    with open(index, encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    assert sorted([*(r["file"] for r in rows), "index.csv"]) == sorted(without_about(tmp_path / "out"))
    for row in rows:
        assert (tmp_path / "out" / row["file"]).read_bytes() == (images / row["path"]).read_bytes()
    assert (report.person, report.predicted, report.missing) == (4, 2, ())


def test_csv_reads_back_exactly(images, tmp_path):
    write("csv", make_data(images), tmp_path / "out")
    with open(tmp_path / "out" / "labels.csv", encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [r["path"] for r in rows] == [r.path for r in LABELS]
    assert {r["source"] for r in rows} == {"person", "predicted"}
    assert rows[2]["labeled_at"] == "2026-11-20T12:00:00.123Z"
    with open(tmp_path / "out" / "events.csv", encoding="utf-8", newline="") as f:
        events = list(csv.DictReader(f))
    assert events[2]["person"] == 'Ann "A"\nB'
    assert [e["p_chosen"] for e in events] == ["0.05", "", "1.0", ""]
    assert events[2]["ms"] == "0"


def test_jsonl_holds_the_rows_of_csv(images, tmp_path):
    write("csv", make_data(images), tmp_path / "c")
    write("jsonl", make_data(images), tmp_path / "j")
    for name in ("labels", "events"):
        with open(tmp_path / "c" / f"{name}.csv", encoding="utf-8", newline="") as f:
            table = list(csv.DictReader(f))
        lines = [json.loads(x) for x in (tmp_path / "j" / f"{name}.jsonl").read_text("utf-8").splitlines()]
        assert [{k: "" if v is None else str(v) for k, v in line.items()} for line in lines] == table


def test_about_says_where_an_export_comes_from(images, tmp_path):
    write("csv", make_data(images), tmp_path / "out")
    about = json.loads((tmp_path / "out" / "export.json").read_text("utf-8"))
    assert about["format"] == "csv"
    assert about["question"] == "Is it?"
    assert about["predicted_from"] == 0.5
    assert about["files"] == ["labels.csv", "events.csv"]


def test_an_empty_export_has_headers_only(images, tmp_path):
    write("csv", make_data(images, [], []), tmp_path / "out")
    assert len((tmp_path / "out" / "labels.csv").read_text().splitlines()) == 1
    write("folders", make_data(images, [], []), tmp_path / "f")
    assert sorted(without_about(tmp_path / "f")) == ["index.csv"]


def test_link_points_at_the_images_and_refs_lists_them(images, tmp_path):
    write("folders", make_data(images), tmp_path / "l", "link")
    link = tmp_path / "l" / "unsure" / "=1+1.png"
    assert link.is_symlink()
    assert link.resolve() == images / "=1+1.png"
    write("folders", make_data(images), tmp_path / "r", "refs")
    with open(tmp_path / "r" / "yes" / "refs.csv", encoding="utf-8", newline="") as f:
        assert [r["path"] for r in csv.DictReader(f)] == [
            str(images / n) for n in ("copy of 1.png", "sea/1.png", "land/1.png")
        ]
    assert not list((tmp_path / "r").rglob("*.png"))


def test_images_are_only_read(images, tmp_path):
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_nlink) for p in images.rglob("*.png")}
    for how in ("copy", "link", "refs"):
        write("folders", make_data(images), tmp_path / how, how)
        write("folders", make_data(images), tmp_path / how, how)
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_nlink) for p in images.rglob("*.png")}
    assert after == before


def test_files_that_are_gone_are_left_out_and_named(images, tmp_path):
    (images / "sea/1.png").unlink()
    report = write("folders", make_data(images), tmp_path / "out")
    assert report.missing == ("sea/1.png",)
    assert report.person == 3
    assert (tmp_path / "out" / "yes" / "1.png").read_bytes() == b"picture 1"


def test_names_that_would_meet_are_kept_apart(tmp_path):
    names = [
        "a/1.jpg",
        "b/1.jpg",
        "a__1.jpg",
        "A/1.JPG",
        "c/" + "é" * 120 + ".jpg",
        "d/" + "é" * 120 + ".jpg",
    ]
    images = tmp_path / "images"
    for n in names:
        (images / n).parent.mkdir(parents=True, exist_ok=True)
        (images / n).write_bytes(n.encode())
    rows = [LabelRow(i, n, "yes", "person") for i, n in enumerate(names)]
    write("folders", make_data(images, rows), tmp_path / "out")
    found = {p.read_bytes().decode() for p in (tmp_path / "out" / "yes").iterdir()}
    assert found == set(names)
    assert len({p.name.casefold() for p in (tmp_path / "out" / "yes").iterdir()}) == len(names)
    with open(tmp_path / "out" / "index.csv", encoding="utf-8", newline="") as f:
        for row in csv.DictReader(f):
            assert (tmp_path / "out" / row["file"]).read_bytes().decode() == row["path"]


def test_a_label_never_leads_out_of_the_folder(images, tmp_path):
    labels = ("../up", "predicted", "a/b", "A_b", "..", "CON", "index.csv")
    rows = [LabelRow(i, FILES[i % len(FILES)], name, "person") for i, name in enumerate(labels)]
    out = tmp_path / "deep" / "out"
    write("folders", make_data(images, rows, names=labels), out)
    assert sorted(p.name for p in out.iterdir()) == sorted(
        ["_.._up", "predicted_", "a_b", "A_b~2", "_", "CON_", "index.csv_", "index.csv", "export.json"]
    )
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


@given(st.text(max_size=80))
def test_a_safe_name_is_one_part_of_a_path(label):
    name = safe_name(label)
    assert name not in ("", ".", "..")
    assert not set(name) & set('/\\:*?"<>|\0\n')
    assert not name.endswith((" ", "."))


def test_an_unchanged_earlier_export_is_replaced(images, tmp_path):
    out = tmp_path / "out"
    for kind, how in (("csv", "copy"), ("jsonl", "copy"), ("folders", "copy"), ("folders", "link")):
        shutil.rmtree(out, ignore_errors=True)
        write(kind, make_data(images), out, how)
        report = write(kind, make_data(images, LABELS[:2], []), out, how)
        assert report.person == 2
        assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "out"]
    assert sorted(tree(out)) == ["export.json", "index.csv", "yes/1.png", "yes/copy of 1.png"]


def test_what_a_person_added_or_changed_is_never_overwritten(images, tmp_path):
    out = tmp_path / "out"
    write("csv", make_data(images), out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(Conflict, match=r"holds more than an earlier export: notes\.txt"):
        write("csv", make_data(images), out)
    (out / "notes.txt").unlink()
    (out / "labels.csv").write_text("mine")
    later = (out / "export.json").stat().st_mtime_ns + 10**9
    os.utime(out / "labels.csv", ns=(later, later))
    with pytest.raises(Conflict, match="was changed since"):
        write("csv", make_data(images), out)
    assert (out / "labels.csv").read_text() == "mine"


@pytest.mark.parametrize("other", [{"session": 2}, {}], ids=["another session", "another format"])
def test_another_export_is_not_replaced(images, tmp_path, other):
    write("csv", make_data(images), tmp_path / "out")
    with pytest.raises(Conflict, match="is not empty"):
        write("csv" if other else "jsonl", make_data(images, **other), tmp_path / "out")


def test_places_that_an_export_must_not_go_to(images, tmp_path):
    for out in (images, images / "sub", images / ".." / "images" / "x"):
        with pytest.raises(BadInput, match="inside the folder of images"):
            write("csv", make_data(images), out)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="is a file"):
        write("csv", make_data(images), tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    with pytest.raises(Conflict, match="is not empty"):
        write("csv", make_data(images), tmp_path / "full")
    with pytest.raises(BadInput, match="can't be written"):
        write("csv", make_data(images), tmp_path / "file" / "out")
    assert (tmp_path / "full" / "x").read_text() == "mine"


def test_an_empty_folder_and_a_half_export_are_no_obstacle(images, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / ".out.labeler-part").mkdir()
    (tmp_path / ".out.labeler-part" / "labels.csv").write_text("half")
    write("csv", make_data(images), tmp_path / "out")
    assert without_about(tmp_path / "out") == tree(GOLDEN / "csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "out"]


@pytest.mark.parametrize("earlier", [False, True])
def test_an_export_that_fails_leaves_everything_as_it_was(images, tmp_path, earlier):
    out = tmp_path / "out"
    if earlier:
        write("csv", make_data(images), out)
    before = tree(tmp_path)

    def broken():
        yield LABELS[0]
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        write("csv", make_data(images, broken()), out)
    assert tree(tmp_path) == before


def test_copies_that_do_not_fit_are_refused_before_any_is_made(images, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(BadInput, match="the disk has 0.0 GB free") as e:
        write("folders", make_data(images), tmp_path / "out")
    assert "--link or --refs" in e.value.do
    assert not (tmp_path / "out").exists()


def test_bytes_that_are_no_utf_8_are_copied_and_shown(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    (images / name).write_bytes(b"picture")
    write("folders", make_data(images, [LabelRow(0, name, "yes", "person")]), tmp_path / "out")
    assert (tmp_path / "out" / "yes" / name).read_bytes() == b"picture"
    assert "caf\\xe9.png" in (tmp_path / "out" / "index.csv").read_text("utf-8")
    write("folders", make_data(images, [LabelRow(0, name, "yes", "person")]), tmp_path / "out")
    assert shown(name) == "caf\\xe9.png"


def test_times_are_utc_to_the_millisecond():
    assert iso(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-01T00:00:00.000Z"


# other systems' disks -----------------------------------------------------------------------


def export_files(tmp_path, names, how="copy"):
    """Return {file in the export: its bytes} of images of these names, all answered yes."""
    for name in names:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    rows = [LabelRow(i, name, "yes", "person") for i, name in enumerate(names)]
    out = tmp_path / "out"
    write("folders", make_data(tmp_path / "images", rows, []), out, how)
    return {p.name: p.read_bytes() for p in (out / "yes").iterdir()}


def test_names_that_a_mac_takes_for_one_are_told_apart(tmp_path):
    names = ["M\u00fcller.jpg", "Mu\u0308ller.jpg", "a/STRASSE.jpg", "b/stra\u00dfe.jpg"]
    made = export_files(tmp_path, names)
    assert sorted(made.values()) == sorted(os.fsencode(n) for n in names)
    assert len({twin_key(name) for name in made}) == 4


def test_the_longest_names_fit_also_when_several_folders_hold_them(tmp_path):
    name = "x" * 251 + ".jpg"
    names = [f"{folder}/{name}" for folder in "abc"] + ["\u00e4" * 125 + "y.jpg"]
    made = export_files(tmp_path, names)
    assert sorted(made.values()) == sorted(os.fsencode(n) for n in names)
    assert all(n.endswith(".jpg") for n in made)


def test_every_name_that_this_disk_takes_is_kept(tmp_path):
    names = ['two\nlines "q" <script>.jpg', "a:b?.jpg", "con.jpg", os.fsdecode(b"caf\xe9.jpg"), "end. "]
    assert set(export_files(tmp_path, names)) == set(names)


def test_names_that_the_disk_refuses_are_replaced_and_listed(tmp_path, monkeypatch):
    """Stands in for a stick's or Windows' disk."""
    real = Path.touch

    def touch(path, *args, **options):
        if not is_portable(path.name):
            raise OSError(22, "Invalid argument")
        real(path, *args, **options)

    monkeypatch.setattr(Path, "touch", touch)
    names = ["a:b.jpg", "a?b.jpg", "sub/con.jpg", os.fsdecode(b"caf\xe9.jpg"), "fine.jpg"]
    made = export_files(tmp_path, names)
    assert set(made) == {"a_b.jpg", "a_b~2.jpg", "con_.jpg", "caf_.jpg", "fine.jpg"}
    assert sorted(made.values()) == sorted(os.fsencode(n) for n in names)
    with open(tmp_path / "out" / "index.csv", encoding="utf-8", newline="") as f:
        for row in csv.DictReader(f):
            assert shown(os.fsdecode((tmp_path / "out" / row["file"]).read_bytes())) == row["path"]


def test_no_right_to_make_links_is_said(images, tmp_path, monkeypatch):
    """Stands in for Windows without Developer Mode."""

    def refuse(*_):
        raise OSError(22, "A required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(BadInput, match=r"privilege.*Give --copy or --refs"):
        write("folders", make_data(images), tmp_path / "out", "link")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["x" * 255, "\u00e4" * 127])
def test_the_longest_name_for_an_export(images, tmp_path, name):
    for _ in range(2):
        write("csv", make_data(images), tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["images", name])


def test_a_name_that_is_too_long_for_an_export_is_said(images, tmp_path):
    with pytest.raises(BadInput, match="too long"):
        write("csv", make_data(images), tmp_path / ("x" * 256))


def test_a_label_like_a_device_of_windows():
    assert safe_name("con.txt") == "con_.txt"
    assert safe_name("AUX") == "AUX_"


def test_a_change_is_seen_also_when_the_clock_was_set_back(images, tmp_path):
    out = tmp_path / "out"
    write("csv", make_data(images), out)
    (out / "labels.csv").write_text("mine")
    earlier = (out / "export.json").stat().st_mtime_ns - 10**9 * 86_400
    os.utime(out / "labels.csv", ns=(earlier, earlier))
    with pytest.raises(Conflict, match="was changed since"):
        write("csv", make_data(images), out)
    assert (out / "labels.csv").read_text() == "mine"


@pytest.mark.parametrize("moment", ["between the two renames", "while the earlier one is deleted"])
def test_an_export_killed_while_it_replaced_an_earlier_one_leaves_nothing_in_the_way(
    images, tmp_path, moment
):
    out, old = tmp_path / "out", tmp_path / ".out.labeler-old"
    write("csv", make_data(images), out)
    if moment == "between the two renames":
        out.rename(old)
        write("csv", make_data(images), tmp_path / ".out.labeler-part")
    else:
        old.mkdir()
        (old / "events.csv").write_text("")
    assert write("csv", make_data(images, LABELS[:2], []), out).person == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "out"]


def test_an_earlier_export_that_a_kill_hid_is_not_replaced_when_it_was_changed(images, tmp_path):
    out = tmp_path / "out"
    write("csv", make_data(images), out)
    (out / "notes.txt").write_text("mine")
    out.rename(tmp_path / ".out.labeler-old")
    with pytest.raises(Conflict, match="holds more"):
        write("csv", make_data(images), out)
    assert (out / "notes.txt").read_text() == "mine"
