"""The methods of learning without labels: one file each in embedding/training, named here.

It lies here because a command lists the names, and `active.embedding` imports numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from active.embedding.training.objective import Objective

METHODS = {"simclr": "SimCLR", "simsiam": "SimSiam", "vicreg": "VICReg", "dino": "DINO"}
"""The method's name, which is its file's, and its class there."""


def load_method(name: str) -> "type[Objective]":
    """Return the class of a method in METHODS. Imports torch."""
    module = import_module(f"active.embedding.training.{name}")
    return cast("type[Objective]", getattr(module, METHODS[name]))  # the table holds nothing else
