"""How fast answers are stored and tiles served while the worker embeds and learns.

A real `labeler start` on a workspace that knows seven tenths of the pool, so that it embeds the rest all
the while; 100 clients in a process of their own on the same cores, each with a connection and a cookie, who
fetch ten cards at a time and send one answer to a request.

events_per_s       answers stored durably a second, as fast as 100 clients can, while the worker learns
p99_ms, p50_ms     of answering at 200 answers a second, while it embeds and learns; worst_ms the slowest
joining_p99_ms     the same during the five seconds in which the 100 clients come
load_p99_ms        the same load at the same time of day against a server that does nothing: its own part
cards_p99_ms       of fetching ten cards meanwhile; a few of those who ask wait for a round that is being made
dry                fetches that brought no card
tiles_p99_ms       of tiles at 200 a second, while it embeds; random ones of those taken in so far
rounds             learned meanwhile; embedded  images embedded meanwhile
refused            requests that were not answered with 200
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pool import HOME, Pool, arguments, growing, open_pool, show
from benchmarks.server import Client, Server, first_cards, running

ROOT = HOME.parent.parent


def load(url: str, *options: str) -> dict[str, Any]:  # Any: JSON
    """Return what a process that makes load has measured."""
    command = [sys.executable, "-m", "benchmarks.load", url, *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def own_part(port: int, *options: str) -> dict[str, Any]:  # Any: JSON
    """Return what the same load measures against a server that does nothing."""
    command = [sys.executable, "-m", "benchmarks.load", "--null", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as null:
        assert null.stdout is not None
        null.stdout.readline()
        try:
            return load(f"http://127.0.0.1:{port}", *options)
        finally:
            null.kill()


def ms(seconds: list[float], share: float) -> float:
    """Return a quantile in milliseconds."""
    return float(np.quantile(seconds, share) * 1000)


def measure(pool: Pool, seconds: float) -> dict[str, object]:
    """Return the object that --json prints."""
    grown = growing(pool)
    with tempfile.TemporaryDirectory() as fresh:
        copy = Path(fresh) / "w"
        shutil.copytree(grown.workspace, copy)
        with running(*grown.options(copy), "--port", "8650") as server:
            return flooded(server, seconds)


def flooded(server: Server, seconds: float) -> dict[str, object]:
    """Return what a running server did under four loads, one after the other."""
    first_cards(server)
    client = Client(server.url)
    begun = client.get("/api/session")
    while client.get("/api/session")["embedded"] < begun["embedded"] + 64:  # the encoder is loaded
        time.sleep(0.5)
    before = client.get("/api/session")
    timed = ["--seconds", str(seconds), "--items", str(before["embedded"])]
    null = own_part(8651, *timed)
    paced = load(server.url, *timed, "--seed", "1")
    after = client.get("/api/session")
    tiles = load(server.url, *timed, "--tiles")
    another = ask_again(client, "Is it another one?")  # every image can be asked about once more
    flat_out = load(server.url, "--rate", "0", *timed, "--seed", "2", "--session", str(another))
    still = client.get(f"/api/session?session={another}")
    return {
        "events_per_s": flat_out["accepted"] / flat_out["seconds"],
        "p99_ms": ms(paced["answers"], 0.99),
        "p50_ms": ms(paced["answers"], 0.5),
        "worst_ms": ms(paced["answers"], 1.0),
        "joining_p99_ms": ms(paced["joining"], 0.99),
        "load_p99_ms": ms(null["answers"], 0.99),
        "answers_per_s": paced["accepted"] / paced["seconds"],
        "cards_p99_ms": ms(paced["cards"], 0.99),
        "tiles_p99_ms": ms(tiles["tiles"], 0.99),
        "tiles_p50_ms": ms(tiles["tiles"], 0.5),
        "rounds": after["round"] - before["round"],
        "rounds_flat_out": still["round"],
        "dry": paced["dry"] + flat_out["dry"],
        "embedded": still["embedded"] - before["embedded"],
        "worker": still["worker"],
        "refused": paced["refused"] + tiles["refused"] + flat_out["refused"],
        "cores": os.cpu_count(),
    }


def ask_again(client: Client, question: str) -> int:
    """Start another session over the same images and return its number, once it has cards."""
    number = int(client.post("/api/sessions", {"question": question, "labels": ["yes", "no"]})["id"])
    while client.get(f"/api/session?session={number}")["round"] == 0:
        time.sleep(0.05)
    return number


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the four loads")
    args = parser.parse_args()
    show(measure(open_pool(args), args.seconds), as_json=args.json)


if __name__ == "__main__":
    main()
