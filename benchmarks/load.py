"""Many clients in a process of their own: `python -m benchmarks.load URL`, for api and search_load.

Plain HTTP/1.1 over connections that are kept open, written by hand: an HTTP library would use more of
the processor than the server that it asks. The last line printed is one JSON object.
"""

import argparse
import asyncio
import gc
import json
import random
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

AT = "2026-11-20T12:00:00.000Z"
CARDS = 10  # fetched at a time
NEAREST = 60  # results that the Search page asks for at once
DONE = 200  # a deck names so many of the cards that it has answered when it fetches more


@dataclass
class Tally:
    """What came back: seconds per request of each kind, and how many were refused.

    joining  of answers while clients still come; dry  fetches that brought no card.
    errors   answers of 5xx. acked  with --token: the event ids that the server said were stored.
    given    of each client how many cards it has answered.
    """

    answers: list[float] = field(default_factory=list)
    cards: list[float] = field(default_factory=list)
    tiles: list[float] = field(default_factory=list)
    searches: list[float] = field(default_factory=list)
    joining: list[float] = field(default_factory=list)
    dry: int = 0
    accepted: int = 0
    refused: int = 0
    errors: int = 0
    acked: list[str] = field(default_factory=list)
    given: list[int] = field(default_factory=list)


class Client:
    """One browser: a connection, a cookie, the cards that it holds."""

    def __init__(self, url: str, items: int, session: int | None, tally: Tally, rng: random.Random) -> None:
        self._at, self._items = urlsplit(url), items
        self._session = "" if session is None else f"session={session}"
        self._tally, self._rng = tally, rng
        self.cookie = ""
        self._given = 0
        self._held: list[dict[str, Any]] = []  # Any: JSON
        self._done: deque[int] = deque(maxlen=DONE)

    async def _request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return (status, body) of one request."""
        if not hasattr(self, "_reader"):
            assert self._at.hostname is not None
            self._reader, self._writer = await asyncio.open_connection(self._at.hostname, self._at.port)
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._at.netloc}\r\n{self.cookie}"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + body)
        top = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = 0
        for line in top.split("\r\n")[1:]:
            name, _, value = line.partition(": ")
            if name.lower() == "content-length":
                length = int(value)
            elif name.lower() == "set-cookie":
                self.cookie = f"Cookie: {value.split(';')[0]}\r\n"
        status = int(top[9:12])
        self._tally.errors += status >= 500
        return status, await self._reader.readexactly(length)

    async def join(self, token: str) -> None:
        """Come by a link: a person of one's own, and a cookie."""
        status, _ = await self._request("GET", f"/api/session?token={token}")
        self._tally.refused += status != 200

    async def vote(self) -> None:
        """Answer one card, fetching some more first when none is held; without a card do nothing."""
        if not self._held:
            began = time.perf_counter()
            have = ",".join(map(str, [0, *self._done]))
            _, reply = await self._request("GET", f"/api/cards?n={CARDS}&have={have}&{self._session}")
            self._tally.cards.append(time.perf_counter() - began)
            self._held = json.loads(reply).get("cards", [])
        if not self._held:
            self._tally.dry += 1
            return
        card = self._held.pop(0)
        uid = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        event = {
            "id": uid, "card": card["card"], "item": card["item"], "label": self._rng.choice(("yes", "no")),
            "ms": 500, "at": AT,
        }  # fmt: skip
        body = json.dumps({"events": [event]}).encode()
        began = time.perf_counter()
        status, reply = await self._request("POST", f"/api/labels?{self._session}", body)
        self._tally.answers.append(time.perf_counter() - began)
        self._done.append(card["card"])
        if status == 200 and json.loads(reply)["accepted"] == 1:
            self._tally.acked.append(uid)
            self._given += 1
            self._tally.accepted += 1
        else:
            self._tally.refused += 1

    @property
    def given(self) -> int:
        """Return how many cards this client has answered."""
        return self._given

    async def answer(self, *, joining: bool = False) -> None:
        """Answer one card, fetching some more first when none is held."""
        if not self._held:
            began = time.perf_counter()
            have = ",".join(map(str, [0, *self._done]))
            _, reply = await self._request("GET", f"/api/cards?n={CARDS}&have={have}&{self._session}")
            self._tally.cards.append(time.perf_counter() - began)
            self._held = json.loads(reply)["cards"]
            self._tally.dry += not self._held
        # the pool has run dry, or the others hold the rest: an earlier answer is changed
        card = self._held.pop() if self._held else {"card": None, "item": self._rng.randrange(self._items)}
        event = {
            "id": str(uuid.UUID(int=self._rng.getrandbits(128), version=4)), "card": card["card"],
            "item": card["item"], "label": self._rng.choice(("yes", "no")), "ms": 500, "at": AT,
        }  # fmt: skip
        began = time.perf_counter()
        body = json.dumps({"events": [event]}).encode()
        status, reply = await self._request("POST", f"/api/labels?{self._session}", body)
        took = time.perf_counter() - began
        if card["card"] is not None:
            self._done.append(card["card"])
        (self._tally.joining if joining else self._tally.answers).append(took)
        accepted = json.loads(reply).get("accepted", 0) if status == 200 else 0
        self._tally.accepted += 0 if joining else accepted
        self._tally.refused += 1 - accepted

    async def look(self) -> None:
        """Fetch a tile."""
        began = time.perf_counter()
        status, _ = await self._request("GET", f"/tiles/{self._rng.randrange(self._items)}?w=512")
        self._tally.tiles.append(time.perf_counter() - began)
        self._tally.refused += status != 200

    async def search(self) -> None:
        """Search by an item, by two, or by one and one that is not wanted."""
        like = [self._rng.randrange(self._items) for _ in range(self._rng.choice((1, 1, 2)))]
        unlike = [self._rng.randrange(self._items)] if len(like) == 1 and self._rng.random() < 0.5 else []
        body = json.dumps({"like": like, "unlike": unlike, "k": NEAREST, "about": True}).encode()
        began = time.perf_counter()
        status, reply = await self._request("POST", "/api/search", body)
        self._tally.searches.append(time.perf_counter() - began)
        self._tally.refused += status != 200 or len(json.loads(reply)["results"]) != NEAREST


async def flood(args: argparse.Namespace, tally: Tally) -> float:
    """Let every client work; return for how many seconds. rate 0: as fast as the server allows.

    Clients come at random moments within the time in which one answers the cards of a fetch, so that
    they don't all fetch in the same moment ever after.
    """
    rng = random.Random(args.seed)
    seeds = [random.Random(rng.random()) for _ in range(args.clients)]
    clients = [Client(args.url, args.items, args.session, tally, seed) for seed in seeds]
    pause_s = args.clients / args.rate if args.rate else 0.0
    joined_s = 0.0 if args.tiles or args.search or args.token else CARDS * pause_s
    began = time.perf_counter()
    ends = began + joined_s + args.seconds

    async def work(client: Client, due: float) -> None:
        while due < ends:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if args.token:
                if not client.cookie:
                    await client.join(args.token)
                await client.vote()
            elif args.tiles:
                await client.look()
            elif args.search:
                await client.search()
            else:
                await client.answer(joining=due < began + joined_s)
            # people are no metronomes: who came together would fetch in the same moments ever after
            due = (
                due + pause_s * (rng.uniform(0.5, 1.5) if args.token else 1)
                if pause_s
                else time.perf_counter()
            )

    if args.cookies and args.cookies.exists():
        for client, cookie in zip(clients, json.loads(args.cookies.read_text("utf-8")), strict=True):
            client.cookie = cookie
    await asyncio.gather(*(work(c, began + rng.uniform(0, joined_s or pause_s)) for c in clients))
    if args.cookies:
        args.cookies.write_text(json.dumps([client.cookie for client in clients]), "utf-8")
    tally.given = [client.given for client in clients] if args.token else []
    return time.perf_counter() - began - joined_s


async def _null(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request at once with the same cards and counts: what is left is the load's own time."""
    body = json.dumps({"accepted": 1, "cards": [{"card": i, "item": i} for i in range(CARDS)]}).encode()
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    try:
        while top := await reader.readuntil(b"\r\n\r\n"):
            for line in top.lower().split(b"\r\n"):
                if line.startswith(b"content-length: "):
                    await reader.readexactly(int(line[16:]))
            writer.write(reply)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve_null(port: int) -> None:
    """Serve nothing but "stored" until killed."""
    server = await asyncio.start_server(_null, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


def main() -> None:
    """Make the load and print what came back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of the server; with --null the port to serve nothing on")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second in all; 0: no pause")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--tiles", action="store_true", help="fetch tiles instead of answering")
    parser.add_argument("--search", action="store_true", help="search instead of answering")
    parser.add_argument("--token", default="", help="join by this link, and answer nothing but cards")
    parser.add_argument("--cookies", type=Path, help="with --token: where people are kept between loads")
    parser.add_argument("--items", type=int, default=1000, help="how many items there are")
    parser.add_argument("--session", type=int, help="whose cards; the newest session's without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--null", action="store_true")
    args = parser.parse_args()
    if args.null:
        asyncio.run(serve_null(int(args.url)))
        return
    tally = Tally()
    gc.freeze()
    gc.disable()
    seconds = asyncio.run(flood(args, tally))
    print(json.dumps({"seconds": seconds, **vars(tally)}))


if __name__ == "__main__":
    main()
