"""Whether the bytes of an image file are all there, told from the lengths that the file itself gives.

Decoders forgive a missing end once the first picture is complete, and a small file can keep them
busy for minutes (a hundred thousand scans, a million strips). Both are seen here first, in
microseconds for an ordinary file. What is damaged in other ways is left to the decoders.
"""

import struct

CUT_OFF = "The file is cut off."
TOO_FEW = "The image claims more pixels than it holds."
MOST_SEGMENTS = 400  # before the first scan of a JPEG; 64 KB each at most
USUAL_SCANS, MOST_SCANNED = 20, 4_000_000_000  # of a JPEG; scans × pixels: some 3 s
MOST_CHUNKS = 500_000  # of a PNG
MOST_PIECES = 300_000  # strips or tiles of a TIFF
MOST_TAGS = 4096  # of a page of a TIFF
MOST_PAGES = 2000  # of a TIFF that are looked at

# A JPEG's blocks of 64 pixels take at least so many bits: two codes each, or one of the first scan
_LEAST_BITS = {0xC0: 2, 0xC1: 2, 0xC2: 1}
# Tags of a TIFF: the size, the pieces (strips, or tiles of a width) that it is stored in, where they are
_WIDTH, _HEIGHT, _LAYERS, _IN_LAYERS = 256, 257, 277, 284
_ROWS, _TILE_WIDTH, _TILE_HEIGHT = 278, 322, 323
_OFFSETS, _LENGTHS = (273, 324), (279, 325)
_READ = {
    *(_WIDTH, _HEIGHT, _LAYERS, _IN_LAYERS, _ROWS, _TILE_WIDTH, _TILE_HEIGHT, *_OFFSETS, *_LENGTHS),
}


def why_not_whole(data: bytes) -> str | None:
    """Return why the bytes of an image file can't be used as they are, in a sentence; None: they may be.

    Knows JPEG, PNG, GIF and TIFF; of what follows the picture of a JPEG (another picture, a film)
    nothing is asked. Bytes behind the end are nobody's business.
    """
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if data.startswith((b"GIF87a", b"GIF89a")):
            return _gif(data)
        if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
            return _Tiff(data).why_not_whole()
    except (IndexError, OverflowError, struct.error):  # a length or a place beyond the end
        return CUT_OFF
    return None


def _jpeg(data: bytes) -> str | None:
    """Walk the segments before the first scan, then look for the end of the picture."""
    at, pixels, least = 2, 0, 0
    for _ in range(MOST_SEGMENTS):
        at = data.find(b"\xff", at)
        if at < 0:
            return CUT_OFF
        marker = data[at + 1]
        if marker in (0, 0xFF):  # filling
            at += 1
            continue
        if marker == 0xDA:
            return _scans(data, at, pixels=pixels, least=least)
        if marker == 0x01 or 0xD0 <= marker <= 0xD9:  # markers without a length
            at += 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            pixels = width * height
            least = pixels // 64 * _LEAST_BITS.get(marker, 0) // 8
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return f"The image has more than {MOST_SEGMENTS} parts before its first pixel."


def _scans(data: bytes, start: int, *, pixels: int, least: int) -> str | None:
    end = len(data) if data.endswith(b"\xff\xd9") else data.find(b"\xff\xd9", start)
    if end < 0:
        return CUT_OFF
    if end - start < least:
        return TOO_FEW
    scans = data.count(b"\xff\xda", start, end)
    if scans > USUAL_SCANS and scans * pixels > MOST_SCANNED:
        return f"The image is stored in {scans:,} passes, too many for its size."
    return None


def _png(data: bytes) -> str | None:
    at = 8
    for _ in range(MOST_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if at > len(data):
            return CUT_OFF
        if kind == b"IEND":
            return None
    return f"The image has more than {MOST_CHUNKS:,} parts."


def _gif(data: bytes) -> str | None:
    at = 13 + _table(data[10])
    while True:
        kind = data[at]
        at += 1
        if kind == 0x3B:  # the end
            return None
        if kind == 0x21:  # a note
            at = _behind_blocks(data, at + 1)
        elif kind == 0x2C:  # a frame
            at = _behind_blocks(data, at + 9 + _table(data[at + 8]) + 1)


def _table(flags: int) -> int:
    """Return how many bytes a GIF's table of colours takes."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_blocks(data: bytes, at: int) -> int:
    while length := data[at]:
        at += length + 1
    return at + 1


class _Tiff:
    """The pages of a TIFF, with offsets of four bytes or (BigTIFF) eight."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        order = "<" if data[:1] == b"I" else ">"
        if data[2:4] in (b"+\0", b"\0+"):
            self._first, self._number, self._entry, self._at = 8, order + "Q", order + "HHQ8s", order + "Q"
        else:
            self._first, self._number, self._entry, self._at = 4, order + "H", order + "HHI4s", order + "I"
        self._types = {3: order + "H", 4: order + "I", 16: order + "Q"}

    def why_not_whole(self) -> str | None:
        (at,) = struct.unpack_from(self._at, self._data, self._first)
        met: set[int] = set()
        while at and at not in met and len(met) < MOST_PAGES:
            met.add(at)
            (tags,) = struct.unpack_from(self._number, self._data, at)
            if tags > MOST_TAGS:
                return f"A page of the image has {tags:,} notes; at most {MOST_TAGS:,} are read."
            at += struct.calcsize(self._number)
            behind = at + tags * struct.calcsize(self._entry)
            why = self._page(at, tags, is_first=len(met) == 1)
            if why:
                return why
            (at,) = struct.unpack_from(self._at, self._data, behind)
        return None

    def _page(self, at: int, tags: int, *, is_first: bool) -> str | None:
        found: dict[int, int] = {}  # of a list its last number
        pieces = 0
        for i in range(tags):
            tag, kind, count, value = struct.unpack_from(
                self._entry, self._data, at + i * struct.calcsize(self._entry)
            )
            if tag in _OFFSETS:
                pieces = count
            if pieces > MOST_PIECES:
                return f"The image is in {pieces:,} pieces; at most {MOST_PIECES:,} are read."
            if tag in _READ and tag not in found:
                found[tag] = self._last(kind, count, value)
        if 0 < pieces < _needed(found):
            return TOO_FEW
        if is_first:  # here the decoder knows better: some programs give lengths wrongly
            return None
        end = sum(found.get(tag, 0) for tag in (*_OFFSETS, *_LENGTHS))
        return CUT_OFF if end > len(self._data) else None

    def _last(self, kind: int, count: int, value: bytes) -> int:
        """Return the last number of a list, 0 for a list that is none."""
        form = self._types.get(kind)
        if form is None or not count:
            return 0
        size = struct.calcsize(form)
        if count * size <= len(value):
            return int(struct.unpack_from(form, value, (count - 1) * size)[0])
        (where,) = struct.unpack_from(self._at, value)
        return int(struct.unpack_from(form, self._data, where + (count - 1) * size)[0])


def _needed(tags: dict[int, int]) -> int:
    """Return in how many pieces the pixels of a page must be."""
    width, height = tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0)
    across, down = (
        tags.get(_TILE_WIDTH) or width or 1,
        tags.get(_TILE_HEIGHT) or tags.get(_ROWS) or height or 1,
    )
    layers = tags.get(_LAYERS) or 1 if tags.get(_IN_LAYERS) == 2 else 1
    return -(-width // across) * -(-height // down) * layers
