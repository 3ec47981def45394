"""The one thing tests fake: the encoder."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from active.arrays import Rows


class MeanColour:
    """An encoder a person can predict: the unit vector of the mean red, green, blue."""

    key, dim, size_px = "mean-colour-3", 3, 32

    def prepare(self, image: Image) -> NDArray[np.float32]:
        """Return the mean red, green and blue of an RGB image, each one more than it is."""
        return np.asarray(image, np.float32).reshape(-1, 3).mean(0) + 1

    def forward(self, prepared: Sequence[NDArray[np.float32]]) -> Rows:
        """Return one unit row per prepared image."""
        rows = np.array(prepared, np.float32).reshape(-1, 3)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode(self, images: Sequence[Image]) -> Rows:
        """Return one unit row per image."""
        return self.forward([self.prepare(i) for i in images])
