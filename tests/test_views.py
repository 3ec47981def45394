"""Several views of each image: what is averaged, and what is learned of how rows move."""

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from active.arrays import unit_rows
from active.embedding import load_encoder, views
from active.embedding.views import KEEP_SHAPE, TURNS, Views, turned
from active.representative import fit_pca
from labeler import ingest, space
from labeler.config import Config
from labeler.errors import BadInput
from labeler.workspace import Workspace


class Corners:
    """An encoder that sees where things are: the mean of each quarter of each channel, bytes or numbers."""

    key, dim, size_px = "corners-12", 12, 16

    def __init__(self, *, as_numbers=False):
        self.as_numbers = as_numbers

    def prepare(self, image):
        pixels = np.asarray(image)
        return pixels.transpose(2, 0, 1).astype(np.float32) if self.as_numbers else pixels

    def forward(self, prepared):
        rows = []
        for p in prepared:
            x = np.asarray(p, np.float32) if p.dtype == np.uint8 else p.transpose(1, 2, 0)
            h, w = x.shape[0] // 2, x.shape[1] // 2
            quarters = [x[:h, :w], x[:h, -w:], x[-h:, :w], x[-h:, -w:]]
            rows.append(np.concatenate([q.mean((0, 1)) for q in quarters]) + 1)
        return unit_rows(np.array(rows, np.float32).reshape(-1, 12))

    def encode(self, images):
        return self.forward([self.prepare(i) for i in images])


def picture(seed, size=(16, 16)):
    rng = np.random.default_rng(seed)
    # uneven, so that every turn looks different
    ramp = np.linspace(0, 1, size[0] * size[1]).reshape(size[1], size[0], 1)
    return Image.fromarray((rng.random((size[1], size[0], 3)) * ramp * 255).astype(np.uint8))


@pytest.mark.parametrize("as_numbers", [False, True])
@pytest.mark.parametrize("n", [4, 8])
def test_a_row_is_the_mean_of_what_each_view_gives(n, as_numbers):
    encoder = Corners(as_numbers=as_numbers)
    images = [picture(i) for i in range(3)]
    rows = Views(encoder, n).encode(images)
    for image, row in zip(images, rows, strict=True):
        seen = []
        for quarters, mirrored in TURNS[n]:
            view = image.rotate(90 * quarters)
            seen.append(view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else view)
        want = encoder.encode(seen).mean(0)
        np.testing.assert_allclose(row, want / np.linalg.norm(want), atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), turn=st.sampled_from(TURNS[8]))
def test_eight_views_of_a_turned_picture_are_the_same_eight(seed, turn):
    encoder = Views(Corners(), 8)
    plain = encoder.prepare(picture(seed))
    np.testing.assert_allclose(encoder.forward([plain]), encoder.forward([turned(plain, turn)]), atol=1e-6)


def test_a_picture_that_is_not_square_keeps_its_shape():
    encoder = Corners()
    shapes = []
    forward = encoder.forward
    encoder.forward = lambda prepared: (shapes.extend(p.shape for p in prepared), forward(prepared))[1]
    rows = Views(encoder, 8).encode([picture(1, size=(10, 6)), picture(2)])
    assert shapes == [(6, 10, 3)] * len(KEEP_SHAPE) + [(16, 16, 3)] * 8
    assert rows.shape == (2, 12)


def test_nothing_gives_nothing_and_other_numbers_of_views_are_refused():
    assert Views(Corners(), 4).forward([]).shape == (0, 12)
    with pytest.raises(ValueError, match="give 4 or 8"):
        Views(Corners(), 3)
    with pytest.raises(BadInput, match="Give 1, 4 or 8"):
        Config(views=2)


def test_the_real_encoder_is_wrapped_and_named_apart():
    plain, four = load_encoder("builtin"), load_encoder("builtin", 4)
    assert (four.key, four.dim) == (f"{plain.key}-v4", plain.dim)
    image = picture(5, size=(64, 64))
    want = plain.encode([Image.fromarray(turned(np.asarray(image), t)) for t in TURNS[4]]).mean(0)
    cos = four.encode([image])[0] @ want / np.linalg.norm(want)
    assert cos > 0.9999  # not quite: it is turned after it was made smaller


def test_the_scatter_is_how_rows_move_and_needs_enough_pictures(monkeypatch):
    monkeypatch.setattr(views, "SCATTER_IMAGES", 20)
    encoder = Views(Corners(), 4)
    images = [picture(i) for i in range(30)]
    encoder.encode(images[:9])
    assert encoder.scatter() is None
    threads = [threading.Thread(target=encoder.encode, args=([i],)) for i in images[9:20]]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    encoder.encode(images[20:])  # no longer counted
    want = np.zeros((12, 12))
    for image in images[:20]:
        rows = Corners().forward([turned(np.asarray(image), t) for t in TURNS[4]])
        want += np.cov(rows.T, bias=True) / 20
    np.testing.assert_allclose(encoder.scatter(), want, atol=1e-6)


def test_directions_in_which_a_turned_picture_moves_count_for_less():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 6)).astype(np.float32) * [3, 3, 1, 1, 1, 1]
    noise = np.diag([9, 9, 0, 0, 0, 0]).astype(np.float32)
    plain = fit_pca(rows, 2, rng)
    levelled = fit_pca(rows, 2, rng, scatter=noise)
    assert np.linalg.norm(plain.components[:2]) > 1.3
    assert np.abs(levelled.components[:2]).max() < 0.1 * np.abs(levelled.components[2:]).max()


def test_the_levelled_space_is_what_the_slow_way_gives():
    rng = np.random.default_rng(1)
    rows = unit_rows(rng.normal(size=(300, 8)).astype(np.float32))
    root = rng.normal(size=(8, 8))
    scatter = (root @ root.T / 100).astype(np.float32)
    made = fit_pca(rows, 8, rng, scatter=scatter)
    level = np.linalg.inv(scatter + 0.1 * np.trace(scatter) / 8 * np.eye(8))  # cosines in the scaled space
    centred = rows - rows.mean(0)
    inner = centred @ level @ centred.T
    size = np.sqrt(np.diag(inner))
    got = made.apply(rows)
    np.testing.assert_allclose(got @ got.T, inner / np.outer(size, size), atol=1e-4)


@pytest.mark.parametrize("scatter", [np.zeros((8, 8)), np.eye(8)])
def test_a_scatter_that_is_the_same_everywhere_changes_nothing(scatter):
    rows = unit_rows(np.random.default_rng(2).normal(size=(100, 8)).astype(np.float32))
    plain = fit_pca(rows, 3, np.random.default_rng(0)).apply(rows)
    level = fit_pca(rows, 3, np.random.default_rng(0), scatter=scatter.astype(np.float32)).apply(rows)
    np.testing.assert_allclose(np.abs(plain), np.abs(level), atol=1e-4)


@pytest.fixture
def few(monkeypatch):
    """What needs thousands of images in earnest needs 40 here."""
    for module in (ingest, space):
        monkeypatch.setattr(module, "SCATTER_FROM", 40)
    monkeypatch.setattr(views, "SCATTER_IMAGES", 40)


def take_in(ws: Workspace, encoder, n, *, start=0):
    folder = Path(ws.config.images)
    folder.mkdir(exist_ok=True)
    for i in range(start, start + n):
        picture(i).save(folder / f"{i}.png")
    ingest.run(ws, load=lambda: encoder, report=lambda p: None, stop=threading.Event())


def test_the_scatter_is_written_once_before_so_many_rows_are_there(tmp_path, few):
    ws = Workspace.open(tmp_path / "ws", Config(images=str(tmp_path / "images")))
    encoder = Views(Corners(), 4)
    path = ws.scatter_file(encoder.key)
    take_in(ws, encoder, 30)
    assert not path.exists()
    take_in(ws, encoder, 30, start=30)
    kept = np.load(path)
    assert kept.shape == (12, 12)
    take_in(ws, Views(Corners(), 4), 30, start=60)
    np.testing.assert_array_equal(np.load(path), kept)
    assert space._scatter(ws, encoder.key, 20) is None
    np.testing.assert_array_equal(space._scatter(ws, encoder.key, 40), kept)
    ws.close()


def test_without_enough_pictures_seen_the_space_stays_plain_for_good(tmp_path, few):
    """As after a restart just before: what a round saw must be the same ever after."""
    ws = Workspace.open(tmp_path / "ws", Config(images=str(tmp_path / "images")))
    take_in(ws, Views(Corners(), 4), 35)
    take_in(ws, Views(Corners(), 4), 10, start=35)
    path = ws.scatter_file(Views(Corners(), 4).key)
    assert np.load(path).shape == (0, 0)
    assert space._scatter(ws, Views(Corners(), 4).key, 40) is None
    take_in(ws, Views(Corners(), 4), 30, start=45)
    assert np.load(path).shape == (0, 0)
    ws.close()


def test_an_encoder_of_one_view_leaves_no_file(tmp_path, few):
    ws = Workspace.open(tmp_path / "ws", Config(images=str(tmp_path / "images")))
    take_in(ws, Corners(), 45)
    assert ws.registry.embedded(Corners.key) == 45
    assert list((ws.folder / "vectors").glob("*.npy")) == []
    ws.close()
