"""images.py: every format and oddity, and nothing that a file holds can do harm."""

import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from labeler import images
from labeler.errors import BadInput
from labeler.files import Unreadable, read_file
from labeler.images import content_hash, decode, thumbnail, tile

GPS = 0x8825


def quarters(width: int = 64, height: int = 48) -> Image.Image:
    """Red top left, green top right, blue bottom left, white bottom right."""
    x = np.zeros((height, width, 3), np.uint8)
    x[: height // 2, : width // 2] = (255, 0, 0)
    x[: height // 2, width // 2 :] = (0, 255, 0)
    x[height // 2 :, : width // 2] = (0, 0, 255)
    x[height // 2 :, width // 2 :] = (255, 255, 255)
    return Image.fromarray(x)


def encoded(image: Image.Image, fmt: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    w, h = image.size
    return [
        image.getpixel(p)
        for p in ((w // 4, h // 4), (3 * w // 4, h // 4), (w // 4, 3 * h // 4), (3 * w // 4, 3 * h // 4))
    ]


def assert_quarters(image: Image.Image, tolerance: int = 40) -> None:
    want = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    for got, colour in zip(corners(image), want, strict=True):
        assert np.abs(np.array(got) - colour).max() <= tolerance, (got, colour)


def reason(data: bytes, **options: int) -> str:
    with pytest.raises(Unreadable) as e:
        decode(data, **options)
    return e.value.reason


# formats -----------------------------------------------------------------------------------

FORMATS = {
    "jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "progressive": ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {"lossless": True}),
    "tiff": ("TIFF", {}),
    "lzw tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "bmp": ("BMP", {}),
    "gif": ("GIF", {}),
    "avif": ("AVIF", {"quality": 95}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read(name: str) -> None:
    fmt, options = FORMATS[name]
    picture = decode(encoded(quarters(), fmt, **options))
    assert picture.image.mode == "RGB"
    assert (picture.width, picture.height) == (64, 48) == picture.image.size
    assert_quarters(picture.image)


@pytest.mark.parametrize(
    "mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr", "LAB", "PA", "I", "F", "I;16", "HSV"]
)
def test_every_mode_becomes_rgb(mode: str) -> None:
    grey = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1)))
    if mode == "LAB":
        image = Image.merge("LAB", [grey, Image.new("L", grey.size, 128), Image.new("L", grey.size, 128)])
    elif mode == "PA":
        image = grey.convert("P").convert("PA")
    else:
        image = grey.convert("RGB").convert("HSV") if mode == "HSV" else grey.convert(mode)
    if mode == "HSV":
        rgb = images._converter(image)(image)  # no format stores it
    elif mode == "PA":
        rgb = images._converter(image)(image)
    else:
        rgb = decode(encoded(image, "TIFF" if mode != "1" else "PNG")).image
    assert rgb.mode == "RGB"
    assert rgb.size == (64, 48)
    row = np.asarray(rgb)[24].mean(1)
    assert row[-8:].mean() > row[:8].mean() + 150


def test_cmyk_jpeg() -> None:
    assert_quarters(decode(encoded(quarters().convert("CMYK"), "JPEG", quality=95)).image, 60)


def test_cmyk_jpeg_as_photoshop_writes_it_inverted() -> None:
    data = encoded(quarters().convert("CMYK"), "JPEG", quality=95)
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    assert b"Adobe" in data or data[:2] == b"\xff\xd8"
    if b"Adobe" not in data:
        data = data[:2] + adobe + data[2:]
    assert decode(data).image.mode == "RGB"


def tiled_tiff() -> bytes:
    """A grey TIFF of 32 × 32 px in four tiles of 16, made by hand: PIL writes strips only."""
    px = np.arange(1024, dtype=np.uint16).reshape(32, 32) // 4
    tiles = [px[y : y + 16, x : x + 16].astype(np.uint8).tobytes() for y in (0, 16) for x in (0, 16)]
    tags = [
        (256, 3, 1, 32), (257, 3, 1, 32), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1),
        (322, 3, 1, 16), (323, 3, 1, 16), (324, 4, 4, 0), (325, 4, 4, 0),
    ]  # fmt: skip
    directory = 8
    arrays = directory + 2 + 12 * len(tags) + 4
    at = arrays + 32
    offsets = struct.pack("<4I", *(at + 256 * i for i in range(4)))
    counts = struct.pack("<4I", *[256] * 4)
    body = b"".join(
        struct.pack("<HHII", t, k, n, {324: arrays, 325: arrays + 16}.get(t, v)) for t, k, n, v in tags
    )
    return (
        b"II*\0"
        + struct.pack("<I", 8)
        + struct.pack("<H", len(tags))
        + body
        + b"\0" * 4
        + offsets
        + counts
        + b"".join(tiles)
    )


def test_a_tiled_tiff() -> None:
    got = np.asarray(decode(tiled_tiff()).image)[..., 0]
    assert np.array_equal(got, np.arange(1024).reshape(32, 32) // 4)


def test_sixteen_bits_are_scaled_by_their_own_range() -> None:
    x = np.linspace(1000, 3000, 64 * 48).reshape(48, 64).astype(np.uint16)
    for data in (encoded(Image.fromarray(x), "TIFF"), encoded(Image.fromarray(x), "PNG")):
        got = np.asarray(decode(data).image)[..., 0]
        assert got.min() == 0
        assert got.max() == 255
        assert np.abs(got - (x - 1000.0) * 255 / 2000).max() < 3


def test_one_hot_pixel_does_not_darken_the_rest() -> None:
    x = np.linspace(0, 100, 200 * 200).reshape(200, 200).astype(np.float32)
    x[7, 7] = 1e9
    assert np.asarray(decode(encoded(Image.fromarray(x), "TIFF")).image).mean() > 100


def test_float_with_nan_and_nothing_else() -> None:
    x = np.full((8, 8), np.nan, np.float32)
    assert np.asarray(decode(encoded(Image.fromarray(x), "TIFF")).image).max() == 0
    x[0, 0], x[1, 1], x[2, 2] = np.inf, -5, 5
    got = np.asarray(decode(encoded(Image.fromarray(x), "TIFF")).image)
    assert (got[1, 1, 0], got[2, 2, 0]) == (0, 255)


def test_the_nodata_value_of_a_geotiff_is_left_out() -> None:
    x = np.linspace(0, 100, 64 * 64).reshape(64, 64).astype(np.float32)
    x[:10] = -9999
    data = encoded(Image.fromarray(x), "TIFF", tiffinfo={42113: "-9999"})
    got = np.asarray(decode(data).image)[..., 0]
    assert got[:10].max() == 0
    assert got[12].mean() < 20
    assert got[-1].mean() > 240


def test_one_value_only_is_black() -> None:
    assert np.asarray(decode(encoded(Image.new("I;16", (9, 9), 777), "PNG")).image).max() == 0


def test_transparent_pixels_show_mid_grey() -> None:
    x = np.zeros((10, 10, 4), np.uint8)
    x[5:] = (255, 0, 0, 255)
    for fmt in ("PNG", "WEBP", "TIFF"):
        got = np.asarray(
            decode(encoded(Image.fromarray(x), fmt, **({"lossless": True} if fmt == "WEBP" else {}))).image
        )
        assert tuple(got[0, 0]) == images.BACKGROUND
        assert tuple(got[9, 9]) == (255, 0, 0)


def test_an_alpha_channel_that_nobody_filled_hides_nothing() -> None:
    x = np.dstack([np.asarray(quarters()), np.zeros((48, 64), np.uint8)])
    assert_quarters(decode(encoded(Image.fromarray(x), "PNG")).image)


def test_transparent_palette_and_colour_key() -> None:
    palette = quarters().quantize(8)
    got = decode(encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))).image
    assert got.getpixel((3, 3)) == images.BACKGROUND
    got = decode(encoded(quarters(), "PNG", transparency=(0, 255, 0))).image
    assert got.getpixel((60, 3)) == images.BACKGROUND
    assert got.getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize("fmt", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_of_several_frames_the_first(fmt: str) -> None:
    frames = [Image.new("RGB", (20, 20), c) for c in ("red", "green", "blue")]
    data = encoded(frames[0], fmt, save_all=True, append_images=frames[1:])
    assert np.abs(np.array(decode(data).image.getpixel((9, 9))) - (255, 0, 0)).max() < 30


def test_a_jpeg_of_several_pictures() -> None:
    data = encoded(quarters(1600, 1200), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    picture = decode(data)
    assert (picture.width, picture.height) == (1600, 1200)
    assert_quarters(picture.image)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (30_000, 10), (10, 30_000)])
def test_odd_shapes(size: tuple[int, int]) -> None:
    picture = decode(encoded(Image.new("RGB", size, "red"), "PNG"))
    assert (picture.width, picture.height) == size
    with Image.open(io.BytesIO(thumbnail(picture.image))) as small:
        assert max(small.size) <= 512
        assert min(small.size) >= 1


# EXIF --------------------------------------------------------------------------------------


def turned(orientation: int) -> Image.Image:
    """The quarters as a camera stores them that was held so that EXIF says `orientation`."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transpose that undoes each
    image = quarters()
    return image if orientation == 1 else image.transpose(Image.Transpose(back[orientation]))


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_upright(fmt: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(encoded(turned(orientation), fmt, exif=exif, quality=95))
    assert_quarters(picture.image)
    assert (picture.width, picture.height) == (64, 48) == picture.image.size


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_small_and_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = turned(orientation).resize((2400, 3200) if orientation == 6 else (3200, 2400))
    picture = decode(encoded(image, "JPEG", exif=exif))
    assert (picture.width, picture.height) == (3200, 2400)
    assert picture.image.size == (800, 600)
    assert_quarters(picture.image)


@pytest.mark.parametrize(
    "bad",
    [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\xff" + b"\x01\x12" * 40],
)
def test_damaged_exif_leaves_the_picture_as_it_is(bad: bytes) -> None:
    assert_quarters(decode(encoded(quarters(), "JPEG", quality=95, exif=bad)).image)


def with_metadata(fmt: str) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "SECRETMAKER"
    exif.get_ifd(GPS)[2] = (52.0, 31.0, 12.0)
    options = {"exif": exif, "icc_profile": b"SECRETICC" * 20}
    if fmt == "JPEG":
        options |= {"comment": b"SECRETCOMMENT", "xmp": b"<x>SECRETXMP</x>"}
    return encoded(quarters(), fmt, **options)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_no_metadata_in_thumbnails_and_tiles(fmt: str) -> None:
    data = with_metadata(fmt)
    made = [thumbnail(decode(data).image), *(tile(data, w).data for w in (256, 512, 1024, None))]
    for small in made:
        assert b"SECRET" not in small
        with Image.open(io.BytesIO(small)) as image:
            assert not dict(image.getexif())
            assert not {"exif", "icc_profile", "xmp", "comment"} & set(image.info)


# thumbnails and tiles ----------------------------------------------------------------------


def test_never_enlarged_and_never_over_the_limit() -> None:
    for size, want in (((100, 60), (100, 60)), ((2000, 1000), (512, 256)), ((1000, 2000), (256, 512))):
        with Image.open(io.BytesIO(thumbnail(Image.new("RGB", size)))) as image:
            assert (image.size, image.format) == (want, "WEBP")


def test_tile_widths(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(quarters(3000, 2000), "PNG"))
    for w, want in ((256, (256, 171)), (512, (512, 341)), (1024, (1024, 683)), (None, (3000, 2000))):
        for source in (path, path.read_bytes()):
            made = tile(source, w)
            with Image.open(io.BytesIO(made.data)) as image:
                assert np.abs(np.array(image.size) - want).max() <= 1
                assert_quarters(image.convert("RGB"))
            assert made.media_type == "image/webp"


def test_a_full_tile_is_at_most_what_webp_holds() -> None:
    made = tile(encoded(Image.new("RGB", (20_000, 10)), "PNG"), None)
    with Image.open(io.BytesIO(made.data)) as image:
        assert image.width == 16_383


def test_strips_give_the_same_as_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 60_000, (301, 97), np.uint16)
    for image in (Image.fromarray(x), Image.fromarray(x.astype(np.uint8)).convert("RGBA")):
        data = encoded(image, "PNG")
        whole = [np.asarray(decode(data, want_px=w).image) for w in (None, 20)]
        with monkeypatch.context() as m:
            m.setattr(images, "_STRIP_PX", 1000 * 16)
            strips = [images._to_rgb(Image.open(io.BytesIO(data)), f) for f in (1, 4)]
        assert np.abs(np.asarray(strips[0]).astype(int) - whole[0]).max() <= 6  # the sample differs a little
        assert strips[1].size == (25, 76)
        assert whole[1].shape[:2] == (76, 25)


def test_the_same_bytes_give_the_same_pixels_in_every_thread() -> None:
    data = encoded(quarters(1300, 900), "JPEG")
    with ThreadPoolExecutor(8) as pool:
        hashes = set(pool.map(lambda _: content_hash(decode(data).image.tobytes()), range(32)))
    assert len(hashes) == 1


def test_content_hash_is_blake2b_128() -> None:
    assert content_hash(b"") == "cae66941d9efbd404e4d88758ea67670"


# what can't be read ------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def test_a_bomb_is_not_decoded() -> None:
    assert reason(png_header(40_000, 40_000)) == (
        "The image has 40,000 × 40,000 pixels; at most 200 megapixels are read."
    )
    assert "at most 1 megapixels" in reason(encoded(Image.new("L", (1200, 1000)), "PNG"), max_megapixels=1)


@pytest.mark.parametrize(
    ("image", "options", "needed"),
    [
        ("RGB", {"format": "WEBP"}, 16),
        ("RGB", {"format": "AVIF"}, 10),
        ("RGB", {"format": "JPEG"}, 1),
        ("RGB", {"format": "JPEG", "progressive": True}, 6),
        ("CMYK", {"format": "JPEG", "progressive": True}, 8),
        ("RGB", {"format": "PNG"}, 4),
        ("I;16", {"format": "PNG"}, 2),
        ("RGB", {"format": "TIFF"}, 4),
        ("RGB", {"format": "TIFF", "compression": "tiff_lzw", "strip_size": 2**30}, 7),
        ("RGB", {"format": "TIFF", "compression": "tiff_lzw", "strip_size": 2**16}, 4),
    ],
)
def test_what_takes_much_memory_has_a_lower_limit(
    image: str, options: dict, needed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(Image.new(image, (1000, 1000)), options.pop("format"), **options)
    decode(data)
    monkeypatch.setattr(images, "MAX_DECODE_BYTES", 4_000_000)
    if needed > 4:
        assert "at most 0 megapixels are read" in reason(data)
    else:
        decode(data)
    monkeypatch.setattr(images, "MAX_DECODE_BYTES", needed * 1_000_000)
    decode(data)


def rle_bmp(side: int) -> bytes:
    """A square of one colour, run-length encoded: the one kind that is decoded in Python."""
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0) + bytes(1024)
    lines = (b"\xff\0" * (side // 255) + bytes([side % 255, 0]) + b"\0\0") * side + b"\0\1"
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(head)) + head + lines


def test_a_slow_decoder_has_a_lower_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decode(rle_bmp(64)).width == 64
    assert "at most 16 megapixels are read" in reason(rle_bmp(4100))


def test_a_lying_size_is_cut_off() -> None:
    assert reason(png_header(4000, 4000)) == "The file is cut off."


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE html><html>",
        b"\n <html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\xef\xbb\xbf<?xml version='1.0'?>",
    ],
)
def test_a_web_page(data: bytes) -> None:
    assert reason(data) == "This is a web page or a drawing in text, not an image."


def test_what_is_no_image() -> None:
    assert reason(b"hello") == "This is no image that can be read, or its beginning is damaged."
    assert reason(b"") == "The file is empty."
    postscript = encoded(quarters(), "EPS")
    assert reason(postscript).startswith("This is no image")  # no format that could start another program


@pytest.mark.parametrize("name", FORMATS)
def test_cut_off_files_are_set_aside(name: str) -> None:
    fmt, options = FORMATS[name]
    rng = np.random.default_rng(0)
    data = encoded(Image.fromarray(rng.integers(0, 256, (80, 120, 3), np.uint8)), fmt, **options)
    for part in range(1, 20):
        assert reason(data[: len(data) * part // 20])


def test_a_thousand_pages_are_not_walked() -> None:
    pages = [Image.new("L", (8, 8), i % 256) for i in range(1000)]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert decode(data).image.getpixel((0, 0)) == (0, 0, 0)


# opening -----------------------------------------------------------------------------------


def test_check_picture_names_the_picture() -> None:
    images.check_picture(encoded(quarters(), "PNG"), name="a.png")
    with pytest.raises(BadInput) as e:
        images.check_picture(b"", name="a.png")
    assert (e.value.error, e.value.do) == ("a.png can't be used: The file is empty.", "Give another picture.")


@pytest.mark.parametrize("large", [True, False])
def test_of_large_files_one_is_read_at_a_time(
    large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(quarters(), "PNG"))
    monkeypatch.setattr(images, "_BIG_FILE_BYTES", 10 if large else 1 << 20)
    entered = threading.Event()

    def other() -> None:
        with images.room_for(path):
            entered.set()

    with images.room_for(path):
        decode(read_file(path))
        thread = threading.Thread(target=other)
        thread.start()
        assert entered.wait(0.2 if large else 60) is not large
    thread.join()
    assert entered.is_set()
    with images.room_for(tmp_path / "gone.png"), images.room_for("a\0b.png"):
        pass


# fuzz --------------------------------------------------------------------------------------

SEEDS = [encoded(quarters(), fmt, **options) for fmt, options in FORMATS.values()] + [
    tiled_tiff(),
    png_header(9, 9),
]


def survives(data: bytes) -> None:
    """Either a picture that can be shown, or a reason; nothing else."""
    why = None
    try:
        picture = decode(data, max_megapixels=4)
    except Unreadable as e:
        why = e.reason
    if why is not None:
        assert why.endswith(".")
        assert len(why) < 200
        return
    assert picture.image.mode == "RGB"
    assert min(picture.width, picture.height) >= 1
    assert thumbnail(picture.image)[:4] == b"RIFF"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000))
@example(b"\xff\xd8\xff")
@example(b"GIF89a\0\0\0\0\0\0\0;")
@example(b"BM" + b"\xff" * 60)
def test_fuzz_random_bytes(data: bytes) -> None:
    survives(data)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
)
def test_fuzz_damaged_files(seed: bytes, keep: float, changes: list[tuple[float, int]]) -> None:
    data = bytearray(seed[: int(keep * len(seed))] if keep < 0.7 else seed)
    for at, value in changes:
        if data:
            data[int(at * (len(data) - 1))] = value
    survives(bytes(data))


EXTREMES = [
    b"\0",
    b"\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\xff\xd8",
    b"\0\1",
]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from(EXTREMES)), max_size=4),
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    st.sampled_from(SEEDS),
)
def test_fuzz_altered_headers_and_doubled_parts(
    seed: bytes, changes: list[tuple[float, bytes]], doubled: tuple[float, float, float], other: bytes
) -> None:
    data = bytearray(seed)
    for at, value in changes:
        place = int(at * min(200, len(data)))  # where headers are
        data[place : place + len(value)] = value
    survives(bytes(data))
    lo, hi, to = (int(part * len(data)) for part in doubled)
    survives(bytes(data[:to] + data[lo:hi] + data[to:]))
    survives(bytes(data[:to] + other[lo:hi] + data[to:]))


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads its memory from Linux")
def test_damaged_files_take_no_more_memory_than_the_limit_allows() -> None:
    code = """
import random
from pathlib import Path
from tests.test_images import SEEDS, EXTREMES, survives

def peak_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM")) / 1024

rng = random.Random(0)
for seed in SEEDS:
    survives(seed)
before = peak_mb()
for i in range(1500):
    data = bytearray(SEEDS[i % len(SEEDS)])
    for _ in range(rng.randint(1, 3)):
        at, value = rng.randrange(min(200, len(data))), rng.choice(EXTREMES)
        data[at : at + len(value)] = value
    survives(bytes(data))
print(peak_mb() - before)
"""
    root = Path(images.__file__).parent.parent
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert float(found.stdout) < 150  # 4 megapixels take 64 MB at most


def test_giants_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_BIG_BYTES", 100)
    running, most = 0, 0
    lock, real = threading.Lock(), images._decode_open

    def counted(image: Image.Image, want_px: int | None) -> images.Picture:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return real(image, want_px)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(images, "_decode_open", counted)
    data = encoded(quarters(600, 600), "PNG")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: decode(data), range(12)))
    assert most == 1
