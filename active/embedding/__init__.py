"""Encoders: pictures in, unit rows out."""

from active.embedding.encoder import Encoder, Prepared

__all__ = ["BUILTIN", "Encoder", "Prepared", "load_encoder"]

BUILTIN = "builtin"


def load_encoder(name: str) -> Encoder:
    """Return the encoder called `name`: "builtin", or a local folder that transformers can load.

    Imports torch, which takes seconds. Raises ValueError with one sentence when it can't.
    """
    if name == BUILTIN:
        from active.embedding.builtin import Builtin

        return Builtin()
    from active.embedding.pretrained import load_pretrained

    return load_pretrained(name)
