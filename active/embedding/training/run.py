"""One training: views of pictures through a network and a method, until the time or the epochs are over.

Whatever is drawn at random is a function of the seed and the step, and a checkpoint holds all that has
learned: a training that was stopped goes on exactly where it was.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from active.embedding import quick
from active.embedding.training import optim, processes
from active.embedding.training.backbones import Backbone, write_about
from active.embedding.training.checkpoint import FILE, write_json
from active.embedding.training.log import Log, Sums
from active.embedding.training.neighbours import neighbours, resized, same, whole
from active.embedding.training.objective import Objective, follow, spread
from active.embedding.training.options import MINUTES, Ending, Options, Progress, Result
from active.embedding.training.pictures import Batches, Pictures
from active.embedding.training.state import Learner, identity, load, save, slow_copy, tensors_to_share
from active.embedding.training.views import views
from active.methods import load_method

CALIBRATED_ON = 256
CLIP = 1.0
Report = Callable[[Progress], None]


def train(
    pictures: Pictures,
    backbone: Backbone,
    options: Options,
    *,
    report: Report | None = None,
    stop: threading.Event | None = None,
) -> Result:
    """Train `backbone` in place, write the encoder to `options.out`, and return how it ended.

    report  is given each line of the log, in the first process.
    stop    ends the training after the step it is in; called again with the same options it goes on.
    Started by torchrun, all processes train one network; pack pictures inside `processes.joined` then.
    Raises ValueError with one sentence for pictures or a folder that don't fit, and for a full disk.
    """
    device = processes.device_of(options.device)
    torch.set_num_threads(options.threads or processes.cores())
    try:
        with processes.joined(device):
            training = Training(pictures, backbone, options, device)
            return training.run(report or _nobody, stop or threading.Event())
    except torch.OutOfMemoryError as e:
        raise ValueError(
            f"{device} has too little memory for {options.batch} pictures at once. Give a smaller --batch."
        ) from e


class Training:
    """One training in one process: what it learns with, and how it goes on."""

    def __init__(
        self, pictures: Pictures, backbone: Backbone, options: Options, device: torch.device
    ) -> None:
        self._started = time.monotonic()
        self._pictures, self._options, self._device = pictures, options, device
        self._batches = Batches(
            len(pictures), batch=options.batch, processes=processes.count(), seed=options.seed
        )
        self._side_px = backbone.side_px
        backbone.to(device).eval()
        if backbone.wants_calibration:
            backbone.calibrate(self._whole(pictures.spaced(CALIBRATED_ON)))
        self._begun = None if backbone.is_fresh else slow_copy(backbone)
        self._anchor = self._begun if options.anchor else None
        self._frozen = 0.0 if backbone.is_fresh else optim.FROZEN
        self._rate = options.rate or optim.DEFAULT_RATE[options.optimizer]
        self._share = 1.0 if backbone.is_fresh else options.share
        self._learner = _learner(backbone, options, device, anchored=self._anchor is not None)
        self._same = self._what_must_stay()
        self._sums, self._logged_s = Sums(), self._started
        about = load(self._learner, options.out / FILE, self._same)
        self._before_s = self._learner.spent_s
        self._start: Any = about["start"] if about else None  # Any: JSON
        self._log: Log | None = None
        if processes.rank() == 0:
            self._log = Log(options.out, self._learner.step)
            self._start = self._start or self._neighbours(self._learner.result)

    def run(self, report: Report, stop: threading.Event) -> Result:
        """Train to the end, or until `stop`, or a collapse."""
        learner, options = self._learner, self._options
        saved = time.monotonic()
        trouble: str | None = None
        last: Progress | None = None
        with ThreadPoolExecutor(1) as reader:  # the next pictures are read while these are learned from
            coming = reader.submit(self._read, learner.step)
            while True:
                share = self._share_done()
                if self._sums.n and time.monotonic() - self._logged_s >= options.log_s:
                    last = self._line(share, report)
                share, stopped = processes.from_first([share, float(stop.is_set())], self._device)
                over = share >= 1 or stopped > 0 or trouble is not None
                if self._sums.n and over:
                    last = self._line(share, report)
                if trouble is None and (over or time.monotonic() - saved >= options.save_s):
                    self._save()
                    saved = time.monotonic()
                if over:
                    return self._ended("done" if share >= 1 else "stopped", trouble, last)
                pixels = coming.result()
                coming = reader.submit(self._read, learner.step + 1)
                trouble = self._learn(pixels, share)

    # one step --------------------------------------------------------------------------------

    def _learn(self, pixels: Tensor, share: float) -> str | None:
        """Learn from one batch; return what is wrong, if anything."""
        learner = self._learner
        rates = optim.rates(share, self._rate, self._share, frozen=self._frozen)
        for i, group in enumerate(learner.optimizer.param_groups):
            group["lr"] = rates.projector if i < 2 else rates.backbone
        learner.optimizer.zero_grad(set_to_none=True)
        loss, values = self._loss(pixels, learner.objective.momentum(share), frozen=rates.backbone == 0)
        loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no type
        processes.average(tensors_to_share(learner))
        every = [p for group in learner.optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(every, CLIP)
        learner.optimizer.step()
        learner.step += 1
        keep = learner.objective.momentum(share)
        if learner.slow is not None and keep is not None:
            follow(learner.slow, learner.backbone, keep)
            learner.objective.follow(keep)
        said = processes.mean_of_all(values).tolist()
        self._sums.add(said)
        return learner.collapse.see(said[0], said[2:])

    def _loss(self, pixels: Tensor, keep: float | None, *, frozen: bool) -> tuple[Tensor, Tensor]:
        """Return the loss of one batch, and the numbers for the log: loss, anchor and the two spreads."""
        learner = self._learner
        both = self._two_views(pixels)
        learner.backbone.train(not frozen)
        learner.objective.train()
        with half(self._device):
            with torch.no_grad() if frozen else nullcontext():
                features = learner.backbone(both)
            slow = None
            if learner.slow is not None and keep is not None:
                with torch.no_grad():
                    slow = learner.slow(both).float().chunk(2)
            before = None
            if self._anchor is not None and not frozen:
                with torch.no_grad():
                    before = self._anchor(resized(pixels, self._side_px)).float()
        # the rest in full precision: it takes logarithms, and means of many rows
        features = features.float()
        one, two = features.chunk(2)
        seen = learner.objective(one, two, slow)
        apart = seen.loss.new_zeros(())
        if before is not None and learner.anchored is not None:
            apart = _apart(learner.anchored(features), torch.cat([before, before]))
        loss = seen.loss + self._options.anchor * apart
        values = [loss.detach(), apart.detach(), spread(one), spread(seen.rows)]
        return loss, torch.stack([v.float() for v in values])

    def _two_views(self, pixels: Tensor) -> Tensor:
        """Return two views of each picture, one half after the other; the same for the same seed and step."""
        at = self._learner.step * processes.count() + processes.rank()
        seed = (self._options.seed * 1_000_003 + at * 7_919 + 1) % (1 << 62)
        torch.manual_seed(seed)  # for networks that leave out parts at random
        rng = torch.Generator().manual_seed(seed)
        both = [views(pixels, rng, self._side_px, has_up=self._options.has_up) for _ in range(2)]
        return torch.cat(both).contiguous(memory_format=torch.channels_last)

    def _read(self, step: int) -> Tensor:
        rows = self._batches.rows(step, processes.rank())
        return torch.from_numpy(self._pictures.take(rows)).to(self._device)

    # what is told and kept -------------------------------------------------------------------

    def _share_done(self) -> float:
        self._learner.spent_s = self._before_s + time.monotonic() - self._started
        if self._options.epochs is not None:
            return self._learner.step / max(1, round(self._options.epochs * self._batches.per_epoch))
        return self._learner.spent_s / 60 / (self._options.minutes or MINUTES)

    def _line(self, share: float, report: Report) -> Progress:
        """Return a line of the log, written and reported by the first process."""
        now, images = time.monotonic(), self._sums.n * self._batches.batch * processes.count()
        loss, anchor, feature_std, output_std = self._sums.means()
        line = Progress(
            step=self._learner.step, share=min(share, 1.0),
            epoch=self._learner.step / self._batches.per_epoch, minutes=self._learner.spent_s / 60,
            loss=loss, anchor=anchor, feature_std=feature_std, output_std=output_std,
            rate=float(self._learner.optimizer.param_groups[2]["lr"]),
            images_per_s=images / max(now - self._logged_s, 1e-9),
        )  # fmt: skip
        self._logged_s = now
        if self._log is not None:
            self._log.add(line)
            report(line)
        return line

    def _save(self) -> None:
        """Write the checkpoint and the neighbours, in the first process."""
        if self._log is None:
            return
        save(self._learner, self._options.out / FILE, {"same": self._same, "start": self._start})
        self._note_neighbours(self._learner.result)

    def _note_neighbours(self, network: Backbone) -> None:
        self._now = self._neighbours(network)
        about = {"images": self._start["images"], "start": self._start["near"], "now": self._now["near"]}
        write_json(self._options.out / "neighbours.json", {"step": self._learner.step, **about})

    def _result(self) -> Backbone:
        """Return what is written: part of the way to what was learned; much of the start is worth keeping."""
        learned = self._learner.result
        return learned if self._begun is None else learned.between(self._begun, self._options.way)

    def _neighbours(self, network: Backbone) -> Any:  # Any: JSON
        was = network.training
        network.eval()
        images, near = neighbours(network, self._pictures, side_px=self._side_px, device=self._device)
        network.train(was)
        return {"images": images, "near": near}

    def _ended(self, ending: Ending, trouble: str | None, last: Progress | None) -> Result:
        """Return the result; write the encoder, unless it came to nothing."""
        learner, n = self._learner, len(self._pictures)
        note = (
            "The training is done." if ending == "done" else "The training was stopped; it can go on later."
        )
        common = 1.0
        if trouble is not None:
            ending, note = "collapsed", f"{trouble} No encoder was written."
        elif self._log is not None:
            result = self._result().eval()
            result.save(self._options.out)
            write_about(self._options.out, result, method=self._options.method, images=n)
            self._note_neighbours(result)
            common = same(self._start["near"], self._now["near"])
        processes.wait()
        return Result(ending, note, learner.step, learner.spent_s / 60, n, last, common)

    def _what_must_stay(self) -> dict[str, Any]:  # Any: JSON
        """Return what a training can't change on the way."""
        options = self._options
        names = ("method", "optimizer", "share", "decay", "anchor", "has_up", "seed")
        return {
            "from": self._learner.backbone.key, "images": len(self._pictures), "pictures": self._pictures.key,
            "batch": self._batches.batch, "processes": processes.count(), "rate": self._rate,
            **{name: getattr(options, name) for name in names},
        }  # fmt: skip

    def _whole(self, rows: Any) -> Tensor:
        return whole(self._pictures, rows, side_px=self._side_px, device=self._device)


def half(device: torch.device) -> AbstractContextManager[Any]:  # Any: torch gives it no type
    """Return what networks compute in: bfloat16 on what multiplies it itself, else float32.

    On a processor that does, a step of the built-in network takes 0.75 s instead of 1.2.
    """
    if device.type == "cuda":
        there = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        there = device.type == "cpu" and quick.computes_bfloat16()
    return torch.autocast(device.type, torch.bfloat16) if there else nullcontext()


def _learner(backbone: Backbone, options: Options, device: torch.device, *, anchored: bool) -> Learner:
    """Return a learner at its start: a projector of random numbers from the seed."""
    torch.manual_seed(options.seed)
    objective: Objective = load_method(options.method)(backbone.dim).to(device)
    backbone.requires_grad_(True)
    slow = slow_copy(backbone) if objective.momentum(0) is not None else None
    if device.type == "cuda" and processes.count() > 1:
        convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm  # Any: torch gives it no type
        backbone, objective = convert(backbone), convert(objective)
    head = identity(backbone.dim).to(device) if anchored else None
    both = nn.ModuleList([objective, *([head] if head else [])])
    optimizer = optim.optimizer(options.optimizer, both, backbone, decay=options.decay)
    return Learner(backbone, objective, slow, head, optimizer)


def _apart(now: Tensor, before: Tensor) -> Tensor:
    """Return the mean cosine distance of rows."""
    return 1 - F.cosine_similarity(now.float(), before.float(), dim=1).mean()


def _nobody(_: Progress) -> None:
    pass
