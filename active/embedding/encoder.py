"""What an encoder is: anything that turns pictures into unit rows."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray
from PIL.Image import Image

from active.arrays import Rows

Prepared = NDArray[Any]  # Any: uint8 or float32, as the encoder likes
"""One picture as an encoder takes it in: uint8 (h, w, channels), or float32 (channels, h, w)."""


class Encoder(Protocol):
    """Pictures in, unit rows out.

    key      names the weights and the preprocessing; safe as a file name.
    dim      numbers per row.
    size_px  the shorter side that `prepare` makes use of; more pixels are of no help.

    One that computes elsewhere, on a graphics card, has `uses_cores = False` besides.
    """

    @property
    def key(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def size_px(self) -> int: ...

    def prepare(self, image: Image) -> Prepared:
        """Return what `forward` needs of an upright RGB image. Cheap; may run in many threads."""
        ...

    def forward(self, prepared: Sequence[Prepared]) -> Rows:
        """Return one unit row per prepared image, in order; none for none.

        Computes in the calling thread alone, so use all cores by calling it from several threads.
        """
        ...

    def encode(self, images: Sequence[Image]) -> Rows:
        """Return forward() of each image prepared."""
        ...


@runtime_checkable
class Reader(Protocol):
    """An encoder that may read text too. One that never does needs none of this."""

    @property
    def reads_text(self) -> bool:
        """Whether `read` gives rows: the network has a side for text, and a tokenizer is there."""
        ...

    def read(self, texts: Sequence[str]) -> Rows:
        """Return one unit row per text, comparable with rows of images; none for none.

        The first text takes seconds: the text's side is loaded then. Raises ValueError with one or
        two sentences when the encoder reads no text.
        """
        ...


def reads_text(encoder: Encoder) -> bool:
    """Return whether `read` gives rows of text for this encoder. Costs nothing."""
    return isinstance(encoder, Reader) and encoder.reads_text


def read(encoder: Encoder, texts: Sequence[str]) -> Rows:
    """Return one unit row per text, comparable with the encoder's rows of images. See `Reader.read`."""
    if isinstance(encoder, Reader):
        return encoder.read(texts)
    from active.embedding.text import pictures_only

    raise ValueError(pictures_only(f"The encoder {encoder.key}"))
