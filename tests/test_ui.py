"""The helpers of the pages, over a small workspace that needs no encoder."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from labeler import grids, images, loop, ui, workspace
from labeler.catalog import Aside, Decoded, SeenFile
from labeler.config import Config
from labeler.domain import UNSURE, Progress, Session
from labeler.errors import BadInput
from labeler.workspace import Workspace

NASTY = "[x](http:evil.example)<b>*y*:red[z].png"  # a file name that Markdown or HTML would change


def draw(folder: Path, n: int = 40) -> list[Path]:
    """Draw n small pictures, green ones and blue ones in turn, and one copy of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = []
    for i in range(n):
        base = (30, 80, 160) if i % 2 else (40, 150, 60)
        pixels = np.clip(np.array(base) + rng.normal(0, 12, (48, 64, 3)), 0, 255).astype(np.uint8)
        paths.append(folder / (NASTY if i == 3 else f"picture {i:03}.png"))
        Image.fromarray(pixels).save(paths[-1])
    (folder / "copy.png").write_bytes(paths[0].read_bytes())
    (folder / "broken.png").write_bytes(b"")
    return [*paths, folder / "copy.png"]


def take_in(ws: Workspace, paths: Sequence[Path]) -> None:
    """Put pictures and their mean colours into the catalog, as taking them in would."""
    catalog = ws.catalog
    seen = [SeenFile(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    catalog.note_files(catalog.begin_scan(), [*seen, SeenFile("broken.png", 0, 0)])
    rows: dict[int, np.ndarray] = {}
    for f in catalog.new_files(10_000):
        path = ws.images / f.path
        if f.path == "broken.png":
            catalog.add_decoded([Aside(f.id, "It is empty.")])
            continue
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((4, 4)), np.float32).reshape(-1) - 100
            size = image.size
        done = catalog.add_decoded([Decoded(f.id, images.content_hash(path.read_bytes()), *size)])
        rows[done[f.id]] = pixels / np.linalg.norm(pixels)
    ws.registry.use("mean-4", 48)
    ws.vectors("mean-4", 48).append(np.array([rows[i] for i in sorted(rows)], np.float32))
    ws.registry.set_embedded("mean-4", 48, len(rows))


def make_small(root: Path, n: int = 40) -> Workspace:
    """Return a workspace of n pictures, one of them twice, and one that can't be read."""
    paths = draw(root / "pictures", n)
    ws = Workspace.open(root / "ws", Config(images=str(root / "pictures"), batch_size=10))
    take_in(ws, paths)
    return ws


def is_green(ws: Workspace, item: int) -> bool:
    """Return the truth about a picture of make_small."""
    path = loop.get_item(ws, item).path
    return path == "copy.png" or (path != NASTY and int(path.split()[1][:3]) % 2 == 0)


def answer(ws: Workspace, session: Session, n: int = 12) -> None:
    """Answer n items by their colour and learn from them."""
    for i in range(n):
        loop.correct(ws, session, loop.owner(ws), i, session.labels[0 if is_green(ws, i) else 1])
    loop.learn(ws, session)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Return make_small as the current workspace of this process."""
    ws = make_small(tmp_path)
    monkeypatch.setenv(workspace.ENV, str(ws.folder))
    workspace._opened.cache_clear()
    return ws


def test_current_is_the_newest_session_until_another_is_chosen(small: Workspace) -> None:
    def script() -> None:
        import streamlit as st

        from labeler import ui

        st.text(ui.current()[1].question)

    old = loop.start_session(small, "Is it green?")
    loop.start_session(small, "Is it blue?")
    at = AppTest.from_function(script).run()
    assert at.text[0].value == "Is it blue?"
    at.session_state["session"] = old.id
    assert at.run().text[0].value == "Is it green?"


def test_an_error_is_shown_with_both_sentences_and_a_bug_stays_a_bug() -> None:
    def script() -> None:
        import streamlit as st

        from labeler import ui
        from labeler.errors import BadInput

        with ui.errors():
            raise BadInput("The value is *3*.", "Give [4](x).")
        if st.button("bug"):
            with ui.errors():
                raise ZeroDivisionError("a bug")

    at = AppTest.from_function(script).run()
    assert at.error[0].value == "**The value is \\*3\\*\\.**  \nGive \\[4\\]\\(x\\)\\."
    assert not at.exception
    assert len(at.button[0].click().run().exception) == 1
    assert len(at.error) == 1


def test_what_was_said_is_shown_once() -> None:
    def script() -> None:
        import streamlit as st

        from labeler import ui
        from labeler.errors import BadInput

        ui.said()
        if st.button("go"):
            ui.say("Done.")
            ui.say(BadInput("No.", "Yes."))
            st.rerun()

    at = AppTest.from_function(script).run().button[0].click().run()
    assert [t.value for t in at.toast] == ["Done\\."]
    assert len(at.error) == 1
    assert not at.run().error


def test_plain_leaves_nothing_for_markdown_to_read() -> None:
    shown = ui.plain(NASTY + "\n# $x$ `y` &amp;")
    assert re.sub(r"\\(.)", "", shown).isprintable()
    assert not re.search(r"[*_`\[\]<>#$&:]", re.sub(r"\\.", "", shown))
    assert "\n" not in shown
    assert re.sub(r"\\(.)", r"\1", shown) == NASTY + " # $x$ `y` &amp;"


def test_an_answer_is_told_by_word_and_icon_not_by_colour_alone(small: Workspace) -> None:
    two = loop.start_session(small, "Is it green?")
    assert [grids.look(two, a) for a in ("yes", "no", UNSURE)] == [
        ("yes", "k0", "✓"),
        ("no", "k1", "✕"),
        ("can't tell", "unsure", "?"),
    ]
    four = loop.start_session(small, "Which?", ["red", "green", "blue", "grey"])
    assert [grids.look(four, a)[2] for a in four.labels] == ["1", "2", "3", "4"]
    assert [a.act for a in grids.answers(four)] == [f"answer:{a}" for a in (*four.labels, UNSURE)]


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress("scanning", 1200, None), "Looking through the folder: 1,200"),
        (Progress("loading", 0, 40), "Loading the encoder: 0 of 40"),
        (Progress("embedding", 4, 9000, 61.4, 146), "Taking in: 4 of 9,000, 61 a second, 2 min left"),
        (Progress("embedding", 40, 90, 61.4, 1), "Taking in: 40 of 90, 61 a second"),
    ],
)
def test_pace(progress: Progress, text: str) -> None:
    assert ui._pace(progress) == text


def test_a_click_on_the_grid_runs_its_action_and_its_error_is_shown(small: Workspace) -> None:
    loop.start_session(small, "Is it green?")
    seen: list[tuple[str, list[int]]] = []

    def on_act(name: str, items: list[int]) -> None:
        seen.append((name, items))
        if name == "bad":
            raise BadInput("No.", "Yes.")

    state: dict[str, object] = {"g": {"act": {"act": "yes", "items": [3, 4]}}}
    grids.acted("g", on_act, state)
    state["g"] = {"act": {"act": "bad", "items": [1]}}
    grids.acted("g", on_act, state)
    state["g"] = {"act": None}
    grids.acted("g", on_act, state)
    assert seen == [("yes", [3, 4]), ("bad", [1])]
    assert [str(note) for note in state["said"]] == ["No. Yes."]


def test_the_components_are_the_files_that_the_light_page_loads() -> None:
    for name in ("deck", "grid"):
        for kind in ("js", "css"):
            assert re.fullmatch(rf"/deck/{name}\.{kind}\?v=[0-9a-f]{{12}}", grids.asset(f"{name}.{kind}"))
