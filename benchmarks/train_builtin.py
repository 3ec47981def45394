"""Train the built-in encoder: a small network at 112 px learns to see as a large one at 224 px.

--pack FILE.npz              write hirise and clothing there, once; aid is never learned from
--data FILE.npz --out DIR    train for --minutes or --steps; given again, it goes on where it stopped
--mean A B --out FILE        write the mean of the weights of runs, each of which began with another's

Student and teacher (a MobileNet v1 of ImageNet, LABELER_TEST_WEIGHTS) see the same view; the student learns
the teacher's 1,024 numbers, who is near whom in the batch, and six maps on the way. For the first --apart of
the run each stage between two of these maps learns for itself, which is quick, then all together. It starts
from random numbers, and none of the teacher's are in it. With --steps the same seed on the same
machine gives the same network; with --minutes the rate of learning follows the clock.

DIR holds student.safetensors (float16, folded: what is shipped), log.jsonl, and a checkpoint of five files.
"""

import argparse
import copy
import json
import os
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from active.embedding.network import SIDE_PX
from benchmarks.changed import views
from benchmarks.drawn import draw
from benchmarks.lessons import COLLECTIONS, Drawn, Kept, batch, is_held, pack, read
from benchmarks.student import LEADS, Student
from benchmarks.teacher import TEACHER_PX, Exam, Maps, Teacher, losses, resized

WARM = 0.03  # part of the run in which the rate rises
COOL = 0.5  # part in which it falls
CLIP = 1.0
PARTS = ("now", "mean", "first", "second")


@dataclass
class Run:
    """What a checkpoint holds: the networks, the optimizer, and how far it is."""

    student: Student
    mean: Student  # the moving average of the student's weights: what is used
    optimizer: torch.optim.AdamW
    step: int = 0
    spent_s: float = 0.0


def new_run(args: argparse.Namespace, device: torch.device) -> Run:
    """Return a run at its start: random weights from the seed."""
    torch.manual_seed(args.seed)
    student = Student().to(device)
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub leaves it out
    every = list(student.parameters())
    groups = [
        {"params": [p for p in every if p.ndim > 1], "weight_decay": args.decay},
        {"params": [p for p in every if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.98))
    return Run(student, copy.deepcopy(student).requires_grad_(False), optimizer)


def rate_now(progress: float, rate: float) -> float:
    """Return the learning rate after this part of the run: up in a line, level, then down, ever slower.

    Level for long, so that a run that is given more time later has lost nothing. When the stages begin to
    learn together the rate is low: a high one spoils what each has learned alone.
    """
    return rate * max(min(progress / WARM, 1, ((1 - progress) / COOL) ** 2), 0.003)


def follow(run: Run) -> None:
    """Move the mean network towards the student: quickly at first, slowly later."""
    keep = min(0.998, (1 + run.step) / (20 + run.step))
    with torch.no_grad():
        mean, now = run.mean.state_dict(), run.student.state_dict()
        floats = [name for name, t in now.items() if t.is_floating_point()]
        torch._foreach_lerp_([mean[n] for n in floats], [now[n] for n in floats], 1 - keep)


def save(run: Run, out: Path) -> None:
    """Write the network as it is shipped, and the checkpoint; what was there stays until all is written."""
    state = run.optimizer.state_dict()["state"]
    parts: dict[str, dict[str, Tensor]] = {
        "now": dict(run.student.state_dict()),
        "mean": dict(run.mean.state_dict()),
        "first": {str(i): s["exp_avg"] for i, s in state.items()},
        "second": {str(i): s["exp_avg_sq"] for i, s in state.items()},
        "student": {k: v.half() for k, v in run.mean.weights().items()},
    }
    for name, tensors in parts.items():
        whole = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        save_file(whole, out / f"{name}.part", metadata={"step": str(run.step)})
    for name in parts:
        os.replace(out / f"{name}.part", out / f"{name}.safetensors")
    (out / "state.json").write_text(json.dumps({"step": run.step, "spent_s": run.spent_s}))


def resume(run: Run, out: Path) -> None:
    """Set a new run to where a checkpoint was left; nothing where there is none."""
    if not (out / "state.json").exists():
        return
    parts = {name: load_file(out / f"{name}.safetensors") for name in PARTS}
    run.student.load_state_dict(parts["now"])
    run.mean.load_state_dict(parts["mean"])
    at = json.loads((out / "state.json").read_text())
    run.step, run.spent_s = at["step"], at["spent_s"]
    moments = {
        int(i): {"step": torch.tensor(float(run.step)), "exp_avg": m, "exp_avg_sq": parts["second"][i]}
        for i, m in parts["first"].items()
    }
    groups = run.optimizer.state_dict()["param_groups"]
    run.optimizer.load_state_dict({"state": moments, "param_groups": groups})


class Lessons:
    """What is learned from, at each step the same for the same seed; and the pictures kept for the exam."""

    def __init__(self, args: argparse.Namespace, teacher: nn.Module, device: torch.device, step: int) -> None:
        self._args, self._device = args, device
        self._teacher: Any = torch.compile(teacher) if args.compile and device.type == "cuda" else teacher
        pixels, names = read(args.data)
        real, held = torch.from_numpy(pixels), torch.tensor([is_held(n) for n in names])
        other = torch.Generator(device).manual_seed(args.seed + 999_999_937)
        self.kept = {"drawn": torch.cat([draw(8, other) for _ in range(-(-args.exam // 8))])}
        for name in COLLECTIONS:
            self.kept[name] = real[held & torch.tensor([n.startswith(name) for n in names])][: args.exam]
        shares = (args.real * (1 - args.clothes), args.real * args.clothes)
        self._pools = [
            (real[~held & torch.tensor([n.startswith(name) for n in names])].to(device), share)
            for name, share in zip(COLLECTIONS, shares, strict=True)
        ]
        renewed = -(-step // args.draw_every)
        self._drawn = Drawn(args.room, args.fresh, seed=args.seed, device=device, step=renewed)

        self._kept = Kept(args.out / "views.bin", args.keep) if args.keep else None
        self._first = max(args.keep // 16, args.batch)  # views that are there before the first step
        if self._kept and step == 0:
            for at in range(0, self._first, args.batch):
                self._put(at, args.batch, torch.Generator(device).manual_seed(args.seed * 9_000_011 + at))

    @torch.no_grad()
    def look(self, step: int) -> tuple[Tensor, Maps]:
        """Return what is learned from at this step: views at the student's size, and the teacher's maps."""
        if step % self._args.draw_every == 0:
            self._drawn.renew(step // self._args.draw_every)
        rng = torch.Generator(self._device).manual_seed(self._args.seed * 7_000_003 + step)
        if not self._kept:
            return self._seen(self._args.batch, rng)
        self._put(self._first + step * self._args.new, self._args.new, rng)
        there = min(self._first + (step + 1) * self._args.new, self._args.keep)
        x, maps = self._kept.take(torch.randint(there, (self._args.batch,), generator=rng).to("cpu"))
        return x.contiguous(memory_format=torch.channels_last), maps

    @torch.no_grad()
    def _put(self, first: int, n: int, rng: torch.Generator) -> None:
        assert self._kept
        self._kept.put(first, *self._seen(n, rng))

    def _seen(self, n: int, rng: torch.Generator) -> tuple[Tensor, Maps]:
        """Return n new views and what the teacher makes of them."""
        drawn = (self._drawn.pictures, 1 - self._args.real)
        pictures = batch([*self._pools, drawn], n, rng)
        x = (views(pictures, rng, TEACHER_PX, whole=self._args.whole) * 2 - 1).contiguous(
            memory_format=torch.channels_last
        )
        return resized(x, SIDE_PX).contiguous(memory_format=torch.channels_last), self._teacher(x)


class Steps:
    """One step of learning after another."""

    def __init__(self, args: argparse.Namespace, run: Run) -> None:
        self._run, self._begin = run, args.begin
        self._compare: Any = torch.compile(self._parts) if args.compile else self._parts
        maps = {f"map{i + 1}": args.maps for i in range(len(LEADS))}
        self._weights = {"row": 1.0, "near": args.near, **maps}
        self.parts: list[Tensor] = []

    def _parts(self, x: Tensor, its: Maps, apart: bool) -> Tensor:
        """Return the parts of the loss."""
        fast = x.device.type == "cuda"
        half: AbstractContextManager[Any] = torch.autocast("cuda", torch.bfloat16) if fast else nullcontext()
        with half:
            mine = self._run.student(x, apart)
        parts = losses(mine, its)
        return torch.stack([parts[name] for name in self._weights])

    def learn(self, x: Tensor, its: Maps, *, rate: float, apart: bool) -> None:
        """Learn from one batch of views and the teacher's maps of them; its loss is added to `parts`."""
        run = self._run
        if run.step == 0 and self._begin:
            run.student.take(load_file(self._begin, device=str(x.device)), x)
            run.mean.load_state_dict(run.student.state_dict())
        elif run.step == 0:
            run.student.set_out(its)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        run.student.train()
        parts = self._compare(x, its, apart)
        loss = (parts * parts.new_tensor(list(self._weights.values()))).sum()
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(run.student.parameters(), CLIP * len(LEADS))
        run.optimizer.step()
        run.step += 1
        follow(run)
        self.parts.append(parts.detach())

    def means(self) -> dict[str, float]:
        """Return the mean of each part of the loss since last asked."""
        means = torch.stack(self.parts).mean(0).tolist() if self.parts else []
        self.parts = []
        return dict(zip(self._weights, means, strict=False))


def train(args: argparse.Namespace, teacher: nn.Module, device: torch.device) -> dict[str, Any]:  # Any: JSON
    """Train until the steps or the minutes are over, or --stop-s; return the last line of the log."""
    args.out.mkdir(parents=True, exist_ok=True)
    run = new_run(args, device)
    resume(run, args.out)
    lessons = Lessons(args, teacher, device, run.step)
    exam = Exam(lessons.kept, teacher, device)
    steps = Steps(args, run)
    started = saved = logged = time.monotonic()
    before, first, line = run.spent_s, run.step, {}
    while True:
        done = progress(args, run)
        now = time.monotonic()
        over = done >= 1 or (args.stop_s > 0 and now - started > args.stop_s)
        if over or (run.step % args.every == 0 and run.step > first):
            speed = len(steps.parts) * args.batch / (now - logged)
            line = {
                "step": run.step, "minutes": run.spent_s / 60, "rate": rate_now(done, args.rate),
                **steps.means(), **exam.marks(run.mean), "images_per_s": speed,
            }  # fmt: skip
            note(line, args.out)
            logged = time.monotonic()
        if over or now - saved > args.save_s:
            save(run, args.out)
            saved = time.monotonic()
        if over:
            return line
        steps.learn(*lessons.look(run.step), rate=rate_now(done, args.rate), apart=done < args.apart)
        run.spent_s = before + time.monotonic() - started


def write_mean(files: list[Path], out: Path) -> None:
    """Write the mean of folded weights, float16.

    Source: Wortsman et al. 2022, "Model soups": of networks that began alike the mean is better than each.
    """
    every = [load_file(file) for file in files]
    save_file(
        {
            name: torch.stack([w[name].float() for w in every]).mean(0).half().contiguous()
            for name in every[0]
        },
        out,
    )


def progress(args: argparse.Namespace, run: Run) -> float:
    """Return which part of the run is done, by its steps or its minutes."""
    return float(run.step / args.steps if args.steps else run.spent_s / (60 * args.minutes))


def note(line: dict[str, Any], out: Path) -> None:  # Any: JSON
    """Print a line of the log, and add it to the file."""
    text = json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in line.items()})
    print(text, flush=True)
    with open(out / "log.jsonl", "a") as log:
        log.write(text + "\n")


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    home = os.environ.get("LABELER_TEST_WEIGHTS", "")
    out.add_argument("--pack", type=Path, metavar="FILE", help="pack what LABELER_TEST_DATA holds, and end")
    out.add_argument("--data", type=Path, help="a pack")
    out.add_argument("--teacher", type=Path, default=Path(home) / "mobilenet_v1_1.0_224")
    out.add_argument("--out", type=Path)
    out.add_argument(
        "--mean", type=Path, nargs="+", metavar="FILE", help="write their mean to --out, and end"
    )
    out.add_argument("--begin", type=Path, metavar="FILE", help="a student.safetensors to go on from")
    out.add_argument("--minutes", type=float, default=0.0, help="in all, earlier parts counted")
    out.add_argument("--steps", type=int, default=0, help="instead of --minutes: repeatable")
    out.add_argument("--stop-s", type=float, default=0.0, help="save and end after so long; go on later")
    out.add_argument("--save-s", type=float, default=180.0, help="between two checkpoints")
    out.add_argument("--every", type=int, default=100, help="steps between two lines of the log")
    out.add_argument("--exam", type=int, default=200, help="pictures of each set that are held out")
    out.add_argument("--device", default="auto", help="auto, cpu or cuda")
    out.add_argument("--threads", type=int, default=1)
    out.add_argument("--compile", action="store_true", help="torch.compile: for long runs on a GPU")
    out.add_argument("--seed", type=int, default=1)
    out.add_argument("--batch", type=int, default=16)
    out.add_argument("--rate", type=float, default=1e-2)
    out.add_argument("--decay", type=float, default=0.02)
    out.add_argument("--real", type=float, default=0.5, help="share of real pictures in a batch")
    out.add_argument("--clothes", type=float, default=0.5, help="share of clothes among the real pictures")
    out.add_argument("--whole", type=float, default=0.0, help="share of views that are whole and as they are")
    out.add_argument("--near", type=float, default=0.3, help="weight of the neighbourhoods")
    out.add_argument("--maps", type=float, default=1.0, help="weight of each map")
    out.add_argument("--apart", type=float, default=0.75, help="share of the run in which stages learn alone")
    out.add_argument("--room", type=int, default=1024, help="drawn pictures kept")
    out.add_argument("--fresh", type=int, default=8, help="drawn pictures replaced at a time")
    out.add_argument("--draw-every", type=int, default=1, help="steps between two times")
    out.add_argument("--keep", type=int, default=0, help="views kept with the teacher's maps; 0: seen once")
    out.add_argument("--new", type=int, default=8, help="views replaced at each step, where some are kept")
    return out


def main() -> None:
    """Pack the pictures, or train."""
    options = parser()
    args = options.parse_args()
    if args.pack:
        print(json.dumps({"bytes": pack(Path(os.environ["LABELER_TEST_DATA"]), args.pack)}))
        return
    if args.mean and args.out:
        write_mean(args.mean, args.out)
        return
    if not (args.data and args.out and (args.minutes or args.steps)):
        options.error("give --data, --out, and --minutes or --steps")
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(args.device)
    torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = device.type == "cuda"
    print(json.dumps(train(args, Teacher(args.teacher, device), device)))


if __name__ == "__main__":
    main()
