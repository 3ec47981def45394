import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from labeler import drawing, files, images, loop, simulate, trial
from labeler.cli import cli
from labeler.errors import BadInput
from labeler.simulate import Example, Plan, play, play_all, tasks
from labeler.truth import Truth, read_truth
from labeler.workspace import Workspace
from tests.fakes import MeanColour
from tests.folders import embedded, paint_classes

ROOT = Path(__file__).parent.parent
SIZES = {"red": 45, "green": 60, "blue": 75}
POOL = sum(SIZES.values())


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder of folders, the workspace that a simulation keeps, and what its images show."""
    home = tmp_path_factory.mktemp("sim")
    with pytest.MonkeyPatch.context() as patch:
        ws, classes = embedded(paint_classes(home / "colours", SIZES), home / "ws", patch)
    yield home, ws, read_truth(ws, classes)
    ws.close()


@pytest.fixture
def stage(kept, tmp_path):
    """A copy to play on."""
    copy = kept[1].copy_to_play_on(tmp_path / "copy")
    yield copy
    copy.close()


def task_of(kept, *targets, kind="play", **plan):
    """The one task of a kind, of a class, as planned."""
    _, ws, truth = kept
    found = [t for t in tasks(ws, truth, Plan(**plan), targets or ["green"]) if t.kind == kind]
    return found[0]


def cards_of(ws, session=1):
    """Return (item, reason, person, answer) of every answered card of a session, in order."""
    log = ws.journal.log(loop.get_session(ws, session))
    return [(e.item, e.reason, e.person, e.answer) for e in log]


# a play -------------------------------------------------------------------------------------


def test_the_reference_is_card_one_and_a_find_and_the_budget_is_kept(kept, stage):
    task = task_of(kept, times=1.55, noise=0.0)
    result = play(stage, task)
    cards = cards_of(stage)
    assert len(result.hits) == 93 == len(cards)
    assert result.hits[0]
    assert cards[0][1] == "asked"
    assert stage.images / kept[2].names[cards[0][0]] == task.examples[0].path
    assert len({item for item, *_ in cards}) == len(cards)
    assert result.hits.tolist() == [item in kept[2].items["green"] for item, *_ in cards]
    assert [answer for *_, answer in cards] == ["yes" if hit else "no" for hit in result.hits]


def test_a_round_is_learned_after_every_batch_and_says_where_the_play_stood(kept, stage):
    result = play(stage, task_of(kept, cards=70, times=None))
    assert [(r.number, r.shown) for r in result.rounds] == [(1, 1), (2, 21), (3, 41), (4, 61), (5, 70)]
    assert [r.found for r in result.rounds] == [int(result.hits[: r.shown].sum()) for r in result.rounds]
    assert all(r.ms > 0 for r in result.rounds)
    assert result.rounds[0].estimate is None  # nothing is found yet
    for r in result.rounds:
        if r.estimate is not None:
            assert 0 < r.estimate["low"] <= r.estimate["share"] <= r.estimate["high"] <= 1
    assert result.rounds[-1].estimate is not None


def test_with_a_share_to_find_cards_come_again_that_are_no_new_finds(kept, stage):
    result = play(stage, task_of(kept, cards=170, times=None, target_share=0.9, noise=0.2))
    cards = cards_of(stage)
    again = [at for at, (_, reason, *_) in enumerate(cards) if reason == "repeat"]
    assert result.rounds[-1].again == len(again) > 0
    members = set(kept[2].items["green"].tolist())
    shown = [item for item, *_ in cards]
    assert len(shown) == 170 == len(result.hits)
    assert len(set(shown)) == 170 - len(again)
    assert result.hits.tolist() == [
        item in members and item not in shown[:at] for at, item in enumerate(shown)
    ]
    stands = {item: answer == "yes" for item, _, _, answer in cards}
    assert result.rounds[-1].kept == sum(yes and item in members for item, yes in stands.items())
    assert result.rounds[-1].kept < result.rounds[-1].found


def test_it_finds_far_more_than_chance_and_the_same_play_comes_out_the_same(kept, stage):
    task = task_of(kept, times=1.0)
    once, again = play(stage, task), play(stage, task)
    assert once.hits.tolist() == again.hits.tolist()
    assert once.hits.mean() > 0.7  # a third of the pool is green


def test_another_run_begins_with_another_image(kept):
    _, ws, truth = kept
    plan = Plan(seeds=3, references=2, labeled=(), baseline=False)
    found = tasks(ws, truth, plan, ["green", "blue"])
    assert [(t.target, t.seed, t.reference) for t in found] == [
        (c, s, r) for c in ("green", "blue") for s in range(3) for r in range(2)
    ]
    paths = [t.examples[0].path for t in found]
    assert all(paths[i] != paths[i + 1] for i in range(0, 12, 2))
    assert len(set(paths)) > 6
    assert len({t.chance for t in found}) == 12
    for t in found:
        item = ws.catalog.item_by_hash(images.content_hash(t.examples[0].path.read_bytes()))
        assert item in truth.items[t.target]


def test_what_is_tested_sees_no_class_and_no_name(kept, stage):
    play(stage, task_of(kept, times=1.0))
    dump = "\n".join(stage.catalog.conn.iterdump())
    assert "green" not in dump.replace(str(kept[0]), "")
    assert not any(name in dump for name in ("000.png", "001.png"))


def test_part_of_the_cards_is_audit(kept, stage):
    play(stage, task_of(kept, cards=161, times=None))
    reasons = [reason for _, reason, *_ in cards_of(stage)]
    assert 6 <= reasons.count("audit") <= 11  # one of each batch of twenty; look-alikes are put off


def test_wrong_answers_are_as_many_as_asked_for(kept, stage):
    task = task_of(kept, "blue", cards=181, times=None, noise=0.2)
    result = play(stage, replace(task, stops=(POOL,)))
    cards = cards_of(stage)
    wrong = [(answer == "yes") != hit for hit, (*_, answer) in zip(result.hits, cards, strict=True)]
    assert not wrong[0]  # the reference
    assert 0.11 < np.mean(wrong) < 0.29  # 0.2 ± 3 standard deviations of 180 draws
    again = play(stage, task)
    assert again.hits.tolist() == result.hits.tolist()


def test_several_people_hold_a_deck_each_and_answer_in_turn(kept, stage):
    result = play(stage, task_of(kept, cards=131, times=None, people=3))
    cards = cards_of(stage)
    who = [person for _, _, person, _ in cards[1:]]
    assert len(cards) == len(result.hits) == 131
    assert len({item for item, *_ in cards}) == 131
    assert who[:60] == [who[0]] * 20 + [who[20]] * 20 + [who[40]] * 20
    assert len(set(who)) == 3
    assert who[60] == who[0]


def test_when_the_pool_is_empty_the_play_is_over(kept, stage):
    result = play(stage, task_of(kept, times=50.0))
    assert len(result.hits) == POOL
    assert result.hits.sum() == SIZES["green"]


def test_a_reference_from_outside_the_pool_is_no_card(kept, stage, tmp_path):
    path = tmp_path / "mine.png"
    Image.new("RGB", (16, 16), (20, 200, 20)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "load_encoder", lambda ws: MeanColour())
        example = trial.take_example(kept[1], path, path.read_bytes())
    assert example.vector is not None
    result = play(stage, task_of(kept, times=1.0, like=(example,)))
    cards = cards_of(stage)
    assert len(cards) == len(result.hits) == SIZES["green"]
    assert "asked" not in [reason for _, reason, *_ in cards]
    assert result.hits[:20].mean() > 0.6


def test_references_from_inside_and_outside_are_told_apart(kept, stage, tmp_path):
    _, ws, truth = kept
    path = tmp_path / "mine.png"
    Image.new("RGB", (16, 16), (20, 200, 20)).save(path)
    inside = Example(ws.images / truth.names[int(truth.items["green"][0])])
    outside = Example(path, np.array([0, 1, 0], np.float32))
    for number in (1, 2):
        result = play(stage, task_of(kept, times=1.0, like=(inside, outside)))
        (known,) = stage.store.example_vectors(number, MeanColour.key)
        assert known[0].name == "mine.png"
        assert known[1].tolist() == [0, 1, 0]
        assert [reason for _, reason, *_ in cards_of(stage, number)].count("asked") == 1
        assert len(result.hits) == SIZES["green"]


def test_several_references_at_once_are_a_card_each(kept, stage):
    _, ws, truth = kept
    paths = [ws.images / truth.names[int(i)] for i in truth.items["green"][:3]]
    result = play(stage, task_of(kept, times=1.0, like=tuple(Example(p) for p in paths)))
    assert [reason for _, reason, *_ in cards_of(stage)][:4].count("asked") == 3
    assert len(result.hits) == SIZES["green"]


def test_a_held_out_third_is_never_asked_and_judged_after_so_many_labels(kept, stage):
    task = task_of(kept, kind="held out", labeled=(30, 50, 100))
    result = play(stage, task)
    asked = {item for item, *_ in cards_of(stage)}
    third = set(task.hide.tolist())
    assert len(result.hits) == 100
    assert not third & asked
    assert len(third) == 60
    assert len(third & set(task.members.tolist())) == 20
    assert [r.shown for r in result.rounds] == [1, 21, 30, 50, 70, 90, 100]
    assert result.precision.keys() == {30, 50, 100}
    assert 0.8 < result.precision[100] <= 1


def test_more_labels_than_there_are_images_to_ask_give_no_precision(kept, stage):
    result = play(stage, task_of(kept, kind="held out", labeled=(50, 400)))
    assert result.precision[50] > 0.5
    assert result.precision[400] is None
    assert len(result.hits) == POOL - 60


@pytest.mark.parametrize("goal", ["find", "classify"])
@pytest.mark.parametrize("strategy", ["random", "neighbours", "gaussian", "ranked", "balanced", "margin"])
def test_every_strategy_plays_and_its_rounds_can_be_drawn_again(kept, stage, strategy, goal, monkeypatch):
    monkeypatch.setattr(simulate.shutil, "rmtree", lambda *_, **__: None)  # keep the rounds' files
    task = task_of(kept, kind="held out", labeled=(50,), strategy=strategy, goal=goal)
    result = play(stage, task)
    session = loop.get_session(stage, 1)
    rounds = stage.store.rounds(1)
    assert len(result.hits) == 50
    assert len(rounds) == 4
    for made in rounds:
        picks = stage.store.picks(1, made.number)
        assert drawing.draw_again(stage, session, made) == picks
        assert not {p.item for p in picks} & set(task.hide.tolist())
    has_head = result.precision[50] is not None
    assert has_head == (goal == "classify" or strategy not in ("random", "neighbours"))


def test_a_play_ends_between_rounds_when_nobody_wants_it_any_more(kept, stage):
    asked = []
    with pytest.raises(simulate.Stopped):
        play(stage, task_of(kept), is_over=lambda: bool(asked.append(1) or len(asked) > 2))
    assert len(cards_of(stage)) == 41


# in processes -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spread_out(kept, tmp_path_factory):
    """The same plays in one process and in two; and what they left in the folder for temporary files."""
    _, ws, truth = kept
    wanted = tasks(ws, truth, Plan(times=1.0, labeled=(50,)), list(SIZES))
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        scratch = tmp_path_factory.mktemp("scratch")
        patch.setattr(tempfile, "tempdir", str(scratch))
        one = play_all(ws, wanted, report=seen.append, processes=1)
        two = play_all(ws, wanted, report=lambda p: None, processes=2)
    return wanted, one, two, seen, [p.name for p in scratch.iterdir()]


def test_plays_come_out_the_same_whatever_the_number_of_processes(spread_out):
    wanted, one, two, *_ = spread_out
    for task, a, b in zip(wanted, one, two, strict=True):
        assert (a.task.kind, a.task.target) == (task.kind, task.target)
        assert a.hits.tolist() == b.hits.tolist()
        assert a.precision == b.precision
    assert {t.kind for t in wanted} == {"play", "baseline", "held out"}


def test_plays_use_the_settings_of_the_workspace_as_it_is_given(kept, monkeypatch):
    _, ws, _ = kept
    monkeypatch.setattr(ws, "config", replace(ws.config, batch_size=10))
    task = task_of(kept, cards=31, times=None)
    (played,) = play_all(ws, [task], report=lambda p: None, processes=1)
    assert [r.shown for r in played.rounds] == [1, 11, 21, 31]


def test_nothing_of_the_plays_stays(kept, spread_out):
    _, ws, _ = kept
    *_, left = spread_out
    assert left == []
    assert loop.sessions(ws) == []
    assert not any((ws.folder / "rounds").iterdir())
    assert not any((ws.folder / "examples").iterdir())


def test_progress_says_how_many_plays_are_done(spread_out):
    wanted, _, _, seen, _ = spread_out
    assert [(p.stage, p.done, p.total) for p in seen] == [
        ("playing", done, len(wanted)) for done in range(len(wanted) + 1)
    ]


def test_an_error_in_a_play_ends_all_and_is_told(kept):
    _, ws, truth = kept
    (task,) = tasks(ws, truth, Plan(labeled=(), baseline=False), ["green"])
    gone = replace(task, examples=(Example(Path("gone.png")),))
    with pytest.raises(files.Unreadable):
        play_all(ws, [gone, task, task], report=lambda p: None, processes=1)


# the command --------------------------------------------------------------------------------


def run(*args, code=0):
    result = CliRunner().invoke(cli, ["simulate", *map(str, args)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def place(kept, monkeypatch, tmp_path):
    """The options for the kept workspace, and a folder to run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "load_encoder", lambda ws: MeanColour())
    return ["--images", kept[0] / "colours", "--workspace", kept[0] / "ws"]


@pytest.fixture(scope="module")
def told(kept, tmp_path_factory):
    """What the command says and writes."""
    out = tmp_path_factory.mktemp("out") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELER_WORKSPACE", str(out.parent / "theirs"))
        patch.setattr(loop, "load_encoder", lambda ws: MeanColour())
        result = run(
            *("--images", kept[0] / "colours", "--workspace", kept[0] / "ws", "--out", out),
            *("--target", "green", "--target", "blue", "--references", 2, "--budget", "1.5x"),
        )
    return result, out


FILES = ["classes.csv", "curves.csv", "estimate.png", "found.png", "summary.json"]


def test_the_files_hold_what_the_command_says(told, kept):
    _, out = told
    assert sorted(p.name for p in out.iterdir()) == FILES
    found = json.loads((out / "summary.json").read_text())
    assert found["images"] == POOL
    assert found["budget"] == "1.5x"
    with (out / "classes.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [(r["class"], r["seed"], r["reference"]) for r in rows] == [
        ("green", "0", "0"), ("green", "0", "1"), ("blue", "0", "0"), ("blue", "0", "1"),
    ]  # fmt: skip
    for row, of in zip(rows, found["classes"], strict=True):
        assert float(row["found_1k"]) == of["found_1k"]
        assert (row["found_2k"], of["found_2k"]) == ("", None)
    mean = np.mean([np.mean([r["found_1k"] for r in found["classes"][i : i + 2]]) for i in (0, 2)])
    assert found["found_1k"] == pytest.approx(mean)
    with (out / "curves.csv").open() as f:
        curves = list(csv.DictReader(f))
    assert {r["strategy"] for r in curves} == {"recipe", "neighbours"}
    mine = [r for r in curves if (r["class"], r["reference"], r["strategy"]) == ("blue", "1", "recipe")]
    assert [int(r["cards"]) for r in mine] == [1, 21, 41, 61, 81, 101, 113]
    assert int(mine[-1]["found"]) == found["classes"][3]["found"]
    with Image.open(out / "found.png") as picture:
        assert picture.size == (1200, 750)


def test_the_words_say_what_was_found_in_as_many_cards_as_there_are_images(told):
    result, out = told
    found = json.loads((out / "summary.json").read_text())
    text = result.stdout
    percent = f"{100 * found['found_1k']:.0f} %"
    chance = f"{100 * found['random']['found_1k']:.0f} %"
    assert f"After as many cards as there are images of the class, {percent} of them were found" in text
    assert f"at random it would be {chance}." in text
    assert "2 classes; plays: 4 by recipe, 4 by neighbours alone, 4 with a third held out" in text
    lines = text.splitlines()
    head = next(line for line in lines if line.startswith("class "))
    assert " ".join(head.split()) == "class images 0.5 K 1 K 1.5 K to 82 % to 90 % to 95 % AP 50 AP 100"
    table = lines[lines.index(head) :]
    assert len({len(line) for line in table[:4]}) == 1
    worst = min(
        ("green", "blue"), key=lambda c: np.mean([r["found_1k"] for r in found["classes"] if r["class"] == c])
    )
    assert table[1].startswith(worst)
    assert f"The hardest class is {worst}" in text
    held = f"held the truth in {100 * found['estimate']['coverage']:.0f} % of the rounds"
    assert held in text
    weak = found | {"encoder": "builtin-1-510da727", "found_1k": found["neighbours"]["found_1k"]}
    for known, is_advised in (
        (weak, True),
        (weak | {"encoder": "m"}, False),
        (weak | {"found_1k": 2}, False),
    ):
        assert any("Try a larger one, --encoder DIR" in line for line in trial.words(known)) == is_advised


def test_json_is_the_summary_and_a_second_run_needs_no_encoder(told, kept, monkeypatch):
    _, out = told

    def never(ws):
        raise AssertionError("everything is embedded")

    monkeypatch.setattr(loop, "load_encoder", never)
    result = run(
        *("--images", kept[0] / "colours", "--workspace", kept[0] / "ws", "--json"),
        *("--target", "green", "--budget", 61),
    )
    assert result.stdout.count("\n") == 1
    found, before = json.loads(result.stdout), json.loads((out / "summary.json").read_text())
    assert found.keys() == before.keys()
    once, first = found["classes"][0], before["classes"][0]  # the same play, cut short
    assert once["cards"] == 61
    for key in ("class", "reference", "found_0_5k", "found_1k", "ap_50"):
        assert once[key] == first[key]


def test_results_are_written_over_earlier_results_only(told, place, tmp_path, monkeypatch):
    out = tmp_path / "results"
    shutil.copytree(told[1], out)
    (out / ".summary.json.12.34").write_text("half")  # what a kill may leave
    save = files.save_atomic

    def killed(path, data):
        if path.name == "found.png":
            raise KeyboardInterrupt
        save(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "save_atomic", killed)
        run(*place, "--target", "green", "--budget", 30, "--out", out, code=130)
    assert sorted(p.name for p in out.iterdir()) == ["classes.csv", "curves.csv"]  # no summary: not whole
    (out / "thesis.txt").write_text("mine")
    result = run(*place, "--out", out, code=1)
    assert result.stderr.startswith(f"Error: {out} holds other things, such as thesis.txt.")
    assert (out / "thesis.txt").read_text() == "mine"


def test_the_environments_workspace_is_never_played_in(told):
    assert not (told[1].parent / "theirs").exists()


def error_of(*args, code=1):
    return run(*args, code=code).stderr


@pytest.mark.parametrize(
    ("args", "error", "do"),
    [
        (["--target", "mauve"], "There is no class 'mauve'.", "There are blue, green, red."),
        (["--budget", "lots"], "The budget 'lots' can't be used.", "Give 2x for"),
        (["--budget", "0x"], "The budget '0x' can't be used.", "Give 2x for"),
        (["--budget", "-3"], "The budget '-3' can't be used.", "Give 2x for"),
        (
            ["--budget", "500"],
            "The budget of 500 cards is more than the 180 images there are.",
            "Give a smaller",
        ),
        (
            ["--budget", "90x"],
            "The budget of 4,050 cards is more than the 180 images there are.",
            "Give a smaller",
        ),
        (["--target", "red", "--like", "no.png"], "no.png can't be read: No such file", "Check the name"),
    ],
)
def test_what_can_not_be_played_is_said_in_two_sentences(place, args, error, do):
    said = error_of(*place, *args)
    assert f"Error: {error}" in said
    assert do in said


def test_a_reference_that_is_no_picture_is_refused(place, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    said = error_of(*place, "--target", "red", "--like", tmp_path / "text.png")
    assert "text.png can't be used" in said


def test_options_that_exclude_each_other(place, tmp_path):
    assert "exactly one --target" in error_of(*place, "--like", "a.png", code=2)
    both = ["--target", "red", "--like", "a.png", "--references", 2]
    assert "exclude each other" in error_of(*place, *both, code=2)


def test_folders_that_hold_nothing_to_play(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "load_encoder", lambda ws: MeanColour())
    assert "There is no folder" in error_of("--images", "nowhere")
    flat = paint_classes(tmp_path / "flat", {"": 3})
    assert f"{flat} holds no folder with images in it." in error_of("--images", flat)
    one = paint_classes(tmp_path / "one", {"all": 4})
    assert "nothing to tell it from" in error_of("--images", one)
    lone = paint_classes(tmp_path / "lone", {"many": 6, "single": 1})
    said = error_of("--images", lone, "--target", "single")
    assert "The class 'single' has one image, so nothing is left to be found." in said
    lost = paint_classes(tmp_path / "lost", {"many": 6, "few": 3})
    for path in (lost / "few").iterdir():
        path.write_bytes(b"")
    said = error_of("--images", lost, "--target", "few")
    assert "All images of the class 'few' are set aside: none can be read." in said
    inside = error_of("--images", lost, "--out", lost / "out")
    assert "lies inside the images" in inside
    assert "would lie inside the images" in error_of("--images", lost, "--workspace", lost / "ws")
    assert sorted(p.name for p in lost.iterdir()) == ["few", "many"]


def test_a_class_that_can_not_be_played_is_left_out_aloud_when_no_class_is_named():
    items = {"wren": np.arange(5), "dodo": np.array([5]), "owl": np.arange(6, 9)}
    truth = Truth(items, {i: f"{i}.png" for i in range(9)}, 0, {"moa": 3})
    targets, left_out = trial.choose_targets(truth, [])
    assert targets == ["owl", "wren"]
    assert left_out == [
        {"class": "dodo", "why": "The class 'dodo' has one image, so nothing is left to be found."},
        {"class": "moa", "why": "All images of the class 'moa' are set aside: none can be read."},
    ]
    assert trial.choose_targets(truth, ["wren", "owl", "wren"])[0] == ["wren", "owl"]
    with pytest.raises(BadInput, match="No class can be played"):
        trial.choose_targets(Truth({"dodo": np.array([0])}, {0: "0.png", 1: "1.png"}, 0, {}), [])


def test_a_simulation_is_kept_under_data_by_the_folders_name_and_place(tmp_path):
    a, b = (trial.default_place(tmp_path / x / "birds") for x in "ab")
    assert a != b
    assert a.parent == Path("data", "simulate")
    assert a.name.startswith("birds-")


def test_a_workspace_of_something_else_is_left_alone(kept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = paint_classes(tmp_path / "birds", {"wren": 3, "owl": 3})
    theirs = Workspace.open(tmp_path / "theirs", replace(kept[1].config, images=str(tmp_path / "photos")))
    theirs.close()
    (tmp_path / "photos").mkdir()
    said = error_of("--images", source, "--workspace", tmp_path / "theirs")
    assert "belongs to other images" in said
    assert not (tmp_path / "theirs" / "images").exists()


# killed -------------------------------------------------------------------------------------


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], check=False, capture_output=True, text=True
    )
    return [int(line) for line in found.stdout.split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle_it_leaves_no_results_and_no_processes(kept, tmp_path, how):
    out = tmp_path / "out"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "labeler.cli", "simulate", "--images", kept[0] / "colours"),
            *("--workspace", kept[0] / "ws", "--seeds", "100", "--out", out),
        ],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("playing") and " 0 of " not in line:
            break
    children = children_of(process.pid)
    assert len(children) >= 2, lines
    process.send_signal(how)
    code = process.wait(30)
    assert code == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    until = time.monotonic() + 20
    while any(map(is_running, children)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(is_running, children))
    assert not out.exists()
    if how == signal.SIGINT:
        assert not [p for p in tmp_path.iterdir() if p.name.startswith("labeler-")]
        assert "Stopped. The images stay embedded; the plays begin anew.\n" in process.stderr.read()
    process.stderr.close()
