"""From the bytes of a file to an upright RGB picture, its thumbnail and its tiles.

Files come from anywhere, so nothing here trusts them: what can't be read raises Unreadable
with a reason that a person understands. Everything may run in several threads at once.
"""

import io
import logging
import math
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from labeler.errors import BadInput
from labeler.files import Unreadable, read_file
from labeler.whole import why_not_whole

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif"}
)
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
THUMB_PX = 512  # the longer side of a thumbnail, and the shorter side that a picture is reduced to
MAX_DECODE_BYTES = 1_000_000_000  # the most memory that decoding one image may take
BACKGROUND = (128, 128, 128)  # behind transparent pixels: neither dark nor light drawings vanish on it

_STRIP_PX = 4_000_000  # pixels converted at once, and the most that a reduced picture has
_FULL_PX = 64_000_000  # the most pixels of a full tile
_WEBP_SIDE_PX = 16_383
_BIG_BYTES = 120_000_000  # from here on one at a time, so that a few giants don't fill the memory
_BIG_FILE_BYTES = 64 * 2**20
_BIG = threading.RLock()
_NARROW = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}  # bytes a pixel; else 4
_SLOW_MEGAPIXELS = 16  # of a kind whose decoder is written in Python: some 2 s
_PIL = r"PIL\."  # the modules whose warnings are not shown
_WIDE = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # modes with more than 8 bits per pixel
_NODATA_TAG = 42113  # GDAL writes the value that means "nothing here" into this TIFF tag
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (_UPRIGHT[5], _UPRIGHT[6], _UPRIGHT[7], _UPRIGHT[8])


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image: RGB, upright, perhaps reduced; and the upright size of the original."""

    image: Image.Image
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Tile:
    """An encoded image without metadata, and its media type."""

    data: bytes
    media_type: str


def room_for(path: Path | str) -> AbstractContextManager[object]:
    """Return a context to read and decode a file in: of large files, one at a time in this process."""
    try:
        return _BIG if os.stat(path).st_size > _BIG_FILE_BYTES else nullcontext()
    except (OSError, ValueError):
        return nullcontext()  # read_file says why


def content_hash(data: bytes) -> str:
    """Return the name of a content: equal bytes, equal name (BLAKE2b, 128 bits, as hex)."""
    return blake2b(data, digest_size=16).hexdigest()


def decode(
    data: bytes,
    *,
    want_px: int | None = THUMB_PX,
    max_megapixels: int = 200,
    core: AbstractContextManager[object] | None = None,
) -> Picture:
    """Return the picture in the bytes of an image file: its first frame or page, RGB, upright.

    want_px  the picture may be reduced, but its shorter side not below this, unless it has over
             4 megapixels then; None: not reduced (up to 64 megapixels). How much never depends
             on anything else, so the same bytes always give the same pixels.
    core     entered while the pixels are decoded, after a giant has got its turn: who holds a core never
             waits for that.

    More than 8 bits (grey) are scaled to 8 by the range of the image's own values.
    Transparent pixels show a mid grey behind. Colour profiles are not applied.
    Raises Unreadable with the reason, also for a file that was cut off behind its first frame or
    page. Time and memory grow with the size in the header, which is checked first; formats that
    take much memory a pixel have a lower limit than max_megapixels.
    """
    if not data:
        raise Unreadable("The file is empty.")
    why = why_not_whole(data)
    if why is not None:
        raise Unreadable(why)
    _hush()
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            needed = _bytes_a_pixel(image, want_px)
            most = min(max_megapixels, _most_megapixels(image, needed))
            if image.width * image.height > most * 1_000_000:
                raise Unreadable(
                    f"The image has {image.width:,} × {image.height:,} pixels; "
                    f"at most {most} megapixels are read."
                )
            is_giant = image.width * image.height * needed > _BIG_BYTES
            with _BIG if is_giant else nullcontext(), core or nullcontext():
                return _decode_open(image, want_px)
    except Unreadable:
        raise
    except Exception as e:  # damaged bytes make the decoders raise nearly anything, none of it a bug of ours
        raise Unreadable(_why_not_decoded(e, data)) from e


def decode_known(
    path: Path | str, content: str, *, want_px: int | None = THUMB_PX, max_megapixels: int = 200
) -> Picture:
    """Return the picture in a file that held this content when it was hashed, as `decode` does.

    Raises Unreadable with the reason, also where the file holds something else by now.
    """
    with room_for(path):
        data = read_file(path)
        if content_hash(data) != content:
            raise Unreadable("its file has changed since.")
        return decode(data, want_px=want_px, max_megapixels=max_megapixels)


def check_picture(data: bytes, *, name: str, max_megapixels: int = 200) -> None:
    """Raise BadInput, naming the picture, when it can't be read."""
    try:
        decode(data, max_megapixels=max_megapixels)
    except Unreadable as e:
        raise BadInput(f"{name} can't be used: {e.reason}", "Give another picture.") from e


def _decode_open(image: Image.Image, want_px: int | None) -> Picture:
    size = image.size
    if want_px is not None:
        image.draft(None, (want_px, want_px))
    image.load()
    if image.format not in ("JPEG", "MPO"):  # draft changed these; TIFF turns itself upright when loaded
        size = image.size
    if want_px is None:
        factor = math.ceil(math.sqrt(image.width * image.height / _FULL_PX))
    else:
        factor = max(min(image.size) // want_px, math.ceil(math.sqrt(image.width * image.height / _STRIP_PX)))
    out = _to_rgb(image, max(1, factor))
    turn = _UPRIGHT.get(_orientation(image))
    if turn is not None:
        out = out.transpose(turn)
    if turn in _SIDEWAYS:
        size = size[1], size[0]
    out.info = {}  # nothing of the file's metadata goes on from here
    return Picture(out, *size)


def _bytes_a_pixel(image: Image.Image, want_px: int | None) -> int:
    """Return how much memory decoding takes, as measured."""
    pixel = _NARROW.get(image.mode, 4)
    if image.format in ("WEBP", "AVIF"):
        return 16 if image.format == "WEBP" else 10
    if image.format in ("JPEG", "MPO"):
        kept = 2 * len(image.getbands()) if image.info.get("progressive") else 0  # of each coefficient
        return max(1, kept + (pixel if want_px is None else 0))
    return pixel + (_bytes_in_strip(image) if image.format == "TIFF" else 0)


def _bytes_in_strip(image: Image.Image) -> int:
    """Return what a TIFF takes more, a pixel, because it is compressed in one piece (or a few)."""
    tags = getattr(image, "tag_v2", {})
    width, height = tags.get(322, image.width), tags.get(323, tags.get(278, image.height))
    bits = tags.get(258, (8,))
    if tags.get(259, 1) == 1 or width * height * 4 < image.width * image.height:
        return 0
    return int(tags.get(277, 1) * (max(bits) if isinstance(bits, tuple) else bits) + 7) // 8


def _most_megapixels(image: Image.Image, needed: int) -> int:
    most = MAX_DECODE_BYTES // needed // 1_000_000
    tiles = getattr(image, "tile", ())
    return min(most, _SLOW_MEGAPIXELS) if tiles and tiles[0][0] == "bmp_rle" else most


def _orientation(image: Image.Image) -> int:
    """Return how the image has to be turned by EXIF, 1 (not at all) when that can't be read."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # EXIF is as damaged as files are; the pixels are good
        return 1


def _to_rgb(image: Image.Image, factor: int) -> Image.Image:
    """Return a loaded image as RGB, `factor` times smaller, strip by strip to save memory."""
    convert = _converter(image)
    width, height = image.size
    step = max(1, _STRIP_PX // (width * factor)) * factor
    if step >= height:
        whole = convert(image)
        return whole.reduce(factor) if factor > 1 else whole
    out = Image.new("RGB", (math.ceil(width / factor), math.ceil(height / factor)))
    for top in range(0, height, step):
        strip = convert(image.crop((0, top, width, min(top + step, height))))
        out.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
    return out


def _converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Return a function that turns any strip of a loaded image into RGB."""
    if image.mode in _WIDE:
        return _wide_converter(image)
    if image.mode == "LAB":
        return lambda strip: strip.getchannel(0).convert("RGB")
    if not image.has_transparency_data:
        return lambda strip: strip.convert("RGB")
    if image.mode in ("RGBA", "LA"):
        seen = image.getextrema()[-1]
        if seen in ((0, 0), (255, 255)):  # an alpha channel that nobody filled hides everything
            return lambda strip: strip.convert("RGBA").convert("RGB")
    return _over_background


def _over_background(strip: Image.Image) -> Image.Image:
    strip = strip.convert("RGBA")
    behind = Image.new("RGBA", strip.size, (*BACKGROUND, 255))
    return Image.alpha_composite(behind, strip).convert("RGB")


def _wide_converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Return a function that scales strips of a 16 bit, 32 bit or float image to 8 bits.

    The range runs from the 0.1th to the 99.9th percentile of a sample of its finite values, so
    that one hot pixel does not darken the rest. One value only: black.
    """
    nodata = _nodata(image)

    def values(strip: Image.Image) -> tuple[np.ndarray, np.ndarray]:
        x = np.asarray(strip).astype(np.float32)
        known = np.isfinite(x)
        return x, known if nodata is None else known & (x != nodata)

    width, height = image.size
    rows = max(1, _STRIP_PX // width)
    every = max(1, math.isqrt(width * height // 1_000_000))
    sample = []
    for top in range(0, height, rows):
        x, known = values(image.crop((0, top, width, min(top + rows, height))))
        sample.append(x[::every, ::every][known[::every, ::every]])
    found = np.concatenate(sample)
    lo, hi = np.percentile(found, (0.1, 99.9)) if len(found) else (0.0, 0.0)
    if hi <= lo and len(found):
        lo, hi = found.min(), found.max()

    def convert(strip: Image.Image) -> Image.Image:
        x, known = values(strip)
        x = np.where(known, x, lo)
        grey = np.clip((x - lo) * (255 / (hi - lo)), 0, 255) if hi > lo else np.zeros_like(x)
        return Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")

    return convert


def _nodata(image: Image.Image) -> float | None:
    """Return the value that stands for "no measurement" in a GeoTIFF, if it says so."""
    tags = getattr(image, "tag_v2", None)
    try:
        return None if tags is None else np.float32(str(tags[_NODATA_TAG]).strip("\0 ")).item()
    except (KeyError, ValueError):
        return None


def _why_not_decoded(e: Exception, data: bytes) -> str:
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html", b"<svg", b"<?xml", b"<!--", b"<head", b"<body")):
        return "This is a web page or a drawing in text, not an image."
    if isinstance(e, UnidentifiedImageError):
        return "This is no image that can be read, or its beginning is damaged."
    if isinstance(e, MemoryError):
        return "There is not enough memory for this image."
    cut_off = any(word in str(e).lower() for word in ("truncated", "not enough", "unexpected end"))
    if cut_off or isinstance(e, EOFError):
        return "The file is cut off."
    return "The image is damaged."


def _hush() -> None:
    """Keep PIL from warning: what it warns of (odd EXIF, large images) is dealt with here.

    Looked at each time, because others (tests) reset the filters; a filter is safe between
    threads where catch_warnings is not.
    """
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = None
        logging.getLogger("PIL").setLevel(logging.CRITICAL)
    first = warnings.filters[0] if warnings.filters else None
    if first is None or first[0] != "ignore" or getattr(first[3], "pattern", first[3]) != _PIL:
        warnings.filterwarnings("ignore", module=_PIL)


def wants_thumbnail(picture: Picture) -> bool:
    """Return whether a thumbnail is smaller than the original: else tiles are made of that when asked for."""
    return max(picture.width, picture.height) > THUMB_PX


def thumbnail(image: Image.Image, px: int = THUMB_PX) -> bytes:
    """Return an RGB image as WebP, its longer side at most `px`, never enlarged, without metadata."""
    return _encode(_fit(image, px), quality=80).data


def _fit(image: Image.Image, px: int) -> Image.Image:
    if max(image.size) <= px:
        return image
    small = image.copy()
    small.thumbnail((px, px), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return small


def _encode(image: Image.Image, quality: int) -> Tile:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=quality, method=0)
    return Tile(out.getvalue(), "image/webp")


def tile(source: Path | bytes, w: int | None, *, max_megapixels: int = 200) -> Tile:
    """Return an image file at width class `w` (longer side at most `w`, never enlarged; None: full size).

    source  a file, or the bytes of one. Raises Unreadable.
    """
    with nullcontext() if isinstance(source, bytes) else room_for(source):
        data = source if isinstance(source, bytes) else read_file(source)
        picture = decode(data, want_px=w, max_megapixels=max_megapixels)
    return _encode(_fit(picture.image, w or _WEBP_SIDE_PX), quality=80 if w else 90)
