"""Where a pretrained network computes: `pick` finds the device, `Cpu` and `Gpu` make rows on it."""

import re
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from active.arrays import Rows
from active.embedding.encoder import Prepared
from active.embedding.folder import first_line

if TYPE_CHECKING:
    import torch

BATCH = 8  # images per forward pass on a processor; more fit its cache worse
ENOUGH_COS = 0.99  # float16 is used where no sample's row turns further from that in float32
_NAMES = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")

See = Callable[["torch.Tensor"], "torch.Tensor"]
"""(n, …) prepared images as one tensor on the device → (n, dim) numbers, not yet of length 1."""


class ShortOfMemory(ValueError):
    """The device has no room for the network, or for one image."""

    def __init__(self, device: "torch.device") -> None:
        super().__init__(
            f"{device} has too little memory free. End what else uses it, or give the device cpu."
        )


def pick(name: str) -> "torch.device":
    """Return the device that is called auto, cpu, cuda, cuda:1 (any number) or mps.

    auto takes CUDA, else MPS, else the CPU: the first that computes. Raises ValueError, in two
    sentences, for another name and for a device that isn't there or doesn't compute.
    """
    import torch

    if not _NAMES.fullmatch(name):
        raise ValueError(f"There is no device {name}. Give auto, cpu, cuda, cuda:1 or mps.")
    if name == "auto":
        return torch.device(next((kind for kind in ("cuda", "mps") if _fault(kind) is None), "cpu"))
    fault = None if name == "cpu" else _fault(name)
    if fault:
        raise ValueError(f"The device {name} can't be used: {fault}. Give auto or cpu.")
    return torch.device(name)


def on(device: "torch.device") -> "Cpu | Gpu":
    """Return what computes on a device."""
    return Cpu() if device.type == "cpu" else Gpu(device)


def _fault(name: str) -> str | None:
    """Return why a GPU can't be used, None when it can."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of old drivers; the reason below says enough
        if name == "mps":
            if not torch.backends.mps.is_available():
                return "torch sees no GPU of a Mac here"
        elif not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]  # torch gives it no type
            return "the installed torch is built for the CPU alone"
        elif not torch.cuda.is_available():
            return "torch sees no CUDA device here"
        elif int(name.partition(":")[2] or 0) >= (there := torch.cuda.device_count()):
            return f"there is only cuda:0 to cuda:{there - 1}" if there > 1 else "there is only cuda:0"
        try:
            _compute(name)
        except (RuntimeError, AssertionError) as e:
            return first_line(e)
    return None


def _compute(name: str) -> None:
    """Add two numbers on a device: one that is listed may be too old for this torch, or taken."""
    import torch

    torch.ones(2, device=name).sum().item()


class Cpu:
    """The processor: one core in each thread that asks, in float32."""

    def __init__(self) -> None:
        import torch

        self.device = torch.device("cpu")

    def rows(self, see: See, run: Sequence[Prepared]) -> NDArray[np.float32]:
        """Return what `see` makes of at least one prepared image, all of the same shape: (n, dim)."""
        import torch

        batches = (run[at : at + BATCH] for at in range(0, len(run), BATCH))
        with torch.inference_mode():
            return np.concatenate([see(torch.from_numpy(np.stack(b))).float().numpy() for b in batches])


class Gpu:
    """A graphics card: one thread at a time computes on it, with as many images as make it fastest."""

    def __init__(self, device: "torch.device") -> None:
        """device  of any kind: tests give the processor."""
        self.device = device
        self.half = False
        self.batch = BatchSize()
        self._lock = threading.Lock()

    def rows(self, see: See, run: Sequence[Prepared]) -> NDArray[np.float32]:
        """Return what `see` makes of at least one prepared image, all of the same shape: (n, dim).

        Memory that runs out halves the batch, and the work goes on; raises ShortOfMemory
        where not even one image has room.
        """
        out: list[NDArray[np.float32]] = []
        at = 0
        while at < len(run):
            pixels = np.stack(run[at : at + self.batch.now])  # while another thread's batch computes
            with self._lock:
                rows = self._attempt(see, pixels)
            if rows is not None:
                out.append(rows)
                at += len(rows)
        return np.concatenate(out)

    def use_half(self, forward: Callable[[], Rows], rows: Rows) -> None:
        """Compute in float16 from now on, if that gives what `forward` gave in float32, `rows`."""
        self.half = True
        try:
            close = bool(np.sum(forward() * rows, axis=1).min() >= ENOUGH_COS)
        except (RuntimeError, TypeError):  # an operation that this device has in float32 only
            close = False
        self.half = self.half and close

    def _attempt(self, see: See, pixels: Prepared) -> NDArray[np.float32] | None:
        """Return the rows of one batch; None when memory was short, after making room."""
        start = time.perf_counter()
        try:
            rows = self._computed(see, pixels)
            if self.half and not np.isfinite(rows).all():
                self.half = False  # numbers beyond float16: this network's next images may have them too
                rows = self._computed(see, pixels)
        except RuntimeError as e:
            if not is_short_of_memory(e):
                raise
        else:
            self.batch.took(len(pixels), seconds=time.perf_counter() - start)
            return rows
        make_room(self.device)  # here, where the error that held the batch's tensors is gone
        if len(pixels) == 1:
            raise ShortOfMemory(self.device)
        self.batch.was_too_big(len(pixels))
        return None

    def _computed(self, see: See, pixels: Prepared) -> NDArray[np.float32]:
        import torch

        half = torch.autocast(self.device.type, torch.float16, enabled=self.half)
        with torch.inference_mode(), half:
            return see(torch.from_numpy(pixels).to(self.device)).float().cpu().numpy()


def is_short_of_memory(e: RuntimeError) -> bool:
    """Return whether an error of torch means that a device's memory ran out."""
    import torch

    return isinstance(e, torch.OutOfMemoryError) or "out of memory" in str(e)  # MPS has no type for it


def make_room(device: "torch.device") -> None:
    """Give back what torch keeps of a device's memory for later."""
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


class BatchSize:
    """How many images go through at once: doubled while that makes an image quicker, halved without memory.

    Each size is tried three times, of which the fastest counts: the first pass sets things up.
    """

    FIRST, MOST, TRIES = 16, 1024, 3
    QUICKER = 0.95  # of the time per image before; less gain is not worth the memory

    def __init__(self) -> None:
        self.now = self.FIRST
        self._settled = False
        self._before_s = float("inf")  # per image, at half the size
        self._tries_s: list[float] = []

    def took(self, n: int, *, seconds: float) -> None:
        """Learn from a batch of n images. One that isn't full says nothing."""
        if self._settled or n != self.now:
            return
        self._tries_s.append(seconds / n)
        if len(self._tries_s) < self.TRIES:
            return
        quickest = min(self._tries_s)
        if quickest > self._before_s * self.QUICKER:
            self.now, self._settled = self.now // 2, True
        elif self.now >= self.MOST:
            self._settled = True
        else:
            self.now, self._before_s, self._tries_s = self.now * 2, quickest, []

    def was_too_big(self, n: int) -> None:
        """Learn that n images, more than one, had no room: half as many from now on, and no more tries."""
        self.now, self._settled = max(1, min(self.now, n // 2)), True
