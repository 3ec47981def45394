"""Two hundred people who answer at once over HTTP: nothing doubled, nothing lost, nobody without cards.

A real `labeler start --share --votes 3` whose worker embeds and learns meanwhile; the people join by the
link and are in a process of their own on the same cores, each with a connection and a cookie. What they were
told is compared with what the database holds at the end.

votes             --votes auto: to as many people as it takes, instead of three
errors_5xx        answers with a status of 500 or more, at all rates together
doubled           answers beyond those that an image is put to at most, and second answers of one person
lost              answers that were acknowledged and are not in the database
starved           people who got no card within the paced load
p99_ms, p50_ms    of answering at 200 answers a second; worst_ms the slowest
cards_p99_ms      of fetching ten cards meanwhile; dry  fetches that brought none
breaks_at_per_s   the first of the rates tried at which the p99 is over 50 ms, or a tenth of the answers don't
                  come in time; held_per_s the highest before it; at  {rate: p99 in ms}
"""

import os
import re
import shutil
import tempfile
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.api import load, ms
from benchmarks.pool import Pool, arguments, growing, open_pool, show
from benchmarks.server import Server, first_cards, running
from labeler.database import connect

PEOPLE, VOTES, RATE = 200, "3", 200
PORT = 8660
HERE = f"http://127.0.0.1:{PORT}"
RATES = (300, 400, 500, 600, 800, 1000)
LIMIT_MS = 50.0


def measure(pool: Pool, seconds: float, votes: str = VOTES) -> dict[str, object]:
    """Return the object that --json prints."""
    grown = growing(pool)
    with tempfile.TemporaryDirectory() as fresh:
        copy = Path(fresh) / "w"
        shutil.copytree(grown.workspace, copy)
        options = ["--share", "--votes", votes, "--question", "Is it one?", "--port", str(PORT)]
        with running(*grown.options(copy), *options) as server:
            found, acked = crowded(server, seconds, Path(fresh) / "cookies.json")
        return found | compared(copy / "labeler.db", acked) | {"cores": os.cpu_count()}


def crowded(server: Server, seconds: float, cookies: Path) -> tuple[dict[str, object], list[str]]:
    """Return what people measured at growing rates, and every event id that they were told is stored."""
    text = "\n".join(server.lines)
    join, own = re.search(r"join\?token=([\w-]+)", text), re.search(r"/\?token=([\w-]+)", text)
    if join is None or own is None:
        raise RuntimeError(f"no links were printed:\n{text}")
    server.url = HERE  # connections from this machine are not counted as one household's
    first_cards(server, token=own[1])
    with urllib.request.urlopen(
        f"{HERE}/?token={own[1]}", timeout=60
    ) as page:  # the owner's, before anybody comes
        page.read()
    timed = ["--clients", str(PEOPLE), "--token", join[1], "--cookies", str(cookies)]
    paced = load(server.url, "--rate", str(RATE), "--seconds", str(seconds), *timed)
    acked: list[str] = paced["acked"]
    at, errors, held, breaks = {}, paced["errors"], RATE, None
    for seed, rate in enumerate(RATES, 1):
        more = load(
            server.url, "--rate", str(rate), "--seconds", str(seconds / 3), "--seed", str(seed), *timed
        )
        acked += more["acked"]
        errors += more["errors"]
        at[str(rate)] = round(ms(more["answers"], 0.99), 1)
        if at[str(rate)] > LIMIT_MS or more["accepted"] < 0.9 * rate * more["seconds"]:
            breaks = rate
            break
        held = rate
    return {
        "errors_5xx": errors,
        "p99_ms": ms(paced["answers"], 0.99),
        "p50_ms": ms(paced["answers"], 0.5),
        "worst_ms": ms(paced["answers"], 1.0),
        "cards_p99_ms": ms(paced["cards"], 0.99),
        "answers_per_s": paced["accepted"] / paced["seconds"],
        "starved": sum(n == 0 for n in paced["given"]),
        "dry": paced["dry"],
        "refused": paced["refused"],
        "breaks_at_per_s": breaks,
        "held_per_s": held,
        "at": at,
        "answers": len(acked),
    }, acked


def compared(database: Path, acked: list[str]) -> dict[str, Any]:  # Any: JSON
    """Return what of the answers is not in the database, or there too often."""
    with closing(connect(database)) as conn:
        stored = {uid for (uid,) in conn.execute("SELECT id FROM events")}
        twice = conn.execute(
            "SELECT count(*) FROM (SELECT 1 FROM events GROUP BY session, item, person HAVING count(*) > 1)"
        ).fetchone()[0]
        beyond = conn.execute(
            """SELECT coalesce(sum(n - votes), 0) FROM (SELECT count(DISTINCT person) n, s.votes
               FROM events e JOIN sessions s ON s.id = e.session GROUP BY e.session, e.item)
               WHERE n > votes"""
        ).fetchone()[0]
        done = conn.execute("SELECT count(*) FROM tallies WHERE is_done").fetchone()[0]
        rounds = conn.execute("SELECT count(*) FROM rounds").fetchone()[0]
    return {"lost": len(set(acked) - stored), "doubled": twice + beyond, "rounds": rounds, "done": done}


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of the paced load")
    parser.add_argument("--votes", choices=("3", "auto"), default=VOTES, help="people for each image")
    args = parser.parse_args()
    show(measure(open_pool(args), args.seconds, args.votes), as_json=args.json)


if __name__ == "__main__":
    main()
