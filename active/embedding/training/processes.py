"""Several processes that train one network: started by torchrun, or alone.

Every process looks at other pictures. After each step they share the mean of their gradients, and of the
running statistics of their batch norms, as one array: all hold the same network at any time, bit for bit.
On GPUs batch norms also see the rows of all processes at once (torch's SyncBatchNorm); that can't run on
processors, where each normalises with its own rows.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(days=7)  # the first may take in many images while the others wait


def device_of(name: str) -> torch.device:
    """Return the device of this process: "auto" is its own GPU where there is one, else the processor."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as e:
        raise ValueError(f"This machine can't compute on {name}. Give cpu.") from e


def is_started() -> bool:
    """Return whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first() -> bool:
    """Return whether this is the process that reads and writes; known before it has joined the others."""
    return not is_started() or os.environ.get("RANK", "0") == "0"


def cores() -> int:
    """Return how many threads this process may compute with."""
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if is_started() else 1
    return max(1, (os.cpu_count() or 1) // beside)


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Join the other processes if torchrun started this one and nobody joined yet; part from them after."""
    if not is_started() or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return which process this is; 0 writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


class _Gather(torch.autograd.Function):
    """The rows of all processes; what flows back is the sum of what all of them send."""

    @staticmethod
    def forward(ctx: object, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(count())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous()
        dist.all_reduce(grad)
        return grad.chunk(count())[rank()]


def gathered(rows: Tensor) -> Tensor:
    """Return the rows of all processes, in their order; gradients find their way back.

    Every process has as many rows. Each computes the same loss of all rows, and its gradient comes back once
    from each of them: the mean of gradients over the processes is then the gradient of the whole.
    """
    if count() == 1:
        return rows
    return _Gather.apply(rows)  # type: ignore[no-any-return,no-untyped-call]  # torch gives it no type


def mean_of_all(x: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, without gradients."""
    if count() > 1:
        x = x.detach().clone()
        dist.all_reduce(x)
        x /= count()
    return x


def average(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over all processes, all in one message."""
    whole = [t for t in tensors if t.is_floating_point()]
    if count() == 1 or not whole:
        return
    flat = mean_of_all(torch.cat([t.reshape(-1).float() for t in whole]))
    parts = torch.split(flat, [t.numel() for t in whole])
    with torch.no_grad():
        for t, part in zip(whole, parts, strict=True):
            t.copy_(part.reshape(t.shape))


def from_first(values: list[float], device: torch.device) -> list[float]:
    """Return the numbers that process 0 has: what its clock and its user say holds for all."""
    if count() == 1:
        return values
    said = torch.tensor(values, dtype=torch.float64, device=device)
    dist.broadcast(said, 0)
    out: list[float] = said.tolist()
    return out


def wait() -> None:
    """Return when all processes are here."""
    if count() > 1:
        dist.barrier()
