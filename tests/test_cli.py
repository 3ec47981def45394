import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from labeler import bar, doctor, loop, opening, overview, places
from labeler.cli import cli
from labeler.config import Config
from labeler.domain import Progress
from labeler.errors import BadInput
from labeler.workspace import Workspace
from tests.fakes import MeanColour
from tests.pools import event, is_target, make_pool

ROOT = Path(__file__).parent.parent
COLOURS = {"red.png": (200, 0, 0), "sub/green.png": (0, 200, 0), "sub/deep/blue.png": (0, 0, 200)}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to run in, and an encoder that needs no torch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "load_encoder", lambda ws: MeanColour())
    return tmp_path


def paint(folder: Path, colours=COLOURS) -> Path:
    for name, colour in colours.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), colour).save(path)
    return folder


def run(*args: str | Path, code: int = 0):
    before = os.environ.get("LABELER_WORKSPACE")
    result = CliRunner().invoke(cli, [str(a) for a in args])
    os.environ.pop("LABELER_WORKSPACE", None)  # start sets it for the server
    if before is not None:
        os.environ["LABELER_WORKSPACE"] = before
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


# index and status --------------------------------------------------------------------------


def test_index_takes_images_in_and_says_where_they_went(here):
    paint(here / "photos")
    (here / "photos" / "broken.jpg").write_bytes(b"")
    shutil.copy(here / "photos" / "red.png", here / "photos" / "same.png")
    result = run("index", "--images", "photos/")
    assert result.stdout == (
        f"Workspace: data{os.sep}photos\n"
        f"Images:    {here / 'photos'}\n"
        "4 images, 4 embedded, 1 of them duplicates, 1 set aside\n"
        "Set aside   broken.jpg: The file is empty.\n"
    )
    assert "3 of 3 · 1 set aside" in result.stderr


def test_index_json_prints_one_object_and_nothing_else(here):
    paint(here / "photos")
    result = run("index", "--images", here / "photos", "--json")
    found = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""
    assert (found["images"], found["embedded"], found["set_aside"]) == (3, 3, [])
    assert Path(found["workspace"]) == here / "data" / "photos"


def test_index_again_goes_on(here):
    paint(here / "photos")
    run("index", "--images", "photos")
    paint(here / "photos", {"new.png": (9, 9, 9)})
    assert "4 images, 4 embedded" in run("index", "--images", "photos").stdout
    assert "4 images, 4 embedded" in run("index", "--workspace", "data/photos").stdout


def test_status_json_is_what_interfaces_promise(here):
    paint(here / "photos")
    run("index", "--images", "photos")
    assert json.loads(run("status", "--json").stdout)["session"] is None
    with_session(here / "data" / "photos")
    result = run("status", "--json")
    found = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert set(found) >= {
        *("workspace", "images", "embedded", "set_aside", "duplicates", "session", "integrity"),
    }
    assert found["integrity"] == "ok"
    assert set(found["session"]) >= {
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
    }
    assert found["session"]["counts"] == {"yes": 1, "no": 1, "unsure": 1, "skip": 0}
    assert (found["session"]["events"], found["session"]["found"]) == (3, 1)


def with_session(folder: Path) -> None:
    """Answer the first three items: yes, no, unsure."""
    ws = Workspace.open(folder)
    session = loop.start_session(ws, "Is it red?")
    answers = [event(i, a) for i, a in enumerate(("yes", "no", "unsure"))]
    assert loop.record(ws, session, loop.owner(ws), answers).accepted == 3
    ws.close()


def test_status_in_words(here):
    paint(here / "photos")
    run("index", "--images", "photos")
    with_session(here / "data" / "photos")
    assert run("status").stdout == (
        f"Workspace   data{os.sep}photos\n"
        "Images      3 images, 3 embedded\n"
        "Question    Is it red? (yes, no; goal: find)\n"
        "Answers     1 yes, 1 no, 1 unsure, 0 skip\n"
        "Cards       0 shown, 0 rounds of learning\n"
        "Found       1; not enough is known yet to say of how many\n"
        "Integrity   ok\n"
    )


def test_status_tells_of_lost_vectors(here):
    paint(here / "photos")
    run("index", "--images", "photos")
    next((here / "data" / "photos" / "vectors").glob("*.f32")).write_bytes(b"")
    assert json.loads(run("status", "--json").stdout)["integrity"] != "ok"
    assert "holds 0 vectors where 3 are noted" in run("status").stdout


def test_looking_creates_nothing(here):
    for args in (
        ["status"],
        ["export", "--format", "csv", "--out", "x"],
        ["status", "--workspace", "nowhere"],
    ):
        assert "Run labeler start first" in run(*args, code=1).stderr
    assert list(here.iterdir()) == []


def test_status_takes_the_workspace_started_last_and_says_so(here, monkeypatch):
    for name in ("one", "two"):
        paint(here / name)
        run("index", "--images", name)
    later = time.time() + 10
    os.utime(here / "data" / "one" / "labeler.toml", (later, later))
    result = run("status", "--json")
    assert Path(json.loads(result.stdout)["workspace"]).name == "one"
    assert "was started last" in result.stderr
    for look in (["status", "--json"], ["doctor"]):
        result = run(*look, "--workspace", "data/two")
        assert result.stderr == ""
        assert (
            Path(json.loads(run("status", "--json").stdout)["workspace"]).name == "one"
        )  # looking is no start
    monkeypatch.setenv("LABELER_WORKSPACE", str(here / "data" / "two"))
    assert Path(json.loads(run("status", "--json").stdout)["workspace"]).name == "two"


# where the workspace is --------------------------------------------------------------------


def test_two_folders_of_one_name_get_two_workspaces(here):
    paint(here / "a" / "photos")
    paint(here / "b" / "photos", {"other.png": (1, 2, 3)})
    run("index", "--images", "a/photos")
    run("index", "--images", "b/photos")
    names = sorted(p.name for p in (here / "data").iterdir())
    assert names[0] == "photos"
    assert len(names) == 2
    assert names[1].startswith("photos-")
    assert "1 images" in run("index", "--images", "b/photos").stdout
    assert sorted(p.name for p in (here / "data").iterdir()) == names


def test_a_moved_folder_keeps_its_workspace_and_its_answers(here):
    paint(here / "a" / "photos")
    run("index", "--images", "a/photos")
    with_session(here / "data" / "photos")
    (here / "b").mkdir()
    (here / "a" / "photos").rename(here / "b" / "photos")
    assert "is gone" in run("index", "--workspace", "data/photos", code=1).stderr
    run("index", "--images", "b/photos")
    assert [p.name for p in (here / "data").iterdir()] == ["photos"]
    assert json.loads(run("status", "--json").stdout)["session"]["found"] == 1


def test_a_folder_of_the_same_name_is_not_taken_for_one_that_is_unplugged(here):
    paint(here / "a" / "photos")
    run("index", "--images", "a/photos")
    shutil.rmtree(here / "a" / "photos")
    paint(here / "b" / "photos", {"other.png": (1, 2, 3)})
    run("index", "--images", "b/photos")
    assert len(list((here / "data").iterdir())) == 2


def test_images_under_data_are_not_mistaken_for_a_workspace(here):
    """A prototype put its database among the user's pictures when they lay in data/NAME."""
    paint(here / "data" / "photos")
    before = sorted((here / "data" / "photos").rglob("*"))
    run("index", "--images", "data/photos")
    assert sorted((here / "data" / "photos").rglob("*")) == before
    assert len(list((here / "data").iterdir())) == 2


@pytest.mark.parametrize("workspace", ["photos", "photos/ws", "photos/sub/../ws"])
def test_a_workspace_inside_the_images_is_refused(here, workspace):
    paint(here / "photos")
    before = sorted((here / "photos").rglob("*"))
    result = run("index", "--images", "photos", "--workspace", workspace, code=1)
    assert "inside the images" in result.stderr
    assert sorted((here / "photos").rglob("*")) == before


def test_a_workspace_of_other_images_is_refused(here):
    paint(here / "one")
    paint(here / "two")
    run("index", "--images", "one", "--workspace", "ws")
    result = run("index", "--images", "two", "--workspace", "ws", code=1)
    assert result.stderr == (
        f"Error: ws belongs to other images, those in {here / 'one'}.\nGive another --workspace.\n"
    )


def test_a_folder_that_is_no_workspace_is_left_alone(here):
    paint(here / "photos")
    (here / "mine").mkdir()
    (here / "mine" / "thesis.txt").write_text("x")
    for args in (["--images", "photos"], []):
        assert "is no workspace" in run("index", *args, "--workspace", "mine", code=1).stderr
    assert [p.name for p in (here / "mine").iterdir()] == ["thesis.txt"]


# what is wrong is said in two sentences ----------------------------------------------------


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["--images", "nowhere"], "There is no folder"),
        (["--images", "photos/red.png"], "is a file."),
        (["--images", "empty"], "holds no images."),
        (["--images", "photos", "--workspace", "photos/red.png/ws"], "inside the images"),
        (["--images", "photos", "--encoder", "nowhere"], "holds no image model"),
        (["--images", "photos", "--encoder", "photos"], "holds no image model"),
    ],
)
def test_errors_of_index_and_start(here, args, error):
    paint(here / "photos")
    (here / "empty").mkdir()
    (here / "empty" / "notes.txt").write_text("no image")
    for command in (["index"], ["start", "--no-browser"]):
        lines = run(*command, *args, code=1).stderr.splitlines()
        assert lines[0].startswith("Error: ")
        assert error in lines[0]
        assert len(lines) == 2
        assert lines[1].endswith(".")
    assert not (here / "data" / "empty").exists()


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["--labels", "yes"], "The number of labels is 1."),
        (["--labels", "yes,yes"], "repeat one."),
        (["--labels", "yes,skip"], "'skip' can't be a label."),
        (["--labels", ",".join("abcdefghij")], "The number of labels is 10."),
        (["--question", " "], "The question is empty."),
        (["--like", "nowhere.png"], "nowhere.png can't be read: No such file or directory."),
        (["--like", "photos"], "photos can't be used: This is a folder, not a file."),
        (["--like", "text.png"], "text.png"),
        (["--host", "203.0.113.7"], "203.0.113.7 is not an address of this machine."),
    ],
)
def test_errors_of_start(here, args, error):
    paint(here / "photos")
    (here / "text.png").write_text("<html>")
    lines = run("start", "--no-browser", "--images", "photos", *args, code=1).stderr.splitlines()
    assert lines[0].startswith("Error: ")
    assert error in lines[0]
    assert len(lines) == 2


@pytest.mark.parametrize(
    "args",
    [
        ["start", "--port", "0"],
        ["start", "--port", "65536"],
        ["start", "--goal", "sort"],
        ["start", "--batch-size", "0"],
        ["start", "--colour", "red"],
        ["export", "--format", "xls", "--out", "x"],
        ["export", "--format", "csv"],
        ["export", "--format", "csv", "--out", "x", "--copy"],
        ["export", "--format", "csv", "--out", "x", "--predicted-from", "1.5"],
        ["export", "--format", "csv", "--out", "x", "--predicted-from", "0.5", "--no-predicted"],
        ["unknown"],
    ],
)
def test_wrong_options_exit_2(here, args):
    run(*args, code=2)
    assert list(here.iterdir()) == []


def test_a_bug_keeps_its_traceback(here, monkeypatch):
    paint(here / "photos")
    monkeypatch.setattr(loop, "status", lambda ws: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("index", "--images", "photos")


def test_a_folder_that_may_not_be_read(here, monkeypatch):
    paint(here / "photos")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(BadInput, match="may not be read"):
        places.check_images(here / "photos")


def test_a_full_disk_is_warned_of(here, monkeypatch):
    paint(here / "photos")
    monkeypatch.setattr(places, "free_bytes", lambda folder: 200_000_000)
    assert "has only 200 MB free" in run("index", "--images", "photos").stderr


# start -------------------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch):
    """Calls that would have started the server."""
    calls = []

    class Site:
        @staticmethod
        def serve(*, host, port, on_stop, sockets):
            assert [s.getsockname()[1] for s in sockets] == [port]
            calls.append((host, port, os.environ["LABELER_WORKSPACE"]))

    monkeypatch.setattr(places, "load_site", lambda: Site)
    monkeypatch.setattr(places, "open_browser", lambda *a: calls.append(("browser", *a)))
    return calls


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_start_begins_a_session_and_goes_on_with_it(here, served):
    paint(here / "photos")
    port = free_port()
    args = ["start", "--images", "photos", "--port", port]
    result = run(*args, "--question", "Is it red?", "--labels", "red, blue,green", "--goal", "classify")
    assert result.stdout == (
        f"Workspace: data{os.sep}photos\n"
        f"Images:    {here / 'photos'}\n"
        "Question:  Is it red? (red, blue, green; goal: classify)\n"
        f"\n  http://localhost:{port}\n\n"
        f"Only the deck: http://localhost:{port}/swipe\n"
        "Ctrl-C stops; every answer is kept.\n"
        "\nStopped. Every answer is kept; start again to go on.\n"
    )
    folder = str(here / "data" / "photos")
    assert served == [("browser", f"http://localhost:{port}", "127.0.0.1", port), ("127.0.0.1", port, folder)]
    assert "Question:  Is it red? (red, blue, green" in run(*args, "--no-browser").stdout
    assert len(served) == 3
    ws = Workspace.open(here / "data" / "photos")
    assert len(loop.sessions(ws)) == 1
    ws.close()


def target_of(folder):
    ws = Workspace.open(folder)
    session = loop.newest_session(ws)
    kept = [share for share, _ in ws.store.targets(session.id)]
    ws.close()
    return session.target_share, kept


def test_start_sets_a_target_changes_it_and_clears_it(here, served):
    paint(here / "photos")
    args = ["start", "--images", "photos", "--no-browser", "--port", free_port()]
    folder = here / "data" / "photos"
    for text, share, words in (
        ("95", 0.95, "95 % found"), ("0.9", 0.9, "90 % found"), ("97.5%", 0.975, "97.5 % found"),
        ("0,8", 0.8, "80 % found"), (" 99 % ", 0.99, "99 % found"),
    ):  # fmt: skip
        assert f"Target:    {words}; labeler says when it probably is" in run(*args, "--until", text).stdout
        assert target_of(folder)[0] == share
    assert "Target:    99 % found" in run(*args).stdout  # left alone
    assert "Target:     " not in run("status").stdout
    assert "Target      99 %; not enough is known yet" in run("status").stdout
    assert "Target:" not in run(*args, "--until", "off").stdout
    assert target_of(folder) == (None, [0.95, 0.9, 0.975, 0.8, 0.99, None])
    classify = run(*args, "--until", "90", "--goal", "classify").stdout
    assert "That can only be said with the goal find." in classify
    other = run(*args, "--question", "Is it blue?").stdout
    assert "Target:" not in other  # a question's target is its own


@pytest.mark.parametrize(
    "text",
    ["", "all", "100", "1", "1.0", "0", "-5", "49", "0.3", "950", "95%%", "9 5", "1e2", "nan", "٩٥", "99.99"],
)
def test_a_target_that_is_none_is_refused_before_anything_is_made(here, text):
    paint(here / "photos")
    lines = run("start", "--images", "photos", f"--until={text}", "--no-browser", code=1).stderr.splitlines()
    assert lines[0] == f"Error: --until takes no {text!r}."
    assert lines[1].startswith("Give a percentage from 50 to 99.9, such as 95, or off.")
    assert not (here / "data").exists()


def test_status_tells_target_and_precision_in_words_and_as_json(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ws = make_pool(tmp_path, 300)
    session = loop.set_target(ws, loop.new_session(ws, "Is it?", ["yes", "no"], seed=1), 0.95)
    person = loop.owner(ws)
    for _ in range(4):
        loop.learn(ws, session)
        cards = loop.next_cards(ws, session, person, 20, have=[])
        answers = [event(c.item, "yes" if is_target(c.item) else "no", c.id) for c in cards]
        loop.record(ws, session, person, answers)
    loop.learn(ws, session)
    facts = loop.status(ws, session)["session"]
    audit = sum(c == "audit" for c in ws.journal.reasons(session.id)[1])
    ws.close()
    told = json.loads(run("status", "--workspace", ws.folder, "--json").stdout)["session"]
    assert told["advice"].keys() == {
        *("target", "reached", "chance", "next_finds", "cards_to_next", "cards_to_target", "cards_to_sure")
    }
    assert (told["target_share"], told["quality"]["audit"]) == (0.95, audit)
    assert [row["threshold"] for row in told["quality"]["labels"]["yes"]] == [0.5, 0.8, 0.95]
    assert told["quality"] == json.loads(json.dumps(facts["quality"]))
    lines = run("status", "--workspace", ws.folder).stdout.splitlines()
    (target,) = [line for line in lines if line.startswith("Target      95 %, ")]
    assert f"chance {facts['advice']['chance']:.2f}" in target
    at = lines.index(f"Precision   of yes, by {audit} cards drawn evenly at random:")
    assert [line[:34] for line in lines[at + 1 : at + 4]] == [
        f"            called so with {t} or more"[:34] for t in ("0.5", "0.8", "0.95")
    ]


def test_start_keeps_what_it_was_given_in_the_settings(here, served):
    paint(here / "photos")
    run("start", "--images", "photos", "--batch-size", 50, "--no-browser", "--port", free_port())
    text = (here / "data" / "photos" / "labeler.toml").read_text("utf-8")
    assert "batch_size = 50" in text
    again = run("start", "--images", "photos", "--batch-size", 30, "--no-browser", "--port", free_port())
    assert "goes on in batches of 50" in again.stdout


def test_start_takes_images_to_look_for(here, served):
    paint(here / "photos")
    run("index", "--images", "photos")
    args = ["--like", "photos/red.png", "--like", "photos/sub/green.png"]
    for _ in range(2):
        run("start", "--images", "photos", *args, "--no-browser", "--port", free_port())
    session = json.loads(run("status", "--json").stdout)["session"]
    assert (session["found"], session["events"]) == (2, 2)


def test_start_for_other_devices_prints_the_owners_link(here, served):
    paint(here / "photos")
    port = free_port()
    result = run("start", "--images", "photos", "--host", "0.0.0.0", "--port", port, "--no-browser")
    token = (here / "data" / "photos" / "owner-token").read_text().strip()
    assert result.stdout.count(f"?token={token}") == 3
    assert f"http://localhost:{port}/?token={token}" in result.stdout
    assert f"/swipe?token={token}" in result.stdout


def test_a_taken_port_is_said_and_the_next_one_used(here, served):
    paint(here / "photos")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        result = run("start", "--images", "photos", "--port", port, "--no-browser")
    used = served[-1][1]
    assert port < used
    assert f"Port {port} is taken, so this is port {used}." in result.stdout


def test_one_server_per_workspace(here, served):
    paint(here / "photos")
    run("index", "--images", "photos")
    ws = Workspace.open(here / "data" / "photos")
    settings = (ws.folder / "labeler.toml").read_text()
    for more in ((), ("--batch-size", "7")):
        with ws.lock("server"):
            result = run("start", "--images", "photos", "--no-browser", "--port", free_port(), *more, code=1)
        assert f"Process {os.getpid()} works on" in result.stderr
        assert "http" not in result.stderr
    with ws.lock("server"):
        ws.serves_at("http://localhost:8501")
        result = run("start", "--images", "photos", "--no-browser", "--port", free_port(), code=1)
        assert "(server at http://localhost:8501)" in result.stderr
        assert "Open it there" in result.stderr
    with ws.lock("server"):  # it ended, and another one is not that far yet
        assert "http" not in run("start", "--images", "photos", "--port", free_port(), code=1).stderr
    ws.close()
    assert served == []
    assert (ws.folder / "labeler.toml").read_text() == settings


def test_a_workspace_whose_images_are_out_of_reach_is_not_given_others(here):
    paint(here / "disk" / "photos")
    paint(here / "others")
    run("index", "--images", "disk/photos", "--workspace", "work")
    (here / "disk").rename(here / "unplugged")
    (here / "others" / "red.png").rename(here / "others" / "scarlet.png")
    for image in (here / "others").iterdir():
        image.rename(image.with_stem(f"other-{image.stem}"))
    refused = run("index", "--images", "others", "--workspace", "work", code=1)
    assert "belongs to other images" in refused.stderr
    run("index", "--images", "unplugged/photos", "--workspace", "work")


def test_without_images_a_demonstration_set_is_drawn_and_said_to_be(here, served, monkeypatch):
    def draw(folder, **_):
        paint(folder)

    monkeypatch.setattr("labeler.demo.draw_demo", draw)
    result = run("start", "--no-browser", "--port", free_port())
    assert f"Workspace: data{os.sep}demo\n" in result.stdout
    assert f"Images:    {here / 'data' / 'demo' / 'images'} (drawn by labeler)\n" in result.stdout
    assert "Question:  Is this an island? (yes, no; goal: find)\n" in result.stdout
    assert run("start", "--no-browser", "--port", free_port()).stdout.count("drawing") == 0
    assert json.loads(run("status", "--json").stdout)["drawn"] is True
    shutil.rmtree(here / "data" / "demo" / "images")
    run("start", "--no-browser", "--port", free_port())
    assert (here / "data" / "demo" / "images" / "red.png").exists()


@pytest.mark.parametrize("folder", ["data", "work"])
def test_a_mistyped_workspace_is_not_made_with_a_demonstration_in_it(here, served, monkeypatch, folder):
    monkeypatch.setattr("labeler.demo.draw_demo", lambda folder, **_: paint(folder))
    paint(here / "tiles")
    run("index", "--images", "tiles", "--workspace", f"{folder}/tiles")
    refused = run("start", "--workspace", f"{folder}/tile", "--no-browser", "--port", free_port(), code=1)
    assert f"There is no workspace {folder}{os.sep}tile." in refused.stderr
    assert f"--workspace {folder}{os.sep}tiles" in refused.stderr
    assert not (here / folder / "tile").exists()
    said = run("start", "--workspace", f"{folder}/seas", "--no-browser", "--port", free_port()).stdout
    assert "(drawn by labeler)" in said
    said = run("start", "--workspace", f"{folder}/sea", "--no-browser", "--port", free_port()).stdout
    assert "(drawn by labeler)" in said  # a demonstration beside another


def test_a_folder_named_demo_is_not_the_demonstration_set(here, served, monkeypatch):
    monkeypatch.setattr("labeler.demo.draw_demo", lambda folder, **_: paint(folder))
    run("start", "--no-browser", "--port", free_port())
    paint(here / "demo")
    result = run("start", "--images", "demo", "--no-browser", "--port", free_port())
    assert f"Workspace: data{os.sep}demo-" in result.stdout
    assert "drawn" not in result.stdout


# export ------------------------------------------------------------------------------------


@pytest.fixture
def labeled(tmp_path, monkeypatch):
    """A workspace in data/pool: 40 items of 200 answered, one round learned."""
    monkeypatch.chdir(tmp_path)
    ws = make_pool(tmp_path / "made", 200, images=True)
    session = loop.start_session(ws, "Is it?")
    person = loop.owner(ws)
    events = [event(i, "yes" if is_target(i) else "no") for i in range(38)]
    loop.record(ws, session, person, [*events, event(38, "unsure"), event(39, "skip")])
    loop.learn(ws, session)
    ws.close()
    return tmp_path / "made" / "ws"


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def test_export_csv_keeps_answers_and_predictions_apart(labeled, tmp_path):
    result = run("export", "--workspace", labeled, "--format", "csv", "--out", "out")
    assert "39 answered by people, 161 predicted" in result.stdout
    rows = read_csv(tmp_path / "out" / "labels.csv")
    people = [r for r in rows if r["source"] == "person"]
    assert len(people) == 39
    assert {r["item"] for r in people} & {r["item"] for r in rows if r["source"] == "predicted"} == set()
    assert {r["votes"] for r in people} == {"1"}
    assert all(0 <= float(r["posterior"]) <= 1 for r in rows if r["source"] == "predicted")
    assert len(read_csv(tmp_path / "out" / "events.csv")) == 40


def test_export_without_predictions_and_with_sure_ones_only(labeled, tmp_path):
    result = run(
        "export", "--workspace", labeled, "--format", "jsonl", "--out", "a", "--no-predicted", "--json"
    )
    found = json.loads(result.stdout)
    assert (found["person"], found["predicted"], found["events"]) == (39, 0, 40)
    args = ["--workspace", labeled, "--format", "csv", "--out", "b", "--predicted-from", "0.9"]
    run("export", *args)
    rows = [r for r in read_csv(tmp_path / "b" / "labels.csv") if r["source"] == "predicted"]
    assert all(float(r["posterior"]) >= 0.9 for r in rows)


@pytest.mark.parametrize("how", ["--copy", "--link", "--refs"])
def test_export_folders_holds_predictions_only_when_asked(labeled, tmp_path, how):
    run("export", "--workspace", labeled, "--format", "folders", "--out", "out", how)
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir()) == ["no", "unsure", "yes"]
    args = ["--workspace", labeled, "--format", "folders", "--out", "more", how, "--predicted-from", "0"]
    run("export", *args)
    assert (tmp_path / "more" / "predicted").is_dir()
    found = {p.name: p.read_bytes() for p in (tmp_path / "out" / "yes").glob("*.png")}
    if how != "--refs":
        source = tmp_path / "made" / "images"
        assert found == {
            n: (source / n).read_bytes() for n in ("img0000.png", "img0010.png", "img0020.png", "img0030.png")
        }


def test_export_refuses_a_folder_that_holds_something_else(labeled, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    result = run("export", "--workspace", labeled, "--format", "csv", "--out", "mine", code=1)
    assert "is not empty" in result.stderr
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_export_says_what_is_gone(labeled, tmp_path):
    (tmp_path / "made" / "images" / "img0000.png").unlink()
    result = run("export", "--workspace", labeled, "--format", "folders", "--out", "out")
    assert "Left out:  1 files that are gone or changed, such as img0000.png" in result.stderr


# doctor ------------------------------------------------------------------------------------


def test_doctor_finds_this_machine_well(here):
    result = run("doctor", "--port", free_port())
    assert "BAD" not in result.stdout
    for word in ("torch", "modAL-python", "AVIF", "disk", "is free"):
        assert word in result.stdout
    assert json.loads(run("doctor", "--json").stdout)["ok"] is True


def test_doctor_tells_of_a_missing_package_and_a_taken_port(here, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("click", "no-such-package"))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        result = run("doctor", "--port", s.getsockname()[1], code=1)
    assert "BAD no-such-package" in result.stdout
    assert "is taken; labeler start would use" in result.stdout


# the bar -----------------------------------------------------------------------------------


def test_progress_in_words():
    assert bar.describe(Progress("scanning", 1200, None)) == "scanning  1,200"
    assert bar.describe(Progress("embedding", 500, 1000, 312.4, 61.0, 3)) == (
        "embedding " + "█" * 12 + "░" * 12 + " 500 of 1,000 · 312/s · 1 min left · 3 set aside"
    )
    assert [bar.clock(s) for s in (0.2, 59, 61, 3599, 7500)] == [
        "1 s",
        "59 s",
        "1 min",
        "1 h 00 min",
        "2 h 05 min",
    ]


def test_the_bar_draws_on_a_terminal_only(capsys):
    class Terminal:
        def __init__(self, is_terminal):
            self.text, self.is_terminal = "", is_terminal

        def isatty(self):
            return self.is_terminal

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    live, plain, silent = Terminal(True), Terminal(False), Terminal(True)
    for out, quiet in ((live, False), (plain, False), (silent, True)):
        drawn = bar.Bar(out, quiet=quiet)
        for i in range(5):
            drawn.show(Progress("embedding", i, 5))
        drawn.close()
    assert live.text.startswith("\r\x1b[Kembedding")
    assert live.text.endswith("\n")
    assert plain.text.count("\n") == 1
    assert "\r" not in plain.text
    assert silent.text == ""


# real processes ----------------------------------------------------------------------------

ENDS_S = 3  # two seconds are promised; one more for a machine that is busy with other tests
SLOW = """
import sys, time
sys.path.insert(0, sys.argv.pop(1))
from labeler import loop
from labeler.cli import main
from tests.fakes import MeanColour

class Slow(MeanColour):
    def forward(self, prepared):
        time.sleep(0.05 * len(prepared))
        return super().forward(prepared)

loop.load_encoder = lambda ws: Slow()
main()
"""


def start_process(*args: str | Path, cwd: Path) -> "subprocess.Popen[str]":
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, *(str(a) for a in args)]
    return subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def interrupt(process: "subprocess.Popen[str]", how: int = signal.SIGINT) -> tuple[float, str, str]:
    """Return how long a process took to end after Ctrl-C, or another signal, and what it had written."""
    began = time.monotonic()
    process.send_signal(how)
    out, err = process.communicate(timeout=20)
    return time.monotonic() - began, out, err


def test_ctrl_c_ends_index_at_once_and_loses_nothing(tmp_path):
    paint(tmp_path / "photos", {f"{i}.png": (i, 100, 3) for i in range(200)})
    process = start_process("-c", SLOW, ROOT, "index", "--images", "photos", cwd=tmp_path)
    database = tmp_path / "data" / "photos" / "labeler.db"
    deadline = time.monotonic() + 120  # a busy machine takes its time to load the encoder
    while time.monotonic() < deadline and not embedded(database.parent):
        time.sleep(0.05)
    before = embedded(database.parent)
    assert 0 < before < 200
    took, _, err = interrupt(process)
    assert process.returncode == 130
    assert "Stopped. What was done is kept" in err
    assert "Traceback" not in err
    assert took < ENDS_S
    assert embedded(database.parent) >= before
    ws = Workspace.open(database.parent)
    assert overview.check(ws) == []
    ws.close()


def embedded(folder: Path) -> int:
    """Return how many items of a workspace have a vector, 0 when it is not there yet."""
    if not places.is_workspace(folder):
        return 0
    ws = Workspace.open(folder)
    used = ws.registry.in_use()
    ws.close()
    return used[2] if used else 0


def get(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def wait_for_cards(port: int, process: "subprocess.Popen[str]") -> list[dict]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        try:
            if cards := get(f"http://127.0.0.1:{port}/api/cards?n=5")["cards"]:
                return cards
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("no cards came within a minute")


def answer(port: int, card: dict) -> None:
    said = {"id": str(uuid.uuid4()), "card": card["card"], "item": card["item"], "label": "yes", "ms": 500}
    body = json.dumps({"events": [said | {"at": "2026-11-20T12:00:00.000Z"}]}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/labels", body, headers)
    with urllib.request.urlopen(request, timeout=5) as reply:
        assert json.load(reply)["accepted"] == 1


@pytest.mark.load
def test_a_server_serves_stops_at_ctrl_c_and_at_sigterm_and_goes_on(tmp_path):
    paint(tmp_path / "photos", {f"{i}.png": (i * 6, 100, 3) for i in range(40)})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for round_, how in enumerate((signal.SIGINT, signal.SIGTERM)):
            process = start_process(
                *("-m", "labeler.cli", "start", "--images", "photos", "--no-browser", "--port", port),
                cwd=tmp_path,
            )
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(4)]
            assert said[3].startswith(f"Port {port} is taken, so this is port ")
            used = int(said[3].rstrip(".\n").rsplit(" ", 1)[1])
            cards = wait_for_cards(used, process)
            assert get(f"http://127.0.0.1:{used}/api/session")["found"] == round_
            answer(used, cards[0])
            took, out, err = interrupt(process, how)
            assert process.returncode == 0, err
            assert "Stopped. Every answer is kept" in out
            assert "Traceback" not in err
            assert took < ENDS_S
    assert (
        json.loads(run("status", "--json", "--workspace", tmp_path / "data" / "photos").stdout)["session"][
            "found"
        ]
        == 2
    )


def test_sigterm_before_the_server_serves_is_said_and_told_by_the_exit_code(tmp_path, monkeypatch):
    def opened(*args: object, **more: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(opening, "open_for_work", opened)
    assert "the same command goes on from here" in run("start", "--workspace", tmp_path, code=143).output
    assert signal.getsignal(signal.SIGTERM) == before


def test_config_and_options_have_the_same_defaults():
    assert Config().batch_size == 20
    port = next(p for p in cli.commands["start"].params if p.name == "port")
    assert port.default == 8501
