"""Encoders: pictures in, unit rows out."""

from active.embedding.encoder import Encoder, Prepared

__all__ = ["BUILTIN", "Encoder", "Prepared", "load_encoder"]

BUILTIN = "builtin"


def load_encoder(name: str, views: int = 1, device: str = "auto") -> Encoder:
    """Return the encoder called `name`: "builtin", or a local folder that transformers can load.

    views   1, or 4 or 8 turned views of each image, whose mean is taken.
    device  where a pretrained network computes: auto (CUDA, else MPS, else the CPU), cpu, cuda,
            cuda:1 or mps. The builtin encoder always computes on the CPU.
    Imports torch, which takes seconds. Raises ValueError with one or two sentences when it can't.
    """
    from active.embedding.device import on, pick

    if views > 1:
        from active.embedding.views import Views

        return Views(load_encoder(name, device=device), views)
    if name == BUILTIN:
        from active.embedding.builtin import WEIGHTS, Builtin
        from active.embedding.standin import Standin

        if device != "auto":
            pick(device)  # a wrong name is wrong here too
        return Builtin() if WEIGHTS.exists() else Standin()  # until weights that are good enough are shipped
    from active.embedding.pretrained import load_pretrained

    return load_pretrained(name, on(pick(device)))
