"""A workspace in one file and back: what is in it, what is not, and everything that a file may be instead."""

import json
import os
import shutil
import stat
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from active.embedding.folder import fingerprint, label
from labeler import archive, backup, bar, drawing, loop, people
from labeler.config import Config
from labeler.domain import Progress
from labeler.door import Door, key_of, sign
from labeler.roster import COOKIE_KEY
from labeler.steps import STEPS
from labeler.workspace import Workspace
from tests.fakes import MeanColour
from tests.pools import event, make_pool
from tests.served import picture
from tests.test_cli import paint, run
from tests.test_trouble import Disk, is_two_sentences, mounted


def used_pool(folder, n=200):
    """Return a workspace with three rounds, answers, an example, an owner's link and a client."""
    ws = make_pool(folder, n, images=True)
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    ws.roster.cookie_key()
    person = ws.roster.add_person("Ann", "own", key_of("link", "A" * 43)).id
    for _ in range(3):
        loop.learn(ws, session)
        cards = loop.next_cards(ws, session, person, 20, have=[])
        events = [event(c.item, "yes" if c.item % 10 == 0 else "no", c.id) for c in cards]
        loop.record(ws, session, person, events)
    loop.undo(ws, session, person, event(0, None).id)
    loop.add_example(ws, session, "one.png", picture((1, 2, 3)))
    people.owner_token(ws)
    (ws.folder / "cache" / "tile").write_bytes(b"can be made again")
    return ws


def tables(ws):
    """Return every row of every table."""
    names = ws.store.conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {t: ws.store.conn.execute(f"SELECT * FROM {t}").fetchall() for (t,) in names}


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def hidden(folder):
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a workspace, and a backup of it."""
    folder = tmp_path_factory.mktemp("backup")
    ws = used_pool(folder)
    run("backup", folder / "b.zip", "--workspace", ws.folder)
    yield ws, folder / "b.zip"
    ws.close()


def refused(*command):
    said = run(*command, code=1).stderr
    assert is_two_sentences(said)
    return said


# there and back ----------------------------------------------------------------------------


def test_a_restored_workspace_is_the_same_without_the_owners_link(made, tmp_path):
    ws, file = made
    said = run("restore", file, "--workspace", tmp_path / "w").stdout
    assert f"{ws.journal.count_events(1)} answers and undos, 200 images known" in said
    back, own = Workspace.open(tmp_path / "w"), files(ws.folder)
    there = files(back.folder)
    kept = {n for n in own if n.startswith(("rounds/", "examples/", "vectors/")) or n == "labeler.toml"}
    assert len(kept) == 6
    assert {n: own[n] for n in kept} == {n: there[n] for n in kept}
    assert set(there) - kept <= {"labeler.db", "labeler.db-wal", "labeler.db-shm"}
    before, after = tables(ws), tables(back)
    secret = (people.TOKEN_FACT, people.hash_token(people.owner_token(ws)))
    assert secret in before["facts"]
    before["facts"].remove(secret)
    assert after == before
    session = loop.get_session(back, 1)
    for one in back.store.rounds(1):
        assert drawing.draw_again(back, session, one) == ws.store.picks(1, one.number)
    assert loop.status(back)["integrity"] == "ok"
    door = Door(back, shared=True)
    assert not door.opens(people.owner_token(ws))
    assert door.opens(people.owner_token(back))
    cookie = sign("A" * 43, ws.roster.cookie_key()[0])
    assert door.look_up([cookie], direct=False).person.name == "Ann"  # people carry on
    assert door.look_up(["A" * 43], direct=False) is None
    back.close()


def test_cookies_from_before_they_were_signed_open_a_workspace_that_was_restored(tmp_path):
    ws = make_pool(tmp_path, 20)
    ws.roster.add_person("Ann", "swipe", key_of("link", "A" * 43))
    run("backup", tmp_path / "early.zip", "--workspace", ws.folder)
    Door(ws, shared=True)
    run("backup", tmp_path / "late.zip", "--workspace", ws.folder)
    assert ws.store.fact(COOKIE_KEY)
    for name in ("early", "late"):
        run("restore", tmp_path / f"{name}.zip", "--workspace", tmp_path / name)
        back = Workspace.open(tmp_path / name)
        assert (back.store.fact(COOKIE_KEY) == ws.store.fact(COOKIE_KEY)) is (name == "late")
        assert Door(back, shared=True).look_up(["A" * 43], direct=False).person.name == "Ann"
        back.close()
    ws.close()


def test_a_stolen_backup_makes_no_cookie_that_opens_anything(made, tmp_path):
    """It holds the key that cookies are signed with, and of each cookie a hash; a secret is in neither."""
    ws, file = made
    run("restore", file, "--workspace", tmp_path / "w")
    stolen = Workspace.open(tmp_path / "w")
    signer, words = stolen.roster.cookie_key()[0], "\n".join(stolen.store.conn.iterdump())
    stolen.close()
    secrets = {words[i : i + 43] for i in range(len(words) - 42) if words[i : i + 43].isalnum()}
    assert any(key_of("link", "A" * 43).startswith(secret) for secret in secrets)
    door = Door(ws, shared=True)
    assert door.look_up([sign("A" * 43, signer)], direct=False) is not None
    cookies = [sign(secret, signer) for secret in secrets]
    assert all(door.look_up([cookie], direct=False) is None for cookie in cookies)


def test_no_secret_is_left_anywhere_in_the_file(made, tmp_path):
    ws, file = made
    token = people.owner_token(ws)
    with zipfile.ZipFile(file) as z:
        assert z.testzip() is None
        everything = b"".join(z.read(n) for n in z.namelist())
    assert len(everything) > 100_000
    for secret in (token, people.hash_token(token)):
        assert secret.encode() not in everything


def test_json_says_what_is_in_it_and_nothing_else(made, tmp_path):
    ws, _ = made
    result = run("backup", tmp_path / "b.zip", "--workspace", ws.folder, "--json")
    said = json.loads(result.stdout)
    assert result.stderr == ""
    assert (said["events"], said["items"], said["embedded"]) == (ws.journal.count_events(1), 200, 200)
    assert said["bytes"] == (tmp_path / "b.zip").stat().st_size
    assert said["parts"]["vectors"] == 200 * 8 * 4
    said = json.loads(run("restore", tmp_path / "b.zip", "--workspace", tmp_path / "w", "--json").stdout)
    assert (said["workspace"], said["vectors"]) == (str(tmp_path / "w"), True)
    assert (said["images"], said["images_found"]) == (str(ws.images), 1.0)


def test_images_that_moved_and_vectors_that_were_left_out(tmp_path, monkeypatch):
    def choose(ws):
        ws.registry.choose(MeanColour.key, 3)
        return MeanColour()

    monkeypatch.setattr(loop, "load_encoder", choose)
    paint(tmp_path / "photos")
    index = ["index", "--images", tmp_path / "photos", "--workspace", tmp_path / "w"]
    run(*index)
    said = run("backup", tmp_path / "b.zip", "--workspace", tmp_path / "w", "--without-vectors").stdout
    assert "Left out:  the vectors" in said
    shutil.move(tmp_path / "photos", tmp_path / "moved")
    said = run("restore", tmp_path / "b.zip", "--workspace", tmp_path / "lost").stdout
    assert f"none of the first ones is in {tmp_path / 'photos'}" in said
    assert said.splitlines()[-1].endswith("--images DIR")
    moved = ["--workspace", tmp_path / "new", "--images", tmp_path / "moved"]
    assert "Vectors:   not in the backup" in run("restore", tmp_path / "b.zip", *moved).stdout
    status = json.loads(run("status", "--workspace", tmp_path / "new", "--json").stdout)
    assert (status["images"], status["embedded"], status["integrity"]) == (3, 0, "ok")
    assert "3 images, 3 embedded" in run("index", "--workspace", tmp_path / "new").stdout
    one, other = (Workspace.open(tmp_path / name) for name in ("w", "new"))
    assert other.images == tmp_path / "moved"
    rows = [np.asarray(ws.vectors(MeanColour.key, 3).rows()) for ws in (one, other)]
    assert np.array_equal(*rows)
    for ws in (one, other):
        ws.close()


def test_an_encoder_of_ones_own_comes_along_and_its_vectors_stay_valid(tmp_path):
    own = tmp_path / "here" / "my island (1)"
    own.mkdir(parents=True)
    for name in ("config.json", "preprocessor_config.json", "model.safetensors", "tokenizer.json"):
        (own / name).write_text(f"the {name}")
    (own / "optimizer.bin").write_text("no part of it")
    ws = make_pool(tmp_path, 20)
    ws.close()
    Workspace.open(ws.folder, Config(images=str(ws.images), encoder=str(own))).close()
    run("backup", tmp_path / "b.zip", "--workspace", ws.folder)
    key = f"{label(own.resolve())}-{fingerprint(own)}"
    shutil.rmtree(own.parent)
    run("restore", tmp_path / "b.zip", "--workspace", tmp_path / "new")
    back = Workspace.open(tmp_path / "new")
    there = Path(back.config.encoder)
    assert there.is_relative_to(back.folder)
    assert f"{label(there.resolve())}-{fingerprint(there)}" == key
    assert "optimizer.bin" not in os.listdir(there)
    back.close()


def test_progress_of_a_large_one_is_told_in_megabytes(made, tmp_path, monkeypatch):
    ws, _ = made
    shown = []
    monkeypatch.setattr(backup, "MB", 1000)
    backup.write(ws, tmp_path / "b.zip", vectors=True, report=shown.append)
    size = (ws.folder / "labeler.db").stat().st_size // 1000
    assert (shown[0].stage, shown[0].done, shown[0].total) == ("copying", size, size)
    assert shown[-1].done == shown[-1].total >= size
    text = bar.describe(Progress("copying", 120, 840, 300.0, 2.0))
    assert text.endswith("120 of 840 MB · 300/s · 2 s left")


# writing -----------------------------------------------------------------------------------


def test_only_a_backup_is_ever_replaced(made, tmp_path):
    ws, file = made
    (tmp_path / "photo.jpg").write_bytes(picture())
    command = ["--workspace", ws.folder]
    assert "is no backup of labeler" in refused("backup", tmp_path / "photo.jpg", *command)
    assert (tmp_path / "photo.jpg").read_bytes() == picture()
    assert "is a folder" in refused("backup", tmp_path, *command)
    assert "There is no folder" in refused("backup", tmp_path / "none" / "b.zip", *command)
    assert "inside the images" in refused("backup", ws.images / "b.zip", *command)
    shutil.copy(file, tmp_path / "b.zip")
    with open(tmp_path / "b.zip", "r+b") as f:
        f.truncate(1000)  # a damaged one is one all the same
    run("backup", tmp_path / "b.zip", *command)
    with archive.opened(tmp_path / "b.zip") as whole:
        whole.check(lambda n: None)
    assert hidden(tmp_path) == []


def test_a_damaged_database_does_not_take_the_place_of_a_good_backup(made, tmp_path):
    ws, file = made
    shutil.copytree(ws.folder, tmp_path / "w")
    shutil.copy(file, tmp_path / "b.zip")
    ws.store.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    shutil.copy(ws.folder / "labeler.db", tmp_path / "w")
    for name in ("labeler.db-wal", "labeler.db-shm"):
        (tmp_path / "w" / name).unlink(missing_ok=True)
    with open(tmp_path / "w" / "labeler.db", "r+b") as f:
        f.seek(20 * 4096)
        f.write(os.urandom(30_000))
    said = refused("backup", tmp_path / "b.zip", "--workspace", tmp_path / "w")
    assert "is damaged" in said
    assert (tmp_path / "b.zip").read_bytes() == file.read_bytes()
    assert hidden(tmp_path) == []


def test_two_backups_at_a_time_are_one_too_many(made, tmp_path):
    ws, _ = made
    with ws.lock("backup"):
        said = refused("backup", tmp_path / "b.zip", "--workspace", ws.folder)
    assert f"Process {os.getpid()} works on" in said
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_ctrl_c_leaves_everything_as_it_was(made, tmp_path, monkeypatch, command):
    ws, file = made
    shutil.copy(file, tmp_path / "b.zip")

    def stop(*_):
        raise KeyboardInterrupt

    kind, method = (archive.Packer, "finish") if command == "backup" else (archive.Archive, "unpack")
    monkeypatch.setattr(kind, method, stop)
    to = ws.folder if command == "backup" else tmp_path / "new"
    said = run(command, tmp_path / "b.zip", "--workspace", to, code=130).stderr
    assert "Nothing was written; what was there before is as it was." in said
    assert (tmp_path / "b.zip").read_bytes() == file.read_bytes()
    assert os.listdir(tmp_path) == ["b.zip"]


@pytest.mark.parametrize("known", [True, False], ids=["seen before", "noticed while writing"])
def test_a_full_disk_says_how_much_is_needed_and_leaves_what_was_there(made, tmp_path, monkeypatch, known):
    ws, file = made
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as folder:
        shutil.copy(file, folder / "b.zip")
        disk = Disk(folder)
        disk.fill()
        if not known:
            roomy = shutil.disk_usage(tmp_path)
            monkeypatch.setattr(backup.shutil, "disk_usage", lambda _: roomy)
        said = refused("backup", folder / "b.zip", "--workspace", ws.folder)
        assert "it takes up to 1 MB, and" in said
        assert "--without-vectors" in said
        said = refused("restore", file, "--workspace", folder / "new")
        assert "The backup takes 1 MB in" in said
        assert sorted(os.listdir(folder)) == ["b.zip", "filler"]
        assert (folder / "b.zip").read_bytes() == file.read_bytes()
        disk.free()
        run("backup", folder / "b.zip", "--workspace", ws.folder)
    assert not hidden(tmp_path)


# what is refused ---------------------------------------------------------------------------


def back_to(tmp_path, file="b.zip"):
    return "restore", tmp_path / file, "--workspace", tmp_path / "new"


def nothing_new(tmp_path):
    return not os.path.lexists(tmp_path / "new") and hidden(tmp_path) == []


def test_a_place_that_holds_something_is_never_written_to(made, tmp_path):
    ws, file = made
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    assert "is not empty" in refused("restore", file, "--workspace", tmp_path / "full")
    assert "is a file" in refused("restore", file, "--workspace", tmp_path / "file")
    assert "holds a workspace already" in refused("restore", file, "--workspace", ws.folder)
    was = (ws.folder / "server.lock").stat().st_mtime_ns if (ws.folder / "server.lock").exists() else None
    with ws.lock("server"):
        said = refused("restore", file, "--workspace", ws.folder)
    assert f"Process {os.getpid()} works on {ws.folder}." in said
    assert was is None or (ws.folder / "server.lock").exists()
    inside = ["--workspace", ws.images / "w", "--images", ws.images]
    assert "inside the images" in refused("restore", file, *inside)
    (tmp_path / "empty").mkdir()
    run("restore", file, "--workspace", tmp_path / "empty")
    assert files(tmp_path / "full") == {"mine": b"mine"}
    assert hidden(tmp_path) == []


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04", picture(), b"SQLite format 3\0" + b"\0" * 5000],
    ids=["empty", "zip", "png", "db"],
)
def test_a_file_that_is_no_backup_is_refused(tmp_path, data):
    (tmp_path / "b.zip").write_bytes(data)
    assert "is no backup of labeler" in refused(
        "restore", tmp_path / "b.zip", "--workspace", tmp_path / "new"
    )
    assert "is not there" in refused(*back_to(tmp_path, "c.zip"))
    assert nothing_new(tmp_path)


def test_a_backup_that_is_damaged_anywhere_is_refused_or_gives_the_same(made, tmp_path):
    _, file = made
    data = bytearray(file.read_bytes())
    rng = np.random.default_rng(0)
    with archive.opened(file) as opened:
        want = {p.name: p.sha256 for p in opened.contents.parts}
        about = opened.contents.about
    places = [*range(60), *(-i for i in range(1, 200)), *rng.integers(0, len(data), 200).tolist()]
    refusals = 0
    for at in places:
        was = data[at]
        data[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "b.zip").write_bytes(data)
        data[at] = was
        try:
            with archive.opened(tmp_path / "b.zip") as opened:
                opened.check(lambda n: None)
                assert {p.name: p.sha256 for p in opened.contents.parts} == want
                assert opened.contents.about == about
        except archive.BadInput as e:
            refusals += "b.zip" in e.error
    assert refusals > len(places) * 0.7
    for size in (40, 100, 5000, len(data) - 1):
        (tmp_path / "b.zip").write_bytes(data[:size])
        said = refused(*back_to(tmp_path))
        assert "damaged" in said or "is no backup" in said
    (tmp_path / "b.zip").write_bytes(data[: len(data) // 2] + bytes(100) + data[len(data) // 2 + 100 :])
    assert "damaged" in refused(*back_to(tmp_path))
    assert nothing_new(tmp_path)


def forge(path, change=lambda said: said, extra=(), link=None):
    """Write what looks like a backup, with parts that no backup has."""
    with open(path, "wb") as f, archive.Packer(f, lambda n: None) as packer:
        source = path.with_name("part")
        source.write_bytes(b"harm")
        for name in extra:
            with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile warns of a name that comes twice
                patch.setattr(archive, "_is_name", lambda name: True)
                packer.add(name, source, 4, squeeze=False)
        packer.add("labeler.db", source, 4, squeeze=False)
        if link is not None:
            packer._zip.filelist[-1].external_attr = (link | 0o644) << 16
        source.unlink()
        packer.finish(change({"steps": 1}))


CLIMBING = [
    "../out", "rounds/../../out", "/tmp/out", "//host/out", "C:\\out", "rounds\\1\\1.npz", "rounds/1/../1",
    "vectors/../../out.f32", "examples/" + "0" * 31 + "/", "encoders/../config.json",
    "encoders/a/../../../out", "owner-token", "labeler.db-wal", "rounds/0/1.npz", "rounds/1/1.npz/", "",
    "examples/" + "0" * 32 + "\0.png", "vectors/con.f32", "encoders/./x", "cache/tiles/1", "LABELER.DB",
]  # fmt: skip


@pytest.mark.parametrize("name", CLIMBING)
def test_names_that_lead_elsewhere_are_refused_before_anything_is_written(tmp_path, name):
    forge(tmp_path / "b.zip", extra=[name])
    said = refused(*back_to(tmp_path))
    assert "which no backup of labeler does" in said or "does not hold just what it lists" in said
    assert os.listdir(tmp_path) == ["b.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO])
def test_links_and_devices_are_refused(tmp_path, kind):
    forge(tmp_path / "b.zip", link=kind)
    said = refused(*back_to(tmp_path))
    assert "something else than a file" in said
    assert nothing_new(tmp_path)


def test_parts_that_come_twice_or_are_not_listed_are_refused(tmp_path):
    forge(tmp_path / "b.zip", extra=["examples/" + "a" * 32] * 2)
    assert "just what it lists" in refused(*back_to(tmp_path))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as z:
        for name in (archive.MARK, "labeler.db"):
            z.writestr(name, b"harm")
        z.writestr(archive.CONTENTS, json.dumps({"format": 1, "steps": 1, "parts": []}))
    assert "just what it lists" in refused(*back_to(tmp_path))
    assert nothing_new(tmp_path)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"steps": len(STEPS) + 1}, "later version"),
        ({"steps": "1"}, "holds no database"),
        ({"steps": 1, "format": archive.VERSION + 1}, "later version"),
        ({"steps": 1}, "is damaged, or no database"),
    ],
)
def test_a_later_version_and_what_holds_no_database_are_refused(tmp_path, said, why):
    forge(tmp_path / "b.zip", change=lambda _: said)
    assert why in refused(*back_to(tmp_path))
    assert nothing_new(tmp_path)
