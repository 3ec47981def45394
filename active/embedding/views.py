"""Several views of each image, for images that have no up: satellite tiles, Mars, microscopes."""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from active.arrays import Rows, unit_rows
from active.embedding.encoder import Encoder, Prepared, read, reads_text

Turn = tuple[int, bool]
"""Quarter turns to the left, then whether left and right change places."""
TURNS: dict[int, tuple[Turn, ...]] = {
    4: ((0, False), (1, False), (2, False), (3, True)),
    8: tuple((quarters, mirrored) for mirrored in (False, True) for quarters in range(4)),
}
KEEP_SHAPE: tuple[Turn, ...] = ((0, False), (2, False), (0, True), (2, True))
"""What can be done to a picture that is not square without changing its shape."""
SCATTER_IMAGES = 2000
"""The scatter is measured on the first so many images."""


class Views:
    """An encoder that looks at each picture turned and mirrored, and gives the mean of what it saw.

    How rows move when only the picture is turned says which directions mean nothing: `scatter`.
    """

    def __init__(self, encoder: Encoder, n: int) -> None:
        """n  4 or 8 views. A picture that is not square gets the four that keep its shape."""
        if n not in TURNS:
            raise ValueError(f"{n} views are not known; give 4 or 8.")
        self._encoder, self._turns = encoder, TURNS[n]
        self.key, self.dim, self.size_px = f"{encoder.key}-v{n}", encoder.dim, encoder.size_px
        self.uses_cores = getattr(encoder, "uses_cores", True)
        self._lock = threading.Lock()
        self._sum = np.zeros((self.dim, self.dim))
        self._seen = 0

    def prepare(self, image: Image) -> Prepared:
        """Return what the encoder needs of an upright RGB image."""
        return self._encoder.prepare(image)

    def forward(self, prepared: Sequence[Prepared]) -> Rows:
        """Return the unit mean of the unit rows of all views, one per prepared image."""
        if len(prepared) == 0:
            return np.empty((0, self.dim), np.float32)
        views = [turned(p, turn) for p in prepared for turn in self._turns_of(p)]
        counts = np.array([len(self._turns_of(p)) for p in prepared])
        rows = self._encoder.forward(views)
        starts = np.cumsum(counts) - counts
        means = np.add.reduceat(rows, starts, axis=0) / counts[:, None]
        self._measure(rows - np.repeat(means, counts, axis=0), images=len(prepared))
        return unit_rows(means)

    def encode(self, images: Sequence[Image]) -> Rows:
        """Return forward() of each image prepared."""
        return self.forward([self.prepare(image) for image in images])

    @property
    def reads_text(self) -> bool:
        """Whether the encoder reads text."""
        return reads_text(self._encoder)

    def read(self, texts: Sequence[str]) -> Rows:
        """Return the encoder's rows of texts: words have no views. Raises ValueError when it reads none."""
        return read(self._encoder, texts)

    def scatter(self) -> NDArray[np.float32] | None:
        """Return the mean covariance of a view's row around its picture's mean, (dim, dim).

        Of the first 2,000 pictures seen; None before half of them.
        """
        with self._lock:
            if self._seen < SCATTER_IMAGES // 2:
                return None
            return np.asarray(self._sum / self._seen, np.float32)

    def _turns_of(self, picture: Prepared) -> tuple[Turn, ...]:
        height, width = _sides(picture)
        return self._turns if height == width else KEEP_SHAPE

    def _measure(self, off: Rows, *, images: int) -> None:
        with self._lock:
            if self._seen < SCATTER_IMAGES:
                self._sum += (off.T @ off) * (images / len(off))
                self._seen += images


def turned(picture: Prepared, turn: Turn) -> Prepared:
    """Return a prepared picture, (h, w, channels) or (channels, h, w), turned and mirrored."""
    up = _first_side(picture)
    quarters, mirrored = turn
    out = np.rot90(picture, quarters, axes=(up, up + 1))
    return np.ascontiguousarray(np.flip(out, up + 1) if mirrored else out)


def _first_side(picture: Prepared) -> int:
    """Return the axis of the height: bytes are prepared with the channels last, numbers with them first."""
    return 0 if picture.dtype == np.uint8 else 1


def _sides(picture: Prepared) -> tuple[int, int]:
    up = _first_side(picture)
    return picture.shape[up], picture.shape[up + 1]
