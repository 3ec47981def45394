"""The page of a training: what its folder tells, whole, half written, damaged, hostile."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from test_pages import HOME, visit
from test_ui import small

from labeler import chart, report, trainings
from labeler.workspace import Workspace

__all__ = ["small"]  # a fixture
HUGE = '{"images": [1e999], "start": [[1]], "now": [[1]], "times": [1, 2], "before": [1, NaN], "after": [1]}'
LINE = {"minutes": 1.0, "loss": 4.0, "feature_std": 0.3, "share": 0.5, "epoch": 2.0}


@pytest.fixture
def folder(small: Workspace, tmp_path: Path) -> Path:
    """Return the folder of a training that is half done, and that the workspace knows."""
    made = tmp_path / "photos <b>-simclr"
    made.mkdir()
    lines = [LINE, LINE | {"minutes": 2.0, "loss": 3.0}]
    (made / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.utime(made / "log.jsonl", (0, 0))
    write(made, "encoder.json", {"kind": "builtin", "method": "sim*clr*", "images": 12})
    write(made, "neighbours.json", {"images": [0, 1], "start": [[1, 2], [0]], "now": [[2, 3], [0]]})
    small.registry.note_training(str(made))
    return made


def write(folder: Path, name: str, what: Any) -> None:
    (folder / name).write_text(json.dumps(what))


def text(test: AppTest) -> str:
    """Return all words and pictures of the page."""
    parts = [*test.caption, *test.markdown, *test.code, *test.error]
    return "\n".join([p.value for p in parts] + [e.proto.body for e in test.get("html")])


def test_without_a_training_there_is_no_way_to_the_page_which_says_how_to_begin(small: Workspace) -> None:
    test = AppTest.from_file(str(HOME), default_timeout=30).run()
    assert "Training" not in [link.proto.label for link in test.get("page_link")]
    test = visit("training")
    assert [t.value for t in test.title] == ["Training"]
    assert "labeler train --images" in text(test)
    assert test.get("page_link")[-1].proto.label == "Training"
    small.registry.note_training("/nowhere")
    assert "Training" in [link.proto.label for link in visit("start").get("page_link")]
    assert "labeler train --images" in text(visit("training"))


def test_it_shows_what_the_folder_tells(small: Workspace, folder: Path) -> None:
    test = visit("training")
    assert [m.value for m in test.metric] == [r"sim\*clr\*", "12", "2", "2.0 times"]
    said = text(test)
    assert "It was stopped. The same command goes on." in said.replace("\\", "")
    assert "From 4 to 3 in 2 minutes." in said
    assert said.count('class="new"') == 1  # 3 is new among what is nearest to the first image
    assert str(folder) in said
    assert "<b>-simclr</b>" not in said
    assert "nobody can say yet" in said


@pytest.mark.parametrize("pays", [True, False])
def test_it_says_whether_it_pays(small: Workspace, folder: Path, pays: bool) -> None:
    after = 0.9 if pays else 0.7
    judged = {"labels": 60, "before": 0.8, "after": after, "measure": "average precision", "pays": pays}
    judged |= {"watched": [0.5, 0.6] if pays else []}
    write(folder, "judged.json", judged)
    write(
        folder,
        "curves.json",
        {"times": [1, 2], "before": [0.5, 0.8], "after": [after - 0.3, after], "plays": 3},
    )
    said = text(visit("training"))
    assert f"average precision is **{after:.3f}**, with the encoder in use **0.800**" in said
    assert ("keep the encoder in use" in said) == (not pays)
    assert ("--encoder" in said) == pays
    assert ("So it does not pay here." in said) == (not pays)


@pytest.mark.parametrize(
    "rubbish", ["", "{", "[1]", '{"images": 3}', "\x00\x01", '{"times": [1], "after": 2}', "[" * 9000, HUGE]
)
def test_damaged_files_are_as_none(small: Workspace, folder: Path, rubbish: str) -> None:
    for name in ("log.jsonl", "encoder.json", "neighbours.json", "judged.json", "curves.json"):
        (folder / name).write_text(rubbish)
    found = trainings.read(folder)
    assert (found.lines, found.near, found.judged, found.curves) == ([], None, None, None)
    assert "nobody can say yet" in text(visit("training"))


def test_a_log_that_grows_is_a_training_that_runs(small: Workspace, folder: Path) -> None:
    with open(folder / "log.jsonl", "a") as f:
        f.write(json.dumps(LINE | {"loss": float("nan")}) + "\n" + '{"minutes": 3, "lo')
    found = trainings.read(folder)
    assert found.running
    assert len(found.lines) == 2
    with open(folder / "log.jsonl", "a") as f:
        f.write("\n" + json.dumps(LINE | {"share": 1.0}) + "\n")
    write(folder, "training.json", {"ending": "collapsed", "note": "All *images* became alike."})
    found = trainings.read(folder)
    assert (len(found.lines), found.running) == (3, False)
    assert r"All \*images\* became alike\." in text(visit("training"))


def test_of_a_long_log_some_lines_are_shown(folder: Path) -> None:
    lines = [json.dumps(LINE | {"minutes": float(i)}) for i in range(5000)]
    (folder / "log.jsonl").write_text("\n".join(lines))
    shown = trainings.read(folder).lines
    assert len(shown) == trainings.MOST_LINES
    assert (shown[0]["minutes"], shown[-1]["minutes"]) == (0, 4999)


def test_names_of_images_are_shown_as_text() -> None:
    near = trainings.Near([0], [[1]], [[2]])
    drawn = report.nearest(near, lambda item: '"><script>alert(1)</script>', '1"&')
    assert "<script" not in drawn
    assert 'v=1"' not in drawn
    assert drawn.count("<img") == 3


@pytest.mark.parametrize("values", [[3, 3, 3], [0, 0], [-1, -0.5], [1e-7, 2e-7], [5, 1000], [0.2, 0.9]])
def test_a_line_of_any_size_stays_in_its_picture(values: list[float]) -> None:
    drawn = chart.line("Loss", "", "minutes", [(float(i), v) for i, v in enumerate(values)])
    tops = [float(part.split("%")[0]) for part in drawn.split("top:")[1:]]
    assert tops
    assert all(-1e-6 <= top <= 100.01 for top in tops)
    assert 1 <= drawn.count('class="y"') <= 6
    assert ">-0<" not in drawn
