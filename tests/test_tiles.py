import io

import numpy as np
import pytest
from PIL import Image

from labeler.images import content_hash
from labeler.server.tiles import Made, Tiles
from tests.served import is_problem, picture, served, visit


@pytest.fixture
def server(ws, monkeypatch):
    with served(ws, monkeypatch) as (app, desk):
        yield app, desk


@pytest.fixture
def client(server):
    return visit(server[0])


@pytest.fixture
def photo(ws):
    """Item 3, with a file of 1500 x 900 pixels that carries a position and lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 30.0)
    rng = np.random.default_rng(0)
    pixels = np.repeat(np.repeat(rng.integers(0, 255, (90, 150, 3), np.uint8), 10, 0), 10, 1)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", exif=exif)
    (ws.images / "img0003.png").write_bytes(out.getvalue())
    change = "UPDATE items SET hash = ?, width = 900, height = 1500 WHERE id = 3"
    ws.catalog.conn.execute(change, (content_hash(out.getvalue()),))
    return 3


@pytest.mark.parametrize(
    ("w", "size"), [("256", (154, 256)), ("512", (307, 512)), ("1024", (614, 1024)), ("full", (900, 1500))]
)
def test_tiles_are_upright_small_and_without_metadata(client, photo, w, size):
    reply = client.get(f"/tiles/{photo}?w={w}")
    image = Image.open(io.BytesIO(reply.content))
    assert max(abs(a - b) for a, b in zip(image.size, size, strict=True)) <= 1
    assert reply.headers["content-type"] in ("image/webp", "image/jpeg")
    assert not image.getexif()
    assert "exif" not in image.info
    assert "immutable" in reply.headers["cache-control"]
    assert reply.headers["etag"].startswith('"')
    assert "set-cookie" not in reply.headers  # the answer may be kept for good
    again = client.get(f"/tiles/{photo}?w={w}", headers={"if-none-match": reply.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_tiles_are_never_enlarged(client):
    for w in ("256", "512", "1024", "full"):
        assert Image.open(io.BytesIO(client.get(f"/tiles/5?w={w}").content)).size == (24, 16)


def test_tiles_are_made_again_when_the_cache_is_deleted(ws, client, photo):
    first = client.get(f"/tiles/{photo}?w=512").content
    assert ws.tile(photo, 512).read_bytes() == first
    ws.tile(photo, 512).unlink()
    assert client.get(f"/tiles/{photo}?w=512").content == first


def test_the_memory_for_tiles_is_bounded(server, monkeypatch):
    tiles = Tiles(server[1])
    monkeypatch.setattr("labeler.server.tiles.MEMORY_BYTES", 1000)
    for i in range(20):
        tiles._keep((i, "512"), Made(b"x" * 100, "image/webp"))
        tiles._keep((i, "512"), Made(b"x" * 100, "image/webp"))
    assert len(tiles._kept) == 10
    assert tiles._bytes == 1000
    tiles._keep((99, "full"), Made(b"x" * (2 << 20), "image/webp"))
    assert tiles._get((99, "full")) is None


def test_a_picture_that_cannot_be_read_now_says_so(ws, client):
    (ws.images / "img0007.png").unlink()
    (ws.images / "img0008.png").write_bytes(picture((9, 9, 9)))
    for item in (7, 8):
        assert is_problem(client.get(f"/tiles/{item}?w=1024"), 404)
        assert client.get(f"/tiles/{item}?w=1024").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/tiles/..%2f..%2flabeler.db", "/tiles/%2e%2e/%2e%2e/etc/passwd",
        "/tiles/3%00", "/tiles/-1", "/tiles/3.webp", "/tiles/%F0%9D%9F%9B", "/tiles/\u0663", "/tiles/60",
        "/tiles/99999999999999999999", "/tiles/1e2", "/tiles/ 3", "/tiles/", "/tiles/3/4",
        "/tiles/..\\..\\x", "/deck/..%2fapi.py", "/deck/%2e%2e%2fapi.py",
        "/deck/deck.html", "/deck/", "/deck/nothing.js",
    ],
)  # fmt: skip
def test_paths_are_never_taken_from_a_client(client, path):
    reply = client.get(path)
    assert reply.status_code == 404
    assert b"import" not in reply.content


@pytest.mark.parametrize("w", ["0", "-1", "513", "FULL", "", "256%00", "..", "9" * 400])
def test_only_the_widths_there_are(client, w):
    assert is_problem(client.get(f"/tiles/3?w={w}"), 400)


def test_an_address_of_another_workspace_shows_nothing_of_this_one(client):
    assert client.get("/tiles/0?w=256&v=other").status_code == 404
    assert client.get("/tiles/0?w=256").status_code == 200
