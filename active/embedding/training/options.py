"""What a training can be told, what it tells while it runs, and what it ends with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from active.methods import METHODS

Optimizer = Literal["adamw", "lars"]
Ending = Literal["done", "stopped", "collapsed"]
MINUTES = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """Everything a training may be told. The defaults suit half an hour on two cores, after `builtin`."""

    out: Path  # the folder of the new encoder, of its log and its checkpoint
    method: str = "simclr"
    minutes: float | None = None  # in all, earlier parts counted; neither this nor epochs: 30
    epochs: float | None = None
    batch: int = 64  # pictures per step and process, two views of each
    optimizer: Optimizer = "adamw"
    rate: float | None = None  # of learning; None: 0.001 for adamw, 0.2 for lars
    share: float = 0.1  # the backbone's part of that rate; a network from random numbers has all of it
    decay: float = 0.01
    anchor: float = 1.0  # weight of staying near the features of the start; none from random numbers
    way: float = 0.6  # part of the way from the start to what was learned that is written; 1: all of it
    has_up: bool = False  # of photographs views are turned by a few degrees alone
    seed: int = 0
    save_s: float = 180.0  # between two checkpoints
    log_s: float = 5.0  # between two lines of the log
    device: str = "auto"
    threads: int = 0  # 0: all cores

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"There is no method {self.method}. Give one of {', '.join(METHODS)}.")
        if self.optimizer not in get_args(Optimizer):
            raise ValueError(f"There is no optimizer {self.optimizer}. Give adamw or lars.")
        if self.minutes is not None and self.epochs is not None:
            raise ValueError("Both minutes and epochs are given. Give one of them.")
        for name in ("minutes", "epochs", "rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} is {value}. Give a number above 0.")
        if self.batch < 2:
            raise ValueError(f"The batch is {self.batch}. Give 2 or more; 64 is usual.")
        if not 0 < self.way <= 1:
            raise ValueError(f"way is {self.way}. Give a number above 0, up to 1.")
        for name in ("share", "decay", "anchor"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}. Give 0 or more.")


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the log: how far a training is, and how it goes."""

    step: int
    share: float  # of the training that is done, 0 to 1
    epoch: float
    minutes: float
    loss: float  # mean since the last line, with the anchor
    anchor: float  # mean cosine distance to the features of the start; 0 without an anchor
    feature_std: float  # of the network's rows; 1 would be spread in all directions alike, 0 is a collapse
    output_std: float  # the same of the projector's rows, which the loss sees
    rate: float  # the backbone's
    images_per_s: float  # over all processes


@dataclass(frozen=True, slots=True)
class Result:
    """How a training ended. Only "collapsed" leaves no new encoder."""

    ending: Ending
    note: str  # one or two sentences for a person
    steps: int
    minutes: float
    images: int
    last: Progress | None  # None where no step was left to do
    same_neighbours: float  # share of the ten images' neighbours that are still those of the start
