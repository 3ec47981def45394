"""Encoders: pictures in, unit rows out."""

from active.embedding.encoder import Encoder, Prepared

__all__ = ["BUILTIN", "Encoder", "Prepared", "load_encoder"]

BUILTIN = "builtin"


def load_encoder(name: str, views: int = 1) -> Encoder:
    """Return the encoder called `name`: "builtin", or a local folder that transformers can load.

    views  1, or 4 or 8 turned views of each image, whose mean is taken.
    Imports torch, which takes seconds. Raises ValueError with one sentence when it can't.
    """
    if views > 1:
        from active.embedding.views import Views

        return Views(load_encoder(name), views)
    if name == BUILTIN:
        from active.embedding.builtin import WEIGHTS, Builtin
        from active.embedding.standin import Standin

        return Builtin() if WEIGHTS.exists() else Standin()  # until weights that are good enough are shipped
    from active.embedding.pretrained import load_pretrained

    return load_pretrained(name)
