"""A simulation from the outside: what is checked before, what is written and said after."""

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from labeler import encoders, files, images, loop, names, places, simulate
from labeler.config import Config
from labeler.drives import is_inside
from labeler.errors import BadInput, writing
from labeler.outcome import SHARES, TIMES, Row, curve_rows, k_key
from labeler.plots import estimate_png, found_png
from labeler.simulate import Played
from labeler.truth import Truth, hide_names, read_truth
from labeler.workspace import Workspace

HOME = "simulate"  # under data
READY = "simulated"  # the fact that says what the workspace's vectors were made from
FILES = ("summary.json", "classes.csv", "curves.csv", "found.png", "estimate.png")
_HALF = re.compile(r"\.(.+)\.\d+\.\d+")
MOST_NAMED = 40
MOST_LINES = 40
LITTLE = 0.05  # a gain that is not worth a head


# before ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trial:
    """A workspace whose images tell nothing, and the class of each. source: the folder that a person gave."""

    source: Path
    ws: Workspace
    classes: dict[str, str]


def open_trial(
    source: Path,
    workspace: Path | None = None,
    encoder: str | None = None,
    *,
    views: int = 1,
    device: str | None = None,
) -> Trial:
    """Return the workspace for simulations on a folder of folders; nothing is taken in yet."""
    source = places.check_images(source)
    where = default_place(source) if workspace is None else workspace
    if is_inside(where, source):
        raise BadInput(
            f"The workspace {where} would lie inside the images, where nothing is written.",
            "Give another place with --workspace, or start from another folder.",
        )
    folder = Path(os.path.abspath(where)) / "images"
    chosen = encoders.stored(encoder or Config().encoder)
    ws = places.make_workspace(where, folder, encoder=chosen, views=views, device=device)
    return Trial(source, ws, hide_names(source, folder))


def default_place(source: Path) -> Path:
    """Return where the simulations on a folder are kept: `data/simulate/<its name>-<a hash of its path>`."""
    mark = blake2b(os.fsencode(source), digest_size=3).hexdigest()
    name = names.shortened(names.portable(source.name or "images"), places.MOST_NAME_BYTES)
    return places.DATA / HOME / f"{name}-{mark}"


def is_ready(trial: Trial) -> bool:
    """Return whether all images have their vectors since an earlier run, without loading the encoder."""
    used = trial.ws.registry.in_use()
    whole = (
        used is not None and used[2] == trial.ws.catalog.count_items() and not trial.ws.catalog.count_new()
    )
    return whole and trial.ws.store.fact(READY) == _stamp(trial)


def note_ready(trial: Trial) -> None:
    """Note that all images have their vectors."""
    trial.ws.store.set_fact(READY, _stamp(trial))


def _stamp(trial: Trial) -> str:
    """Return a hash of the images' and the encoder's names, sizes and times."""
    mark = blake2b(b"%d" % trial.ws.config.views, digest_size=16)
    parts = encoders.parts(trial.ws.config.encoder)
    mark.update(f"{trial.ws.config.encoder}\n".encode("utf-8", "surrogateescape"))
    for path in [*(trial.ws.images / name for name in sorted(trial.classes)), *parts]:
        try:
            at = path.stat()
            mark.update(f"{path.name} {at.st_size} {at.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        except OSError:
            mark.update(f"{path.name}\n".encode("utf-8", "surrogateescape"))
    return mark.hexdigest()


def parse_budget(text: str) -> tuple[float | None, int | None]:
    """Return (times K, None) or (None, cards). Raises BadInput for anything else."""
    if re.fullmatch(r"\d{1,4}(\.\d{1,4})?x", text) and float(text[:-1]) > 0:
        return float(text[:-1]), None
    if re.fullmatch(r"\d{1,9}", text) and int(text) > 0:
        return None, int(text)
    raise BadInput(
        f"The budget {text!r} can't be used.",
        "Give 2x for twice as many cards as a class has images, or a number of cards.",
    )


def choose_targets(truth: Truth, wanted: Sequence[str]) -> tuple[list[str], list[dict[str, str]]]:
    """Return the classes to play, and those left out with why; with names given, none is left out silently.

    Raises BadInput for a name that is no class, for one that can't be played, and where none can.
    """
    every = sorted({*truth.items, *(name for name in truth.aside if name)})
    for name in wanted:
        if name not in every:
            more = ", …" if len(every) > MOST_NAMED else ""
            raise BadInput(
                f"There is no class {name!r}.", f"There are {', '.join(every[:MOST_NAMED])}{more}."
            )
    why = {name: reason for name in wanted or every if (reason := _why_not(truth, name)) is not None}
    targets = [name for name in dict.fromkeys(wanted or every) if name not in why]
    if wanted and why:
        raise BadInput(next(iter(why.values())), "Give another class with --target.")
    if not targets:
        raise BadInput(
            f"No class can be played. {next(iter(why.values()), '')}".strip(),
            "Give a folder with at least two classes of two images.",
        )
    return targets, [{"class": name, "why": reason} for name, reason in why.items()]


def _why_not(truth: Truth, name: str) -> str | None:
    n = len(truth.items.get(name, ()))
    if n == 0:
        return f"All images of the class {name!r} are set aside: none can be read."
    if n == 1:
        return f"The class {name!r} has one image, so nothing is left to be found."
    if n == len(truth.names):
        return f"All images are of the class {name!r}, so there is nothing to tell it from."
    return None


def check_budget(truth: Truth, plan: simulate.Plan, targets: Sequence[str]) -> None:
    """Raise BadInput for a budget that is more than the pool for every class."""
    pool = len(truth.names)
    least = min(len(truth.items[name]) for name in targets)
    cards = plan.cards if plan.times is None else int(np.ceil(plan.times * least))
    if cards is not None and cards > pool:
        raise BadInput(
            f"The budget of {cards:,} cards is more than the {pool:,} images there are.",
            "Give a smaller one with --budget.",
        )


def take_example(ws: Workspace, path: Path, data: bytes) -> simulate.Example:
    """Return a reference image to begin with; one that is not in the pool is embedded here, once."""
    if ws.catalog.item_by_hash(images.content_hash(data)) is not None:
        return simulate.Example(path)
    picture = loop.open_picture(ws, data, name=path.name)
    return simulate.Example(path, loop.load_encoder(ws).encode([picture])[0])


def read_classes(trial: Trial) -> Truth:
    """Return what the images of a prepared trial show."""
    return read_truth(trial.ws, trial.classes)


def about(trial: Trial, truth: Truth, plan: simulate.Plan) -> Row:
    """Return what was played, and on what, for the summary."""
    used = trial.ws.registry.in_use()
    return {
        "images": len(truth.names),
        "set_aside": sum(truth.aside.values()),
        "duplicates": trial.ws.catalog.count_duplicates(),
        "several_classes": truth.several,
        "encoder": used[0] if used else None,
        "goal": plan.goal,
        "strategy": plan.strategy,
        "noise": plan.noise,
        "people": plan.people,
        "seeds": plan.seeds,
        "references": plan.references,
    }


def say_tasks(wanted: Sequence[simulate.Task], plan: simulate.Plan) -> str:
    """Return in words what is going to be played."""
    classes = len({task.target for task in wanted})
    kinds = Counter(task.kind for task in wanted)
    parts = [f"{kinds['play']:,} by {plan.strategy}"]
    if kinds["baseline"]:
        parts.append(f"{kinds['baseline']:,} by neighbours alone")
    if kinds["held out"]:
        parts.append(f"{kinds['held out']:,} with a third held out to judge the classifier")
    return f"{classes:,} {'class' if classes == 1 else 'classes'}; plays: {', '.join(parts)}"


# files -------------------------------------------------------------------------------------


def check_out(out: Path, source: Path) -> None:
    """Raise BadInput where results can't go: inside the images, or over anything but earlier results."""
    if is_inside(out, source):
        raise BadInput(f"{out} lies inside the images, where nothing is written.", "Give another --out.")
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file.", "Give a folder to --out.")
    for path in out.iterdir() if out.exists() else ():
        half = _HALF.fullmatch(path.name)
        if path.name not in FILES and not (half and half[1] in FILES):
            raise BadInput(
                f"{out} holds other things, such as {path.name}.", "Give a new or empty folder to --out."
            )


def write_out(out: Path, found: Row, plays: Sequence[Played]) -> None:
    """Write the files of a simulation. summary.json goes first and comes last: with it, all is whole."""
    curves = curve_rows(plays)
    drawn = {
        "found.png": found_png(plays, strategy=found["strategy"], pool=found["images"]),
        "estimate.png": estimate_png(plays),
    }
    with writing(str(out)):
        out.mkdir(parents=True, exist_ok=True)
        (out / "summary.json").unlink(missing_ok=True)
        for path in out.iterdir():
            path.unlink()
        flat = [{k: v for k, v in row.items() if k != "estimate"} for row in found["classes"]]
        files.save_atomic(out / "classes.csv", _csv(flat))
        files.save_atomic(out / "curves.csv", _csv(curves))
        for name, data in drawn.items():
            if data is not None:
                files.save_atomic(out / name, data)
        files.save_atomic(out / "summary.json", (json.dumps(found, indent=1) + "\n").encode())


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


# words -------------------------------------------------------------------------------------


def table(found: Row) -> list[str]:
    """Return the classes as lines of a table, the hardest first."""
    each = _classes(found)
    times = [t for t in TIMES if any(row[f"found_{k_key(t)}"] is not None for row in each)]
    shares = [s for s in SHARES if s in (82, 90, 95)]
    labeled = [key for key in found if key.startswith("ap_") and found[key] is not None][-2:]
    head = ["class", "images", *(f"{t:g} K" for t in times), *(f"to {s} %" for s in shares)]
    head += [f"AP {key[3:]}" for key in labeled]
    lines = [head]
    for row in each[:MOST_LINES]:
        cells = [row["class"], f"{row['images']:,}"]
        cells += [_percent(row[f"found_{k_key(t)}"]) for t in times]
        cells += [_cards(row[f"cards_{s}"], row["images"]) for s in shares]
        lines.append(cells + [_score(row[key]) for key in labeled])
    total = ["all", "", *(_percent(found[f"found_{k_key(t)}"]) for t in times)]
    total += [_times(found[f"cards_{s}"]) for s in shares]
    lines.append(total + [_score(found[key]) for key in labeled])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    out = []
    for name, *cells in lines:
        right = [cell.rjust(w) for cell, w in zip(cells, widths[1:], strict=True)]
        out.append("  ".join([name.ljust(widths[0]), *right]))
    if len(each) > MOST_LINES:
        out.insert(-1, f"… and {len(each) - MOST_LINES:,} easier ones")
    return out


def words(found: Row) -> list[str]:
    """Return what the figures mean, in sentences, for a person who decides whether this is for them."""
    out = []
    each = _classes(found)
    after = next((t for t in (1, 0.5) if found[f"found_{k_key(t)}"] is not None), None)
    if after is not None:
        key = f"found_{k_key(after)}"
        beside = found["neighbours"]
        cards = "as many cards as" if after == 1 else "half as many cards as"
        line = f"After {cards} there are images of the class, {_percent(found[key])} of them were found"
        others = [f"at random it would be {_percent(found['random'][key])}"]
        if beside and beside[key] is not None:
            others.insert(0, f"looking at neighbours alone finds {_percent(beside[key])}")
        out.append(f"{line}; {', '.join(others)}.")
        is_plain = str(found["encoder"]).startswith("builtin")
        is_ours = found["strategy"] == "recipe" and found["goal"] == "find"  # as the neighbours beside it
        if is_plain and is_ours and beside and beside[key] is not None and found[key] < beside[key] + LITTLE:
            out.append(
                "That is hardly better than neighbours alone: the builtin encoder does not see these classes."
                " Try a larger one, --encoder DIR."
            )
    size = float(np.mean([row["images"] for row in each]))
    for share in (90, 82):
        if (times := found[f"cards_{share}"]) is not None:
            out.append(
                f"To find {share} %, half of the plays took {times:.1f} times as many cards as the class has"
                f" images, or fewer: for {size:,.0f} of them, about {times * size:,.0f} cards."
                f" Looking through all images in any order would take {share * found['images'] // 100:,}."
            )
            missed = found[f"missed_{share}"]
            if missed:
                out.append(
                    f"{_plays(missed)} of {len(found['classes'])} had not got there when the cards ran out."
                )
            break
    else:
        out.append(f"Most plays had not found 82 % when their cards ran out ({found['budget']}).")
    if len(each) > 1 and after is not None:
        worst = each[0]
        out.append(f"The hardest class is {worst['class']}: {_percent(worst[key])} after that many.")
    if said := found["estimate"]:
        out.append(
            f"What it said of how much is found held the truth in {_percent(said['coverage'])} of the"
            " rounds in which it said something; it should be 95 %."
        )
    judged = [k for k in found if k.startswith("ap_") and found[k] is not None]
    if judged:
        chance = float(np.mean([row["images"] / found["images"] for row in each]))
        out.append(
            f"After {judged[-1][3:]} answers, the classifier ranks images that it has never seen with an"
            f" average precision of {found[judged[-1]]:.2f} (1 is perfect; chance is {chance:.2f})."
        )
    out.append(
        f"Between two batches the program thought for {found['round_p50_ms']:.0f} ms"
        f" ({found['round_p95_ms']:.0f} ms in the slowest twentieth)."
    )
    return out


def _classes(found: Row) -> list[Row]:
    """Return a row per class, the means of its plays (of cards the medians), the hardest first."""
    by_class: dict[str, list[Row]] = {}
    for row in found["classes"]:
        by_class.setdefault(row["class"], []).append(row)
    out = []
    for name, plays in by_class.items():
        one: Row = {"class": name, "images": plays[0]["images"]}
        for key in plays[0]:
            values = [row[key] for row in plays]
            if key.startswith("cards_"):
                middle = float(np.median([np.inf if v is None else v for v in values]))
                one[key] = middle if np.isfinite(middle) else None
            elif key.startswith(("found_", "ap_")):
                one[key] = None if None in values else float(np.mean(values))
        out.append(one)
    return sorted(out, key=lambda row: (_or_found(row), row["class"]))


def _or_found(row: Row) -> float:
    known = [row[f"found_{k_key(t)}"] for t in (1, 0.5, 1.5, 2, 3)]
    return next((v for v in known if v is not None), 0.0)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} K"


def _cards(value: float | None, total: int) -> str:
    return "–" if value is None else f"{round(value * total):,}"


def _plays(n: int) -> str:
    return "One play" if n == 1 else f"{n:,} plays"
