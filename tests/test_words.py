"""What is looked for in words: where the first cards come from, what is learned from them, who reads none."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from active.arrays import Rows
from labeler import drawing, encoders, learning, loop, serving, worker
from labeler.cli import cli
from labeler.config import Config
from labeler.errors import BadInput
from labeler.workspace import Workspace
from tests.fakes import MeanColour
from tests.networks import add_tokenizer, save_network
from tests.pools import event

COLOURS = {"red": (1, 0.2, 0.2), "green": (0.2, 1, 0.2), "blue": (0.2, 0.2, 1)}


class Reader(MeanColour):
    """An encoder that knows the names of three colours."""

    reads_text = True

    def read(self, texts) -> Rows:
        rows = np.array([COLOURS[t] for t in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(encoders, "why_no_words", lambda name: None)
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(300):
        colour = np.array([200, 60, 60])[np.array([i % 3, (i + 2) % 3, (i + 1) % 3])] + rng.integers(
            -40, 40, 3
        )
        Image.new("RGB", (16, 16), tuple(map(int, colour))).save(tmp_path / "pictures" / f"{i:03}.png")
    ws = Workspace.open(tmp_path / "ws", Config(images=str(tmp_path / "pictures")))
    yield ws
    ws.close()


def take_in(ws: Workspace, encoder: MeanColour) -> None:
    ws.registry.choose(encoder.key, encoder.dim)
    loop.embed_examples(ws, encoder)
    loop.prepare(ws, report=lambda p: None, load=lambda: encoder, stop=threading.Event())


def test_words_choose_the_first_cards_and_nothing_is_learned_from_them(ws):
    session = loop.start_session(ws, "Is it green?", ["yes", "no"], "find")
    loop.add_words(ws, session, "  green ")
    loop.add_words(ws, session, "green")
    assert [(e.name, e.is_words, e.shown) for e in loop.examples(ws, session)] == [("green", True, "“green”")]
    take_in(ws, Reader())
    first = loop.learn(ws, session)
    picks = ws.store.picks(session.id, first.number)
    near = [p.item for p in picks if p.reason == "find"]
    rows = ws.vectors(Reader.key, 3).rows()
    assert np.mean(rows[near[:40]].argmax(1) == 1) > 0.9
    assert drawing.draw_again(ws, session, first) == picks
    for item in near[:10]:
        loop.record(ws, session, loop.owner(ws), [event(item, "yes" if rows[item].argmax() == 1 else "no")])
    loop.record(ws, session, loop.owner(ws), [event(int(rows[:, 0].argmax()), "no")])
    made = loop.learn(ws, session)
    material = drawing.Material.load(ws.round_file(session.id, made.number))
    rows_then, turn = drawing.space.rows_of(ws, made.encoder, made.basis, made.pool)
    labeled = drawing.labeled_rows(
        ws, session, made, material, ws.journal.answers(session.id), rows_then, turn
    )
    assert len(labeled.x) == len(labeled.items) == 11
    assert len(labeled.words) == len(labeled.outside) == 1
    assert drawing.draw_again(ws, session, made) == ws.store.picks(session.id, made.number)


def test_words_given_while_cards_are_out_bring_a_round(ws):
    take_in(ws, Reader())
    session = loop.start_session(ws, "Is it blue?", ["yes", "no"], "find")
    first = loop.learn(ws, session)
    loop.add_words(ws, session, "blue")
    assert not learning.needs_round(ws, session, now=time.time())
    assert loop.embed_examples(ws, Reader()) == 1
    assert learning.needs_round(ws, session, now=time.time())
    made = loop.learn(ws, session)
    assert made.number == first.number + 1
    near = [p.item for p in ws.store.picks(session.id, made.number) if p.reason == "find"]
    assert np.mean(ws.vectors(Reader.key, 3).rows()[near[:20]].argmax(1) == 2) > 0.9


def test_with_an_encoder_that_reads_none_words_wait_and_pictures_go_on(ws):
    session = loop.start_session(ws, "Is it green?", ["yes", "no"], "find")
    loop.add_words(ws, session, "green")
    take_in(ws, MeanColour())
    assert loop.embed_examples(ws, MeanColour()) == 0
    made = loop.learn(ws, session)
    assert {p.reason for p in ws.store.picks(session.id, made.number)} <= {"spread", "audit"}


@pytest.mark.parametrize("text", ["", "   ", "x" * 201, "a\x1b[31mb"])
def test_what_describes_nothing(ws, text):
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    with pytest.raises(BadInput, match="describes nothing"):
        loop.add_words(ws, session, text)
    assert loop.examples(ws, session) == []


def test_the_built_in_encoder_says_that_it_reads_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "a.png")
    words = ["--no-browser", "--images", "photos", "--question", "Is it?", "--words", "a river"]
    out = CliRunner().invoke(cli, ["start", *words])
    assert out.exit_code == 1
    assert "The encoder builtin knows pictures only. Choose one that reads text too, like CLIP" in out.output


def test_a_real_network_reads_the_words_of_a_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = add_tokenizer(save_network(tmp_path / "clip", "clip"), "CLIPTokenizer")
    (tmp_path / "photos").mkdir()
    for i in range(12):
        Image.new("RGB", (40, 40), (20 * i, 90, 10)).save(tmp_path / "photos" / f"{i}.png")
    monkeypatch.setattr(serving, "load_site", lambda ws: None)
    monkeypatch.setattr(serving, "serve", lambda *args, **more: None)
    words = ["--images", "photos", "--encoder", str(net), "--question", "Is it?", "--words", "a cat"]
    out = CliRunner().invoke(cli, ["start", *words])
    assert out.exit_code == 0, out.output
    out = CliRunner().invoke(cli, ["index", "--images", "photos", "--json"])
    assert out.exit_code == 0, out.output
    key = json.loads(out.stdout)["encoder"]
    ws = Workspace.open(tmp_path / "data" / "photos")
    session = loop.newest_session(ws)
    ((example, vector),) = ws.store.example_vectors(session.id, key)
    assert (example.name, len(vector)) == ("a cat", ws.registry.dim(key))
    assert loop.learn(ws, session).examples == 1
    ws.close()
    assert worker.current() is None
