"""active.embedding.text: words in, rows out that compare with those of images."""

import json
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from active.embedding import Reader, load_encoder, read, reads_text
from active.embedding import text as text_module
from tests.fakes import MeanColour
from tests.networks import add_tokenizer, pictures, plain_text_rows, save_network

TEXTS = ["a cat", "the big dogs", "Sand", "", "x" * 100]


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_network(tmp_path_factory.mktemp("text") / request.param, request.param)
    return add_tokenizer(folder, "SiglipTokenizer" if request.param == "siglip" else "CLIPTokenizer")


def why(folder: Path) -> str:
    encoder = load_encoder(str(folder))
    assert not reads_text(encoder)
    with pytest.raises(ValueError) as e:  # noqa: PT011  # the sentence is what is looked at
        read(encoder, ["a cat"])
    assert len(encoder.encode(pictures(2))) == 2
    return str(e.value)


def test_the_same_rows_as_transformers(folder: Path) -> None:
    encoder = load_encoder(str(folder))
    assert isinstance(encoder, Reader)
    assert encoder.reads_text
    rows = encoder.read(TEXTS)
    assert (rows.shape, rows.dtype) == ((len(TEXTS), encoder.dim), np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows[:4], plain_text_rows(folder, TEXTS[:4]), atol=1e-5)
    assert encoder.encode(pictures(3)).shape == (3, encoder.dim)
    assert encoder.read([]).shape == (0, encoder.dim)


def test_a_row_does_not_depend_on_its_company(folder: Path) -> None:
    encoder = load_encoder(str(folder))
    many = [f"{c} boat" for c in "abcdefghijklmnopqrstuvwxyz"] * 2
    alone = np.concatenate([encoder.read([t]) for t in many])
    np.testing.assert_allclose(encoder.read(many), alone, atol=1e-5)
    np.testing.assert_allclose(encoder.read(["A CAT"]), encoder.read(["a cat"]), atol=1e-6)


def test_the_text_side_waits_for_the_first_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder(str(folder))
    encoder.encode(pictures(2))
    names = {name for name, _ in encoder._quick.model.named_parameters()}
    assert names
    assert not any(name.startswith("text_model") for name in names)
    assert encoder._text._loaded is None
    loaded: list[Path] = []
    real = text_module.load_model
    monkeypatch.setattr(text_module, "load_model", lambda path, side: loaded.append(path) or real(path, side))
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda _: encoder.read(["a cat"]), range(8)))
    assert loaded == [folder]
    assert np.ptp(rows, axis=0).max() < 1e-6
    model = encoder._text._loaded[0]
    assert not any(name.startswith("vision_model") for name, _ in model.named_parameters())


def test_nobody_is_asked_for_anything(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, lambda self, address: asked.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: asked.append(args) or [])
    encoder = load_encoder(str(folder))
    encoder.encode(pictures(2))
    encoder.read(["a cat"])
    assert asked == []


def test_views_pass_words_on(folder: Path) -> None:
    plain, views = load_encoder(str(folder)), load_encoder(str(folder), 4)
    assert reads_text(views)
    np.testing.assert_allclose(read(views, TEXTS), read(plain, TEXTS), atol=1e-6)


def test_a_tokenizer_of_words_and_merges(folder: Path, tmp_path: Path) -> None:
    if "siglip" in folder.name:
        pytest.skip("SigLIP has none")
    copied = shutil.copytree(folder, tmp_path / "net")
    said = json.loads((copied / "tokenizer.json").read_text())["model"]
    (copied / "vocab.json").write_text(json.dumps(said["vocab"]))
    (copied / "merges.txt").write_text("#version: 0.2\n")
    (copied / "tokenizer.json").unlink()
    want = load_encoder(str(folder)).read(["a cat", "sand"])
    np.testing.assert_allclose(load_encoder(str(copied)).read(["a cat", "sand"]), want, atol=1e-5)


# networks that read none -------------------------------------------------------------------


def test_networks_for_images_alone(tmp_path: Path) -> None:
    net = save_network(tmp_path / "vit", "vit")
    end = "Choose one that reads text too, like CLIP or SigLIP."
    assert why(net) == f"The network in {net} knows pictures only. {end}"
    for encoder in (MeanColour(), load_encoder("builtin")):
        assert not reads_text(encoder)
        with pytest.raises(ValueError, match="knows pictures only") as e:
            read(encoder, ["a cat"])
        assert str(e.value) == f"The encoder {encoder.key} knows pictures only. {end}"
    views = load_encoder("builtin", 4)
    assert not reads_text(views)
    with pytest.raises(ValueError, match="knows pictures only"):
        read(views, ["a cat"])


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    net = save_network(tmp_path / "clip", "clip")
    assert why(net) == (
        f"{net} holds no tokenizer. Copy tokenizer.json and tokenizer_config.json of the network there."
    )


def test_a_tokenizer_that_needs_another_package(tmp_path: Path) -> None:
    if find_spec("sentencepiece"):
        pytest.skip("sentencepiece is installed here; this test is of what is said without it")
    net = save_network(tmp_path / "siglip", "siglip")
    (net / "spiece.model").write_bytes(b"x")
    assert why(net) == (
        f"The tokenizer in {net} needs sentencepiece. Install that, or copy a tokenizer.json there."
    )


def test_a_damaged_tokenizer(folder: Path, tmp_path: Path) -> None:
    net = shutil.copytree(folder, tmp_path / "net")
    (net / "tokenizer.json").write_text("{")
    encoder = load_encoder(str(net))
    with pytest.raises(ValueError, match="transformers can't load .*net"):
        read(encoder, ["a cat"])
    assert len(encoder.encode(pictures(2))) == 2


def test_a_tokenizer_of_another_network(folder: Path, tmp_path: Path) -> None:
    net = shutil.copytree(folder, tmp_path / "net")
    said = json.loads((net / "tokenizer.json").read_text())
    said["model"]["vocab"] = {piece: at + 1000 for piece, at in said["model"]["vocab"].items()}
    for token in said["added_tokens"]:
        token["id"] += 1000
    (net / "tokenizer.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match="makes no vectors of text"):
        read(load_encoder(str(net)), ["a cat"])


def test_code_of_a_tokenizer_never_runs(folder: Path, tmp_path: Path) -> None:
    net = shutil.copytree(folder, tmp_path / "net")
    config = json.loads((net / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["code.Own", "code.Own"]}}
    (net / "tokenizer_config.json").write_text(json.dumps(config))
    (net / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    rows = read(load_encoder(str(net)), ["a cat"])
    np.testing.assert_allclose(rows, read(load_encoder(str(folder)), ["a cat"]), atol=1e-5)
    assert not (tmp_path / "ran").exists()
