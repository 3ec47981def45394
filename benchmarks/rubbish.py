"""Files that people's folders hold by accident or ill will: eighty that can't be used, and odd ones that can.

Made from a seed, by the benchmark `hostile` and by tests/test_hostile.py.
"""

import ctypes
import io
import os
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

CUTS = 20
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
QUARTERS = (RED, GREEN, BLUE, WHITE)  # top left, top right, bottom left, bottom right
GREYS = ((0, 0, 0), (100, 100, 100), (200, 200, 200), WHITE)
NAMES = {  # names that files may have; the longest that Linux takes is 255 bytes
    "newline": "two\nlines.jpg",
    "quotes": 'it\'s "quoted".jpg',
    "script": "<script>alert(1)<%2fscript>.jpg",
    "image tag": "<img src=x onerror=alert(1)>.jpg",
    "right to left": "photo\u202egpj.exe\u2066.jpg",
    "no UTF-8": os.fsdecode(b"caf\xe9-\xff\xfe.jpg"),
    "long": "ä" * 125 + "x.jpg",
    "option": "--help.jpg",
    "formula": "=1+1|cmd.jpg",
    "escape codes": "\x1b[31mred\x1b[2J\x07.jpg",
}


@dataclass(frozen=True, slots=True)
class Hostile:
    """A file that has to be set aside. `why`: a word or two of the reason."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Odd:
    """A file that has to be taken in: its upright size and the colours of its quarters, row by row."""

    name: str
    size: tuple[int, int]
    colours: tuple[tuple[int, int, int], ...]


def obey_permissions() -> bool:
    """Return whether permissions keep out the programs that this process starts.

    Root on Linux loses the right to override permissions with the next program that it runs, for good.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            libc.prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP; fails for others, who don't have it
    with tempfile.NamedTemporaryFile() as f:
        os.chmod(f.name, 0)
        look = [sys.executable, "-c", f"open({f.name!r})"]
        opened = subprocess.run(look, check=False, stderr=subprocess.DEVNULL)
    return opened.returncode != 0


# the eighty --------------------------------------------------------------------------------


def make_hostile(folder: Path, *, can_lock: bool) -> list[Hostile]:
    """Make the eighty in `folder` and return them.

    can_lock  whether taking away permissions keeps this user out; if not, there are two more pipes.
    The two of "growing" grow only while `Growing` runs.
    """
    made = _cut_off() + _other_cuts() + _texts() + _bombs() + _busy() + _other_bytes() + _bad_names()
    for name, data, _ in made:
        (folder / name).write_bytes(data)
    listed = [Hostile(name, why) for name, _, why in made]
    (folder / "hole.tif").touch()
    os.truncate(folder / "hole.tif", 3 << 30)  # takes no space on the disk
    listed.append(Hostile("hole.tif", "3,072 MB"))
    listed += _no_files(folder)
    for name in ("locked1.jpg", "locked2.jpg"):
        if can_lock:
            (folder / name).write_bytes(jpeg(quarters()))
            (folder / name).chmod(0)
            listed.append(Hostile(name, "permission"))
        else:
            os.mkfifo(folder / name)
            listed.append(Hostile(name, "pipe"))
    (folder / "round").symlink_to(".")  # a folder that holds itself: walked once
    return listed


Made = tuple[str, bytes, str]


def _cut_off() -> list[Made]:
    data = jpeg(quarters(400, 300, noisy=True))
    return [
        (f"cut{i:02}.jpg", data[: len(data) * i // (CUTS + 1)], "cut off|damaged|beginning")
        for i in range(1, CUTS + 1)
    ]


def _other_cuts() -> list[Made]:
    image = quarters(120, 90, noisy=True)
    frames = [image.transpose(Image.Transpose(t)) for t in (0, 1, 3)]

    def many(fmt: str) -> bytes:
        return encoded(image, fmt, save_all=True, append_images=frames)

    halves = {
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "half.png": encoded(image, "PNG"),
        "half.webp": encoded(image, "WEBP"),
        "half.tif": encoded(image, "TIFF"),
        "half.bmp": encoded(image, "BMP"),
        "half.avif": encoded(image, "AVIF"),
        "half.gif": encoded(image, "GIF"),
    }
    # the first frame of these is all there
    late = {f"late.{ending}": many(fmt) for ending, fmt in (("gif", "GIF"), ("png", "PNG"), ("tiff", "TIFF"))}
    out = [(name, data[: len(data) // 2], "cut off|damaged|beginning") for name, data in halves.items()]
    out += [(name, data[: len(data) * 4 // 5], "cut off") for name, data in late.items()]
    return [*out, ("two-short.jpg", encoded(image.convert("CMYK"), "JPEG")[:-2], "cut off")]


def _texts() -> list[Made]:
    page = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>gone</body></html>"
    drawing = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    return [
        ("zero.jpg", b"", "empty"),
        ("zero.png", b"", "empty"),
        ("page.jpg", page, "web page"),
        ("drawing.jpg", drawing, "web page"),
        ("drawing.png", b'<?xml version="1.0"?>\n' + drawing, "web page"),
        ("answer.jpg", b'{"error": "rate limit exceeded"}', "no image"),
    ]


def _bombs() -> list[Made]:
    gif = encoded(Image.new("P", (8, 8)), "GIF")
    bmp = struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    claims = tiff(100, 100, offsets=(8,), rows=10)
    return [
        ("bomb.png", _bomb_png(40_000), "40,000 × 40,000"),
        ("bomb-claimed.png", _png(40_000, 40_000, zlib.compress(bytes(1000))), "40,000 × 40,000"),
        ("bomb.gif", gif[:6] + b"\xff\xff\xff\xff" + gif[10:], "65,535 × 65,535"),
        ("bomb.tif", tiff(100_000, 100_000, offsets=(8,), rows=100_000), "100,000 × 100,000"),
        ("lying.tif", tiff(3000, 3000, offsets=(8,), rows=3000), "cut off"),
        ("lying-strips.tif", claims + bytes(1000), "more pixels"),
        ("bomb.bmp", b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + bmp + bytes(99), "60,000 × 60,000"),
        ("bomb.jpg", _jpeg_of_size(65_500, 65_500), "more pixels"),
        ("lying.jpg", _jpeg_of_size(9000, 9000), "more pixels"),
    ]


def _busy() -> list[Made]:
    """Return small files that keep a decoder busy for long, or would fill the memory."""
    slow = encoded(Image.new("L", (6000, 6000)), "JPEG", progressive=True)
    scan, end = slow.rindex(b"\xff\xda"), slow.rindex(b"\xff\xd9")
    plain = jpeg(quarters())
    head = struct.pack("<IiiHHIIiiII", 40, 14_000, 14_000, 1, 8, 1, 0, 0, 0, 256, 0) + bytes(1024)
    return [
        ("scans.jpg", slow[:end] + slow[scan:end] * 400 + slow[end:], "passes"),
        ("segments.jpg", plain[:2] + b"\xff\xe1\x00\x0aExif\0\0\0\0" * 9000 + plain[2:], "parts"),
        ("strips.tif", tiff(64, 64, offsets=(8,) * 400_000, rows=1), "pieces"),
        (
            "runs.bmp",
            b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(head)) + head + b"\0\0" * 14_000 + b"\0\1",
            "at most 16 megapixels",
        ),
    ]


def _other_bytes() -> list[Made]:
    rng = np.random.default_rng(1)
    png = bytearray(encoded(quarters(), "PNG"))
    png[18] ^= 0xFF  # the width: the checksum is wrong now
    plain = jpeg(quarters())
    return [
        ("noise.png", rng.bytes(5000), "no image"),
        ("checksum.png", bytes(png), "damaged|beginning"),
        ("noise.jpg", plain[:200] + rng.bytes(3000) + b"\xff\xd9", "damaged|cut off|beginning|no image"),
        ("archive.jpg", b"PK\x03\x04" + rng.bytes(500), "no image"),
        ("paper.jpg", b"%PDF-1.7\n" + rng.bytes(500), "no image"),
        ("phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + rng.bytes(500), "no image"),
    ]


def _bad_names() -> list[Made]:
    """Return files with names that do harm where they are shown carelessly, and nothing in them."""
    return [("bad-" + name, b"not an image: " + kind.encode(), "no image") for kind, name in _fitting("bad-")]


def _fitting(before: str) -> list[tuple[str, str]]:
    """Return the names, each shortened so that it still fits with `before` in front."""
    most = 255 - len(before)
    out = []
    for kind, name in NAMES.items():
        while len(os.fsencode(name)) > most:
            name = name[1:]
        out.append((kind, name))
    return out


def _no_files(folder: Path) -> list[Hostile]:
    """Make what is no file: pipes, a socket, a device, links to nowhere and in circles."""
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe.png")
    os.mknod(folder / "socket.jpg", stat.S_IFSOCK | 0o644)
    links = {
        "device.jpg": "/dev/zero",
        "dangling.jpg": "nothing.jpg",
        "dangling.png": "no/where/at/all.png",
        "circle.jpg": "circle.jpg",
        "to.jpg": "fro.jpg",
        "fro.jpg": "to.jpg",
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    pipes = [
        Hostile(name, "pipe or a device") for name in ("pipe.jpg", "pipe.png", "socket.jpg", "device.jpg")
    ]
    nowhere = [Hostile(name, "leads nowhere") for name in ("dangling.jpg", "dangling.png")]
    circles = [Hostile(name, "circle") for name in ("circle.jpg", "to.jpg", "fro.jpg")]
    growing = []
    for name in ("growing1.jpg", "growing2.jpg"):
        (folder / name).write_bytes(jpeg(quarters(400, 300, noisy=True))[:2000])
        growing.append(Hostile(name, "still being written|cut off"))
    return pipes + nowhere + circles + growing


class Growing:
    """Lets the growing files grow, a little at a time, from a thread, while the block runs."""

    def __init__(self, folder: Path) -> None:
        self._paths = [folder / "growing1.jpg", folder / "growing2.jpg"]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._grow)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _grow(self) -> None:
        files = [path.open("ab", buffering=0) for path in self._paths]
        while not self._over.wait(0.001):
            for file in files:
                file.write(b"\x55" * 16)
        for file in files:
            file.close()


# odd, and fine -----------------------------------------------------------------------------


def make_odd(folder: Path, *, large: bool) -> list[Odd]:
    """Make odd files that can be used, no two with the same bytes, and return them.

    large  also one of 60 and one of 190 megapixels.
    """
    made: list[tuple[Odd, bytes]] = [*_turned(), *_modes(), *_several(), *_shapes(large=large), *_odd_names()]
    for odd, data in made:
        (folder / odd.name).write_bytes(data)
    return [odd for odd, _ in made]


def _odd(
    name: str,
    data: bytes,
    size: tuple[int, int] = (96, 72),
    colours: tuple[tuple[int, int, int], ...] = QUARTERS,
) -> tuple[Odd, bytes]:
    return Odd(name, size, colours), data


def _turned() -> list[tuple[Odd, bytes]]:
    """Return the quarters as cameras store them that were held in each of the eight ways."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transpose that undoes each
    out = []
    for way in range(1, 9):
        image = quarters() if way == 1 else quarters().transpose(Image.Transpose(back[way]))
        exif = Image.Exif()
        exif[0x0112] = way
        out.append(_odd(f"turned{way}.jpg", encoded(image, "JPEG", exif=exif, quality=95)))
        if way == 6:
            out += [
                _odd(f"turned.{f.lower()}", encoded(image, f, exif=exif))
                for f in ("PNG", "WEBP", "TIFF", "AVIF")
            ]
    return out


def _modes() -> list[tuple[Odd, bytes]]:
    image, wide = quarters(), np.repeat(np.repeat([[0, 100], [200, 255]], 36, 0), 48, 1)
    sixteen = Image.fromarray((wide * 200).astype(np.uint16))
    floating = Image.fromarray((wide / 255 - 0.5).astype(np.float32))
    alpha = np.dstack([np.asarray(image), np.full((72, 96), 255, np.uint8)])
    alpha[30:40, 40:60] = 0
    empty = np.dstack([np.asarray(image), np.zeros((72, 96), np.uint8)])
    return [
        _odd("cmyk.jpg", encoded(image.convert("CMYK"), "JPEG", quality=95)),
        _odd("cmyk.tif", encoded(image.convert("CMYK"), "TIFF")),
        _odd("palette.png", encoded(image.quantize(8), "PNG")),
        _odd("palette.gif", encoded(image, "GIF")),
        _odd("alpha.png", encoded(Image.fromarray(alpha), "PNG")),
        _odd("alpha.webp", encoded(Image.fromarray(alpha), "WEBP", lossless=True)),
        _odd("alpha-unfilled.png", encoded(Image.fromarray(empty), "PNG")),
        _odd("sixteen.png", encoded(sixteen, "PNG"), colours=GREYS),
        _odd("sixteen.tif", encoded(sixteen, "TIFF"), colours=GREYS),
        _odd("float.tif", encoded(floating, "TIFF"), colours=GREYS),
        _odd("lzw.tif", encoded(image, "TIFF", compression="tiff_lzw")),
        _odd("plain.bmp", encoded(image, "BMP")),
        _odd("other-ending.jpg", encoded(quarters(96, 72), "PNG", compress_level=1)),
        _odd("CAPITALS.JPEG", encoded(image, "JPEG", quality=96)),
        _odd("more-behind.jpg", encoded(image, "JPEG", quality=97) + b"\0a film" * 200),
        _odd("more-behind.png", encoded(image, "PNG", compress_level=2) + b"\0" * 99),
    ]  # fmt: skip


def _several() -> list[tuple[Odd, bytes]]:
    """Return pictures of several frames or pages; the first one counts."""
    frames = [quarters().transpose(Image.Transpose(t)) for t in (0, 1, 3)]
    out = [
        _odd(f"moving.{ending}", encoded(quarters(), fmt, save_all=True, append_images=frames))
        for ending, fmt in (
            ("gif", "GIF"),
            ("png", "PNG"),
            ("webp", "WEBP"),
            ("avif", "AVIF"),
            ("jpg", "MPO"),
        )
    ]
    pages = [Image.new("L", (96, 72), i % 256) for i in range(999)]
    return [*out, _odd("pages.tif", encoded(quarters(), "TIFF", save_all=True, append_images=pages))]


def _shapes(*, large: bool) -> list[tuple[Odd, bytes]]:
    one = (RED,) * 4
    out = [
        _odd("dot.png", encoded(Image.new("RGB", (1, 1), RED), "PNG"), (1, 1), one),
        _odd("dot.gif", encoded(Image.new("RGB", (1, 1), BLUE), "GIF"), (1, 1), (BLUE,) * 4),
        _odd("wide.png", encoded(Image.new("RGB", (30_000, 10), RED), "PNG"), (30_000, 10), one),
        _odd("high.jpg", encoded(Image.new("RGB", (10, 30_000), RED), "JPEG"), (10, 30_000), one),
    ]
    if large:
        out.append(_odd("large.png", encoded(quarters(8000, 7500), "PNG", compress_level=1), (8000, 7500)))
        dark = _bomb_png(13_700)
        out.append(_odd("largest.png", dark, (13_700, 13_700), ((0, 0, 0),) * 4))
    return out


def _odd_names() -> list[tuple[Odd, bytes]]:
    more = {
        "decomposed": "Mu\u0308ller.jpg",
        "composed": "Möller.jpg",
        "picture": "🦆.jpg",
        "space": "a  b .jpg",
    }
    return [
        _odd(name, encoded(quarters(), "JPEG", quality=98, comment=kind.encode()))
        for kind, name in (NAMES | more).items()
    ]


# pictures ----------------------------------------------------------------------------------


def quarters(width: int = 96, height: int = 72, *, noisy: bool = False) -> Image.Image:
    """Return a picture of four colours: red, green above blue, white. noisy: with grain."""
    x = np.zeros((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    x[:h, :w], x[:h, w:], x[h:, :w], x[h:, w:] = QUARTERS
    if noisy:
        grain = np.random.default_rng(0).integers(0, 60, x.shape, np.uint8)
        x = np.where(x > 128, x - grain, x + grain)
    return Image.fromarray(x)


def encoded(image: Image.Image, fmt: str, **options: object) -> bytes:
    """Return a picture as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


def jpeg(image: Image.Image) -> bytes:
    """Return a picture as an ordinary JPEG."""
    return encoded(image, "JPEG", quality=90)


def colours_of(image: Image.Image) -> list[tuple[int, int, int]]:
    """Return the colours in the middle of the four quarters of an RGB picture, row by row."""
    x = np.asarray(image.convert("RGB"))
    rows, columns = (x.shape[0] // 4, x.shape[0] * 3 // 4), (x.shape[1] // 4, x.shape[1] * 3 // 4)
    return [(int(r), int(g), int(b)) for row in rows for r, g, b in (x[row, column] for column in columns)]


def _jpeg_of_size(width: int, height: int) -> bytes:
    """Return a small JPEG whose header claims another size."""
    data = bytearray(jpeg(quarters()))
    at = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, at + 5, height, width)
    return bytes(data)


def _png(width: int, height: int, packed: bytes, *, bits: int = 8) -> bytes:
    """Return a grey PNG around compressed lines."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _bomb_png(side: int) -> bytes:
    """Return a whole PNG of side × side black pixels, one bit each, in a few hundred kilobytes."""
    lines = bytes((side // 8 + 2) * 100)
    assert side % 100 == 0
    packer = zlib.compressobj(9)
    length = 1 + -(-side // 8)
    parts = [packer.compress(lines[: length * 100]) for _ in range(side // 100)]
    return _png(side, side, b"".join(parts) + packer.flush(), bits=1)


def tiff(width: int, height: int, *, offsets: tuple[int, ...], rows: int) -> bytes:
    """Return the head of a grey TIFF without compression; its pixels may follow, or not."""
    n, where = len(offsets), 8 + 2 + 12 * 9 + 4
    listed = struct.pack(f"<{n}I", *offsets) if n > 1 else b""
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, n, where if n > 1 else offsets[0]), (277, 3, 1, 1), (278, 4, 1, rows),
        (279, 4, n, where if n > 1 else width * min(rows, height) % 2**32),
    ]  # fmt: skip
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + bytes(4) + listed
