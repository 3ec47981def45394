"""Encoders: pictures in, unit rows out."""

from pathlib import Path

from active.embedding.encoder import Encoder, Prepared, Reader, read, reads_text

__all__ = ["BUILTIN", "TRAINED", "Encoder", "Prepared", "Reader", "load_encoder", "read", "reads_text"]

BUILTIN = "builtin"
TRAINED = "builtin.safetensors"  # in a folder: the built-in network with weights of its own


def load_encoder(name: str, views: int = 1, device: str = "auto") -> Encoder:
    """Return the encoder called `name`: "builtin", a folder that was trained or that transformers can load,
    or owner/name.

    owner/name is a network of the hub that `hub.fetch` has downloaded; nothing is downloaded here.

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
        from active.embedding.builtin import Builtin

        if device != "auto":
            pick(device)  # a wrong name is wrong here too
        return Builtin()
    from active.embedding import hub
    from active.embedding.pretrained import load_pretrained

    folder = hub.cached(name) if hub.is_name(name) else Path(name)
    if folder is None:
        raise ValueError(hub.absent(name, "this step downloads nothing"))
    if (folder / TRAINED).exists():
        from active.embedding.builtin import Builtin

        return Builtin(folder / TRAINED)
    return load_pretrained(str(folder), on(pick(device)))
