"""whole.py: a file that was cut off is known for one, wherever it was cut; a whole one never is."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labeler import whole
from labeler.files import Unreadable
from labeler.images import decode
from labeler.whole import CUT_OFF, why_not_whole


def picture() -> Image.Image:
    y, x = np.mgrid[0:40, 0:60]
    return Image.fromarray(np.stack([x * 4, y * 6, (x + y) * 2], -1).astype(np.uint8))


def encoded(image: Image.Image, fmt: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


FRAMES = [picture(), picture().transpose(0), picture().transpose(1)]
MANY = {"save_all": True, "append_images": FRAMES[1:]}
FILES = {
    "jpeg": encoded(picture(), "JPEG"),
    "jpeg with a thumbnail": encoded(picture(), "JPEG", exif=b"Exif\0\0" + encoded(picture(), "JPEG")),
    "jpeg progressive": encoded(picture(), "JPEG", progressive=True),
    "jpeg cmyk": encoded(picture().convert("CMYK"), "JPEG"),
    "jpeg large": encoded(picture().resize((1600, 1200)), "JPEG"),
    "png": encoded(picture(), "PNG"),
    "png palette": encoded(picture().quantize(16), "PNG"),
    "png 16 bit": encoded(picture().convert("I;16"), "PNG"),
    "png animated": encoded(picture(), "PNG", **MANY),
    "gif": encoded(picture(), "GIF"),
    "gif animated": encoded(picture(), "GIF", **MANY),
    "webp": encoded(picture(), "WEBP"),
    "webp animated": encoded(picture(), "WEBP", **MANY),
    "tiff": encoded(picture(), "TIFF"),
    "tiff big": encoded(picture(), "TIFF", big_tiff=True),
    "tiff lzw": encoded(picture(), "TIFF", compression="tiff_lzw"),
    "tiff float": encoded(picture().convert("F"), "TIFF"),
    "tiff pages": encoded(picture(), "TIFF", **MANY),
    "tiff big pages": encoded(picture(), "TIFF", big_tiff=True, **MANY),
    "tiff lzw pages": encoded(picture(), "TIFF", compression="tiff_lzw", **MANY),
    "bmp": encoded(picture(), "BMP"),
    "avif": encoded(picture(), "AVIF"),
    "avif animated": encoded(picture(), "AVIF", **MANY),
}


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_is_whole(name: str) -> None:
    assert why_not_whole(FILES[name]) is None
    assert why_not_whole(FILES[name] + b"\0\xff junk behind it") is None
    decode(FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_cut_anywhere_is_set_aside(name: str) -> None:
    data = FILES[name]
    while "pages" in name and why_not_whole(data[:-1]) is None:
        data = data[:-1]  # Pillow fills up behind the last page
    assert len(FILES[name]) - len(data) < 16
    ends = range(len(data) - 40, len(data))
    for at in sorted({*range(0, len(data), max(1, len(data) // 60)), *ends}):
        with pytest.raises(Unreadable):
            decode(data[:at])


def test_what_lies_behind_the_picture_of_a_jpeg_is_not_asked_for() -> None:
    data = encoded(picture(), "MPO", **MANY)
    first = data[: data.index(b"\xff\xd9") + 2]
    assert decode(first).width == 60
    assert decode(data[:-5]).width == 60


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.binary(max_size=400), st.integers(0, 2000), st.integers(0, 400))
def test_no_bytes_make_it_fail(name: str, junk: bytes, at: int, drop: int) -> None:
    data = FILES[name]
    for changed in (junk, data[:4] + junk, data[:at] + junk + data[at + drop :]):
        assert why_not_whole(changed) is None or why_not_whole(changed).endswith(".")


# small files that keep a decoder busy -------------------------------------------------------


def many_scans() -> bytes:
    data = encoded(Image.new("L", (6000, 6000)), "JPEG", progressive=True)
    scan, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[scan:end] * 200 + data[end:]


def many_segments() -> bytes:
    data = FILES["jpeg"]
    return data[:2] + b"\xff\xe1\x00\x0aExif\0\0\0\0" * 5000 + data[2:]


def many_chunks() -> bytes:
    chunk = struct.pack(">I4sI", 0, b"abCd", zlib.crc32(b"abCd"))
    return FILES["png"][:33] + chunk * (whole.MOST_CHUNKS + 1) + FILES["png"][33:]


def tiff(*tags: tuple[int, int, int, int], data: bytes = b"", pages: int = 1) -> bytes:
    size = 2 + 12 * len(tags) + 4
    out = b"II*\0" + struct.pack("<I", 8)
    for n in range(pages):
        behind = 8 + size * (n + 1) if n + 1 < pages else 0
        out += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags)
        out += struct.pack("<I", behind)
    return out + data


def many_strips() -> bytes:
    n = whole.MOST_PIECES + 1
    where = 8 + 2 + 12 * 9 + 4
    tags = [
        (256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, n, where), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, n, where),
    ]  # fmt: skip
    return tiff(*tags, data=struct.pack("<I", 8) * n)


@pytest.mark.parametrize("make", [many_scans, many_segments, many_chunks, many_strips])
def test_a_file_made_to_keep_a_reader_busy_is_refused(make) -> None:
    data = make()
    with pytest.raises(Unreadable) as e:
        decode(data)
    assert e.value.reason not in (CUT_OFF, "The image is damaged.")
    assert e.value.reason == why_not_whole(data)


@pytest.mark.parametrize("tag", [256, 257])
@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}])
def test_a_tiff_that_claims_more_pixels_than_it_holds(tag: int, options: dict) -> None:
    data = bytearray(encoded(picture(), "TIFF", strip_size=60 * 3 * 10, **options))
    start, count, size, entry = (16, 8, 20, 12) if options.get("big_tiff") else (8, 2, 12, 8)
    (at,) = struct.unpack_from("<Q" if size == 20 else "<I", data, 8 if size == 20 else 4)
    assert at == start or options
    (tags,) = struct.unpack_from("<H", data, at)
    places = [at + count + i * size for i in range(tags)]
    place = next(p for p in places if struct.unpack_from("<H", data, p)[0] == tag)
    struct.pack_into("<HH", data, place, tag, 4)  # the type may have been short
    struct.pack_into("<I", data, place + entry, 6000)
    with pytest.raises(Unreadable) as e:
        decode(bytes(data))
    if tag == 257:
        assert e.value.reason == "The image claims more pixels than it holds."


@pytest.mark.parametrize("planar", [1, 2])
def test_a_tiff_whose_last_strip_is_short_and_one_in_layers_are_whole(planar: int) -> None:
    strips = 4 * (3 if planar == 2 else 1)
    where = 8 + 2 + 12 * 10 + 4
    tags = [
        (256, 4, 1, 30), (257, 4, 1, 31), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, strips, where), (277, 3, 1, 1 if planar == 1 else 3), (278, 4, 1, 8),
        (279, 4, strips, where + 4 * strips), (284, 3, 1, planar),
    ]  # fmt: skip
    lists = struct.pack(f"<{strips}I", *[where + 8 * strips] * strips) + struct.pack("<I", 240) * strips
    assert why_not_whole(tiff(*tags, data=lists + bytes(240))) is None
    fewer = [t if t[0] != 273 else (273, 4, strips - 1, where) for t in tags]
    assert why_not_whole(tiff(*fewer, data=lists + bytes(240))) == whole.TOO_FEW


def test_pages_that_lead_round_in_a_circle_are_left() -> None:
    data = tiff((256, 4, 1, 64), pages=3)
    looped = data[:-4] + struct.pack("<I", 8)
    assert why_not_whole(looped) is None


def sized(data: bytes, width: int, height: int) -> bytes:
    """Return a JPEG with another size in its header."""
    out = bytearray(data)
    at = next(at for at in (data.find(b"\xff" + bytes([m])) for m in (0xC0, 0xC2)) if at > 0)
    struct.pack_into(">HH", out, at + 5, height, width)
    return bytes(out)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100}])
def test_a_jpeg_that_claims_more_pixels_than_it_holds(options: dict) -> None:
    data = sized(encoded(picture(), "JPEG", **options), 9000, 9000)
    with pytest.raises(Unreadable, match="claims more pixels"):
        decode(data)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"quality": 1}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_the_emptiest_jpeg_holds_its_pixels(mode: str, options: dict) -> None:
    data = encoded(Image.new(mode, (2000, 1500)), "JPEG", **options)
    assert why_not_whole(data) is None


def test_an_ordinary_scan_count_is_fine_at_any_size() -> None:
    head = b"\xff\xd8\xff\xca\x00\x11\x08" + struct.pack(">HH", 14_000, 14_000) + bytes(10)
    scan = b"\xff\xda\x00\x08" + bytes(20)
    assert why_not_whole(head + scan * 14 + b"\xff\xd9") is None
    assert "passes" in why_not_whole(head + scan * 140 + b"\xff\xd9")
