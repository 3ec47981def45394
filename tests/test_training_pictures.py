"""active.embedding.training.pictures: what is kept, and which rows come in which step."""

import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active.embedding.training.pictures import Batches, pack


def images(n: int) -> list[tuple[int, Image.Image]]:
    rng = np.random.default_rng(0)
    return [(7 * i, Image.fromarray(rng.integers(0, 256, (9, 5 + i, 3), np.uint8))) for i in range(n)]


def test_pictures_are_kept_squeezed_with_their_ids(tmp_path: Path) -> None:
    pictures = pack(images(6), tmp_path, side_px=20, key="a")
    assert (len(pictures), pictures.side_px) == (6, 23)
    assert pictures.ids.tolist() == [0, 7, 14, 21, 28, 35]
    got = pictures.take(np.array([4, 1]))
    for row, i in enumerate((4, 1)):
        want = images(6)[i][1].resize((23, 23), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(got[row], np.asarray(want).transpose(2, 0, 1))
    assert got.flags.writeable
    assert pictures.spaced(3).tolist() == [0, 2, 5]
    assert pictures.spaced(50).tolist() == list(range(6))


def test_they_are_decoded_once(tmp_path: Path) -> None:
    pack(images(4), tmp_path, side_px=20, key="a")
    never = iter(lambda: 1 / 0, 0)
    assert len(pack(never, tmp_path, side_px=20, key="a")) == 4  # type: ignore[arg-type]
    assert len(pack(images(3), tmp_path, side_px=20, key="b")) == 3
    assert pack(images(3), tmp_path, side_px=40, key="b").side_px == 46


@pytest.mark.parametrize("mode", ["L", "1", "I;16", "RGBA", "P"])
def test_any_kind_of_image(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    image = grey.convert("I").convert("I;16") if mode == "I;16" else grey.convert(mode)
    got = pack([(0, image)], tmp_path, side_px=10).take(np.array([0]))[0]
    assert (got[0] == got[1]).all()
    assert (got[0] == got[2]).all()


def test_what_was_begun_and_not_ended_is_written_anew(tmp_path: Path) -> None:
    def broken():
        yield from images(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(broken(), tmp_path, side_px=20)
    assert len(pack(images(5), tmp_path, side_px=20)) == 5


def test_no_images_and_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no images to learn from"):
        pack([], tmp_path / "none", side_px=20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(ValueError, match="The disk is full"):
            pack(images(60), tmp_path / "full", side_px=20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "full").exists()


@pytest.mark.parametrize(
    ("n", "batch", "processes"), [(50, 8, 1), (50, 8, 3), (7, 64, 1), (9, 4, 2), (16, 8, 2)]
)
def test_an_epoch_shows_everything_once(n: int, batch: int, processes: int) -> None:
    batches = Batches(n, batch=batch, processes=processes, seed=3)
    epochs = []
    for epoch in range(3):
        steps = range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)
        rows = np.concatenate([batches.rows(s, p) for s in steps for p in range(processes)])
        assert len(rows) == batches.per_epoch * batches.batch * processes
        assert len(set(rows.tolist())) == len(rows) > n - batches.batch * processes
        epochs.append(rows.tolist())
    assert epochs[0] != epochs[1]
    again = Batches(n, batch=batch, processes=processes, seed=3)
    assert again.rows(2 * batches.per_epoch, 0).tolist() == epochs[2][: batches.batch]


def test_few_pictures() -> None:
    assert Batches(5, batch=64, processes=2, seed=0).batch == 2
    with pytest.raises(ValueError, match="There are 3 images"):
        Batches(3, batch=64, processes=2, seed=0)
