"""The command `labeler search`, and what it and the routes share."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from labeler import coding, encoders, images, loop, searching
from labeler.cli import cli
from labeler.config import Config
from labeler.errors import BadInput, NotReady
from labeler.workspace import Workspace
from tests.fakes import MeanColour

COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}


class Reader(MeanColour):
    """An encoder that knows the names of three colours."""

    reads_text = True

    def read(self, texts: list[str]) -> np.ndarray:
        rows = np.array([COLOURS[t] for t in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def png(colour: tuple[int, int, int], side: int = 20) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(out, "PNG")
    return out.getvalue()


def paint(folder: Path) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name, colour in COLOURS.items():
        for i in range(20):
            near = np.clip(np.array(colour) + rng.integers(-25, 25, 3), 0, 255)
            (folder / f"{name} {i:02}.png").write_bytes(png(tuple(map(int, near))))


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    paint(tmp_path / "pictures")
    ws = Workspace.open(tmp_path / "ws", Config(images=str(tmp_path / "pictures")))
    monkeypatch.setattr(loop, "load_encoder", lambda ws: MeanColour())
    ws.registry.use(MeanColour.key, MeanColour.dim)
    loop.prepare(ws, report=lambda p: None)
    monkeypatch.setattr(encoders, "load", lambda name, config: MeanColour())
    monkeypatch.setenv("LABELER_WORKSPACE", str(ws.folder))
    yield ws
    ws.close()


def search(*args: object) -> Result:
    return CliRunner().invoke(cli, ["search", *map(str, args)])


def names(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [Path(one["path"]).name for one in json.loads(result.output)["results"]]


def picture(ws: Workspace, name: str) -> Path:
    return ws.images / name


def test_all_are_compared_where_one_asks_for_it(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    red = picture(ws, "red 03.png")
    assert search("--like", red, "--exact").output == search("--like", red).output
    monkeypatch.setattr(coding, "SLOW_ROWS", 59)
    assert "60 images are too many to compare all of them." in search("--like", red, "--exact").output
    assert search("--like", red).exit_code == 0


def test_it_prints_the_most_alike_first_with_cosines_and_paths(ws: Workspace) -> None:
    out = search("--like", picture(ws, "red 03.png"), "-k", 5)
    lines = out.output.splitlines()
    assert out.exit_code == 0
    assert lines[0] == f"1.000  {picture(ws, 'red 03.png')}"
    assert len(lines) == 5
    assert all("red" in line for line in lines)
    cos = [float(line.split()[0]) for line in lines]
    assert cos == sorted(cos, reverse=True)


def test_as_json_it_is_one_object(ws: Workspace) -> None:
    out = search("--like", picture(ws, "red 03.png"), "-k", 2, "--json")
    found = json.loads(out.output)
    assert found["workspace"] == str(ws.folder)
    first = found["results"][0]
    assert first.keys() == {"item", "cos", "path"}
    assert loop.get_item(ws, first["item"]).path == "red 03.png"
    assert first["cos"] == pytest.approx(1, abs=1e-5)


def test_a_picture_of_the_pool_needs_no_encoder(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "load", lambda name, config: pytest.fail("loaded"))
    copy = ws.folder / "copy of it.png"
    copy.write_bytes(picture(ws, "red 03.png").read_bytes())
    assert names(search("--like", copy, "-k", 1, "--json")) == ["red 03.png"]


def test_a_picture_from_elsewhere_is_embedded(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "sea.png").write_bytes(png((50, 70, 220)))
    assert all("blue" in n for n in names(search("--like", tmp_path / "sea.png", "-k", 20, "--json")))


@pytest.mark.parametrize("repeat", [True, False])
def test_several_pictures_may_follow_one_option(ws: Workspace, repeat: bool) -> None:
    both = [picture(ws, "red 01.png"), picture(ws, "green 01.png")]
    more = [part for one in both for part in ("--like", one)] if repeat else ["--like", *both]
    found = names(search(*more, "-k", 40, "--json"))
    assert not any("blue" in n for n in found)
    assert found == names(search("-k", 40, "--json", *more))
    assert found == names(search(f"--like={both[0]}", both[1], "-k", 40, "--json"))


def test_unlike_pushes_away(ws: Workspace) -> None:
    like = [picture(ws, "red 01.png"), picture(ws, "green 01.png")]
    found = names(search("--like", *like, "--unlike", picture(ws, "red 02.png"), "-k", 20, "--json"))
    assert all("green" in n for n in found)


def test_words_where_the_encoder_reads_them(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    out = search("--words", "green", "-k", 3)
    assert out.exit_code == 1
    assert "knows pictures only" in out.output
    monkeypatch.setattr(encoders, "load", lambda name, config: Reader())
    assert all("green" in n for n in names(search("--words", " green ", "-k", 20, "--json")))
    for text in (" ", "x" * 300, "a\x07b"):
        assert search("--words", text).exit_code == 1


def test_more_than_there_are(ws: Workspace) -> None:
    assert len(names(search("--like", picture(ws, "red 01.png"), "-k", 10_000, "--json"))) == 60


def test_many_that_are_gone_are_left_out(ws: Workspace) -> None:
    for path in sorted(ws.images.glob("*.png"))[:45]:
        path.unlink()
    loop.prepare(ws, report=lambda p: None)
    left = sorted(p.name for p in ws.images.glob("*.png"))
    assert sorted(names(search("--like", picture(ws, left[0]), "-k", 15, "--json"))) == left
    assert names(search("--like", picture(ws, left[0]), "-k", 1, "--json")) == [left[0]]


def test_what_is_gone_is_left_out(ws: Workspace) -> None:
    picture(ws, "red 04.png").unlink()
    loop.prepare(ws, report=lambda p: None)
    found = names(search("--like", picture(ws, "red 03.png"), "-k", 60, "--json"))
    assert len(found) == 59
    assert "red 04.png" not in found


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ([], 2, "Give a picture with --like, or --words."),
        (["--unlike", "{red}"], 2, "Give a picture with --like, or --words."),
        (["--like"], 2, "requires an argument"),
        (["--like", "nowhere.png"], 1, "nowhere.png can't be read"),
        (["--like", "{red}", "--unlike", "nowhere.png"], 1, "Check the name given to --unlike."),
        (["--like", "{folder}"], 1, "This is a folder"),
        (["--like", "{text}"], 1, "no image that can be read"),
        (["--like", "{empty}"], 1, "empty"),
        (["--like", "{huge}"], 1, "no image that can be read"),
        (["--like", "{red}", "-k", "0"], 2, "0 is not in the range"),
        (["--like", "{red}", "-k", "many"], 2, "is not a valid integer"),
    ],
)
def test_what_can_be_typed_wrong(
    ws: Workspace, tmp_path: Path, args: list[str], code: int, said: str
) -> None:
    (tmp_path / "text.png").write_text("no picture at all")
    (tmp_path / "empty.png").write_bytes(b"")
    with open(tmp_path / "huge.png", "wb") as f:
        f.truncate(50 * 2**20)
    where = {"red": picture(ws, "red 01.png"), "folder": ws.images, "text": tmp_path / "text.png"}
    where |= {"empty": tmp_path / "empty.png", "huge": tmp_path / "huge.png"}
    out = search(*[arg.format(**where) for arg in args])
    assert out.exit_code == code, out.output
    assert said in out.output
    assert "Traceback" not in out.output


def test_before_anything_is_embedded_it_says_so(tmp_path: Path) -> None:
    paint(tmp_path / "pictures")
    ws = Workspace.open(tmp_path / "ws", Config(images=str(tmp_path / "pictures")))
    out = search("--like", tmp_path / "pictures" / "red 01.png", "--workspace", ws.folder)
    assert out.exit_code == 1
    assert "Nothing is embedded yet." in out.output
    ws.close()


def test_while_the_encoder_is_changed_pictures_of_the_pool_are_found_still(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(MeanColour):
        key = "other"

    monkeypatch.setattr(encoders, "load", lambda name, config: Other())
    (tmp_path / "sea.png").write_bytes(png((50, 70, 220)))
    out = search("--like", tmp_path / "sea.png")
    assert out.exit_code == 1
    assert "is being changed" in out.output
    assert search("--like", picture(ws, "red 01.png")).exit_code == 0


def test_vectors_that_make_no_sense_are_refused(ws: Workspace) -> None:
    row = searching.item_rows(ws, [3])
    for wrong in (row[:, :2], row * np.float32("nan"), row * np.float32("inf")):
        with pytest.raises(BadInput):
            searching.neighbours(ws, wrong)
    with pytest.raises(BadInput, match="differ in length"):
        searching.stacked([row, row[:, :2]])


def test_a_known_row_is_that_of_the_item(ws: Workspace) -> None:
    data = picture(ws, "green 07.png").read_bytes()
    item = ws.catalog.item_by_hash(images.content_hash(data))
    assert item is not None
    known = searching.known_row(ws, data)
    assert known is not None
    np.testing.assert_array_equal(known, searching.item_rows(ws, [item]))
    assert searching.known_row(ws, png((1, 2, 3))) is None
    ws.registry.set_embedded(MeanColour.key, MeanColour.dim, item)
    assert searching.known_row(ws, data) is None
    with pytest.raises(NotReady):
        searching.item_rows(ws, [item])
