"""Tiles: the pictures of items as a browser gets them, small, upright, without metadata."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labeler import reach
from labeler.files import Unreadable, read_file, save_atomic
from labeler.images import content_hash, tile
from labeler.server.desk import READERS, Desk
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

WIDTHS = {"256": 256, "512": 512, "1024": 1024, "full": None}
LARGE = ("1024", "full")  # made from the original
MEMORY_BYTES = 48 << 20
LARGEST_KEPT_BYTES = 1 << 20  # larger ones are made again rather than pushing out many small ones
KEEP = "private, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Made:
    """A tile ready to send."""

    data: bytes
    media_type: str


def tile_url(stamp: str, item: int, width: str = "512") -> str:
    """Return the address of a tile, with the workspace's stamp so that caches can't mix workspaces."""
    return reach.at(f"/tiles/{item}?w={width}&v={stamp}")


class Tiles:
    """The route /tiles/{item}. Keeps the newest tiles in memory: cheaper than a file per request."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._kept: OrderedDict[tuple[int, str], Made] = OrderedDict()
        self._bytes = 0
        self._large = asyncio.Semaphore(READERS // 2)  # decoding originals leaves threads to the others

    async def respond(self, request: "Request") -> "Response":
        """Return a tile, 304 for a browser that has it, or 404 with the reason."""
        from starlette.responses import Response

        text, width = request.path_params["item"], request.query_params.get("w", "512")
        if width not in WIDTHS:
            return _problem(400, f"There is no width {width[:20]!r}.", "Use 256, 512, 1024 or full.")
        if not (text.isascii() and text.isdecimal() and len(text) <= 15):
            return _problem(404, f"There is no item {text[:20]!r}.", "Give an item's number.")
        if request.query_params.get("v", self._desk.stamp) != self._desk.stamp:
            return _problem(
                404, "This address is of other images than the ones served here.", "Reload the page."
            )
        item = int(text)
        etag = f'"{self._desk.stamp}-{item}-{width}"'
        made = self._get((item, width))
        if made is None:
            try:
                made = await self._made(item, width)
            except Unreadable as e:
                return _problem(404, f"Item {item} can't be shown: {e.reason}", "Look at its file.")
            self._keep((item, width), made)
        headers = {"ETag": etag, "Cache-Control": KEEP}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(made.data, media_type=made.media_type, headers=headers)

    async def _made(self, item: int, width: str) -> Made:
        if width in LARGE:
            async with self._large:
                return await self._desk.read(lambda ws: make_tile(ws, item, width))
        return await self._desk.read(lambda ws: make_tile(ws, item, width))

    def _get(self, key: tuple[int, str]) -> Made | None:
        made = self._kept.get(key)
        if made is not None:
            self._kept.move_to_end(key)
        return made

    def _keep(self, key: tuple[int, str], made: Made) -> None:
        if len(made.data) > LARGEST_KEPT_BYTES:
            return
        old = self._kept.pop(key, None)
        self._bytes += len(made.data) - (len(old.data) if old else 0)
        self._kept[key] = made
        while self._bytes > MEMORY_BYTES:
            self._bytes -= len(self._kept.popitem(last=False)[1].data)


def _problem(status: int, error: str, do: str) -> "Response":
    from starlette.responses import JSONResponse

    return JSONResponse({"error": error, "do": do}, status)


def make_tile(ws: Workspace, item: int, width: str) -> Made:
    """Return a tile from the cache, else from the thumbnail or the original, and put it there.

    The path comes from the database, never from a client. Raises Unreadable with the reason.
    """
    px = WIDTHS[width]
    if px is not None:
        try:
            return Made(ws.tile(item, px).read_bytes(), "image/webp")
        except OSError:
            pass  # not made yet
    known = ws.catalog.item(item)
    if known is None:
        raise Unreadable("there is no such item.")
    thumbnail = ws.tile(item, 512)
    source: Path | bytes = thumbnail
    if px != 256 or not thumbnail.exists():
        source = read_file(ws.images / known.path)
        if content_hash(source) != known.hash:
            raise Unreadable("its file has changed since.")
    made = tile(source, px, max_megapixels=ws.config.max_megapixels)
    if px is not None and made.media_type == "image/webp":
        try:
            save_atomic(ws.tile(item, px), made.data)
        except OSError:
            pass  # a full disk: the picture can still be shown
    return Made(made.data, made.media_type)
