"""How much of a class is found after as many cards as it has images, by an oracle over HTTP.

One flat folder of links with random names, one workspace, one session per class, one reference
image per class, goal find. The oracle is a patient person: it fetches a batch of cards, answers,
and by then the round is learned, as it is for anybody slower than a tenth of a second a card.
"""

import json
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pool import Pool, arguments, open_pool, show
from benchmarks.server import Client, first_cards, running
from labeler.workspace import Workspace


def settle(client: Client, session: int, seen: int) -> int:
    """Wait until the round after `seen` is there and the worker rests; return its number."""
    for _ in range(2000):
        state = client.get(f"/api/session?session={session}")
        if state["round"] > seen and state["worker"] != "learning":
            return int(state["round"])
        time.sleep(0.02)
    return seen


def play(client: Client, is_target: dict[int, bool], reference: Path, *, most: float) -> list[bool]:
    """Return, card by card, whether it showed the target: one session from its first card to `most` × K.

    The reference is in the pool: it is the first card, and a find.
    """
    made = client.post(
        "/api/sessions", {"question": "Is this one of them?", "labels": ["yes", "no"], "goal": "find"}
    )
    session = int(made["id"])
    client.post_image(f"/api/examples?session={session}", reference)
    total = sum(is_target.values())
    shown = [True]
    number = settle(client, session, 0)
    while len(shown) < most * total:
        cards = client.get(f"/api/cards?n=20&session={session}")["cards"]
        if not cards:
            break
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        events = [
            {
                "id": str(uuid.uuid4()), "card": c["card"], "item": c["item"],
                "label": "yes" if is_target[c["item"]] else "no", "ms": 500, "at": now,
            }
            for c in cards
        ]  # fmt: skip
        reply = client.post(f"/api/labels?session={session}", {"events": events})
        assert reply["accepted"] == len(events), reply
        shown += [is_target[c["item"]] for c in cards]
        number = settle(client, session, number)
    return shown


def figures(shown: list[bool], total: int) -> dict[str, Any]:  # Any: JSON
    """Return the share found after K, 1.5 K and 2 K cards, and the cards to 82 % in units of K."""
    found = np.cumsum(shown)

    def share(times: float) -> float:
        at = min(len(found), max(1, round(times * total)))
        return float(found[at - 1] / total)

    reached = np.flatnonzero(found >= 0.82 * total)
    return {
        "images": total,
        "found_1k": share(1),
        "found_1_5k": share(1.5),
        "found_2k": share(2),
        "cards_82": float((reached[0] + 1) / total) if len(reached) else None,
    }


def measure(pool: Pool, seed: int) -> dict[str, Any]:  # Any: JSON
    """Index once, then play every class; return the object that --json prints."""
    folder, truth = pool.folder, pool.truth
    with (
        tempfile.TemporaryDirectory() as fresh,
        running(*pool.options(Path(fresh) / "w"), "--port", "8640") as server,
    ):
        first_card_s = first_cards(server)[0]
    started = time.perf_counter()
    pool.index()
    index_s = time.perf_counter() - started
    ws = Workspace.open(pool.workspace)
    classes = {item: truth[paths[0]] for item, paths in ws.catalog.paths().items()}
    ws.close()
    rng = np.random.default_rng(seed)
    rows = []
    with running(*pool.options(), "--port", "8641") as server:
        client = Client(server.url)
        for name in sorted(set(classes.values())):
            is_target = {item: c == name for item, c in classes.items()}
            members = sorted(p for p, c in truth.items() if c == name)
            started = time.perf_counter()
            shown = play(client, is_target, folder / members[rng.integers(len(members))], most=2)
            row = {"class": name, **figures(shown, sum(is_target.values()))}
            row["wall_s"] = round(time.perf_counter() - started, 1)
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    with running(*pool.options(), "--port", "8642") as server:
        again_s = first_cards(server)[0]
    cards = sorted(r["cards_82"] if r["cards_82"] is not None else np.inf for r in rows)
    means = {k: float(np.mean([r[k] for r in rows])) for k in ("found_1k", "found_1_5k", "found_2k")}
    return {
        **means,
        "median_cards_82": float(np.median(cards)),
        "first_card_s": first_card_s,
        "first_card_again_s": again_s,
        "index_s": index_s,
        "images": len(classes),
        "encoder": Path(pool.encoder).name,
        "classes": rows,
    }


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = arguments(__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the choice of references")
    args = parser.parse_args()
    result = measure(open_pool(args), args.seed)
    if not args.json:
        del result["classes"]
    show(result, as_json=args.json)


if __name__ == "__main__":
    main()
