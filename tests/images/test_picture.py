"""Pictures of cameras, checked against how they were made, against PIL, and against OpenCV."""

import io
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from factory.images.budget import MAX_PICTURE_PX
from factory.images.jpeg import jpeg_size
from factory.images.picture import is_turned, picture_size, read_picture
from factory.images.png import UndecodableError
from support.pictures import encoded, png_chunk, png_with

Y, X = np.mgrid[:48, :64]
RGB = np.stack((4 * X, 5 * Y, (X * Y) // 13), axis=2).astype(np.uint8)
GREY = RGB[:, :, 0] // 2 + RGB[:, :, 1] // 2
LOSSLESS = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "BMP": {},
    "PPM": {},
    "JPEG2000": {},
}


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """The chunk right behind the header."""
    return png[:33] + png_chunk(kind, content) + png[33:]


def png16(values: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", values.astype(np.uint16))[1])


@pytest.mark.parametrize("kind", LOSSLESS)
def test_grey_and_colour_come_through_unchanged(kind: str) -> None:
    colour, grey = (encoded(pixels, kind, **LOSSLESS[kind]) for pixels in (RGB, GREY))
    assert np.array_equal(read_picture(colour, colour=True), RGB)
    assert np.array_equal(read_picture(colour, colour=None), RGB)
    assert np.array_equal(read_picture(grey), GREY)
    assert np.array_equal(read_picture(grey, colour=True), np.dstack([GREY] * 3))
    weighted = RGB @ np.array((0.299, 0.587, 0.114))
    assert np.abs(read_picture(colour) - weighted).max() < 1.5
    assert picture_size(colour) == picture_size(grey) == (48, 64)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("colour", [False, True])
def test_a_jpeg_is_read_as_opencv_reads_it(mode: str, orientation: int, colour: bool) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    raw = encoded(Image.fromarray(RGB).convert(mode), "JPEG", exif=exif)
    expected = cv2.imdecode(np.frombuffer(raw, np.uint8), 1 if colour else 0)
    if colour:
        expected = expected[:, :, ::-1]
    assert np.array_equal(read_picture(raw, colour=colour), expected)
    assert read_picture(raw, upright=False).shape == (48, 64)


def with_exif(content: bytes) -> bytes:
    """A JPEG that lies on its side where its EXIF data says so."""
    raw = encoded(Image.fromarray(RGB), "JPEG", quality=95)
    segment = b"Exif\0\0" + content
    return raw[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + raw[2:]


HEAD = b"II*\0\x08\0\0\0"
TURNED = b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
NO_NEXT = bytes(4)
FAR_MAKER = b"\x0f\x01\x02\0\xff\0\0\0\xff\xff\0\0"
"""the name of the camera's maker, at a place behind the end of the data"""


@pytest.mark.parametrize(
    ("content", "turned_by"),
    [
        (HEAD + b"\x01\0" + TURNED + NO_NEXT, "both"),
        (HEAD + b"\x01\0" + TURNED[:-2], "OpenCV"),
        (HEAD + b"\x02\0" + FAR_MAKER + TURNED + NO_NEXT, "Pillow"),
        (HEAD + b"\0\0" + NO_NEXT, "none"),
        (HEAD[:6], "none"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # Pillow's, of damaged EXIF data
def test_exif_data_that_readers_understand_differently_is_refused(content, turned_by) -> None:
    raw = with_exif(content)
    assert is_turned(raw) == (turned_by != "none")
    assert read_picture(raw, upright=False).shape == (48, 64)
    if turned_by in ("both", "none"):
        assert read_picture(raw).shape == ((64, 48) if turned_by == "both" else (48, 64))
        return
    with pytest.raises(UndecodableError, match="EXIF data is damaged"):
        read_picture(raw)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "PNG"])
def test_pictures_of_other_kinds_are_turned_as_pillow_turns_them(kind, orientation) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    raw = encoded(Image.fromarray(RGB), kind, exif=exif, **options)
    assert is_turned(raw) == (orientation != 1)
    with Image.open(io.BytesIO(raw)) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(read_picture(raw, colour=True), expected)


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA"])
def test_other_pngs_are_read_as_opencv_reads_them(mode: str) -> None:
    raw = encoded(Image.fromarray(RGB).convert("RGB" if mode == "P" else mode), "PNG")
    if mode == "P":
        raw = encoded(Image.fromarray(RGB).quantize(16), "PNG", bits=4)
    expected = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(read_picture(raw), expected)


def interlaced(pixels: np.ndarray) -> bytes:
    """An Adam7 PNG of grey pixels, pass by pass."""
    steps = ((0, 0, 8), (0, 4, 8), (4, 0, 8), (0, 2, 4), (2, 0, 4), (0, 1, 2), (1, 0, 2))
    across = (8, 8, 4, 4, 2, 2, 1)
    lines = b"".join(
        b"\0" + line.tobytes()
        for (y, x, down), step in zip(steps, across, strict=True)
        for line in pixels[y::down, x::step]
        if line.size
    )
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
    return png_with(header, zlib.compress(lines))


@pytest.mark.parametrize("shape", [(48, 64), (1, 1), (3, 2), (5, 9), (1, 5), (7, 1)])
def test_an_interlaced_png_is_read(shape) -> None:
    assert np.array_equal(
        read_picture(interlaced(GREY[: shape[0], : shape[1]])), GREY[: shape[0], : shape[1]]
    )


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PGM", "JPEG2000"])
def test_a_camera_of_more_bits_keeps_its_grey_levels(bits: int, kind: str) -> None:
    values = GREY.astype(np.uint16) << (bits - 8)
    values[0, 0] = (1 << bits) - 1
    if kind == "PGM":
        raw = b"P5\n# a camera\n64 48\n%d\n" % ((1 << bits) - 1) + values.astype(">u2").tobytes()
    else:
        raw = encoded(values, kind)
    expected = GREY.copy()
    expected[0, 0] = 255
    assert np.array_equal(read_picture(raw), expected)


def test_a_colour_camera_of_12_bits_keeps_its_levels() -> None:
    raw = bytes(cv2.imencode(".png", RGB[:, :, ::-1].astype(np.uint16) << 4)[1])
    assert np.array_equal(read_picture(raw, colour=True), RGB)


def test_the_depth_that_a_png_names_is_believed() -> None:
    dark = png16(GREY.astype(np.uint16) << 2)
    named = with_chunk(dark, b"sBIT", b"\x0c")
    assert np.array_equal(read_picture(dark), GREY)
    assert np.array_equal(read_picture(named), GREY >> 2), "12 bits, of which 10 are used"
    scaled_up = with_chunk(png16(GREY.astype(np.uint16) << 8), b"sBIT", b"\x0c")
    assert np.array_equal(read_picture(scaled_up), GREY), "as PNG's specification asks for"
    full = b"P5 64 48 4095\n" + (GREY.astype(np.uint16) << 2).byteswap().tobytes()
    assert np.array_equal(read_picture(full), GREY >> 2)


def test_the_depth_of_the_camera_is_believed_where_the_file_names_none() -> None:
    for dark in (GREY.astype(np.uint16) << 2, GREY.astype(np.uint16) >> 1):
        assert np.array_equal(read_picture(png16(dark), camera_bits=12), dark >> 4)
    named = with_chunk(png16(GREY.astype(np.uint16) << 2), b"sBIT", b"\x0a")
    assert np.array_equal(read_picture(named, camera_bits=12), GREY)
    assert np.array_equal(read_picture(encoded(GREY, "PNG"), camera_bits=12), GREY)
    with pytest.raises(UndecodableError, match=r"more than a camera of 10 bits .*depth_bits"):
        read_picture(png16(GREY.astype(np.uint16) << 4), camera_bits=10)


def test_a_depth_that_cannot_be_told_is_refused() -> None:
    with pytest.raises(UndecodableError, match=r"none is above \d+, .* depth is not known"):
        read_picture(png16(GREY))
    assert np.array_equal(read_picture(with_chunk(png16(GREY), b"sBIT", b"\x08")), GREY)


@pytest.mark.parametrize(
    "trailer",
    [b"SEFT" + bytes(range(200)), bytes(4096), b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 200],
)
def test_bytes_behind_the_end_are_something_else(trailer: bytes) -> None:
    for raw in (encoded(RGB, "JPEG"), encoded(RGB, "JPEG", progressive=True), encoded(RGB, "PNG")):
        assert np.array_equal(read_picture(raw + trailer), read_picture(raw))
        assert np.array_equal(read_picture(raw + raw), read_picture(raw))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_that_ends_early_is_refused_whatever_follows(progressive: bool, mode: str) -> None:
    raw = encoded(Image.fromarray(RGB).convert(mode), "JPEG", progressive=progressive)
    exif = Image.Exif()
    exif[0x112] = 6
    turned = encoded(Image.fromarray(RGB).convert(mode), "JPEG", progressive=progressive, exif=exif)
    for complete in (raw, turned):
        for length in range(len(complete) * 2 // 3, len(complete) - 2, 97):
            for end in (b"", b"\xff\xd9", raw):
                with pytest.raises(UndecodableError):
                    read_picture(complete[:length] + end)


@pytest.mark.parametrize("kind", [*LOSSLESS, "GIF"])
def test_a_file_that_ends_early_is_refused(kind: str) -> None:
    raw = encoded(RGB, kind, **LOSSLESS.get(kind, {}))
    for length in (*range(0, len(raw) - 2, 211), len(raw) - 2):
        with pytest.raises(UndecodableError):
            read_picture(raw[:length])


def test_a_changed_byte_of_a_png_is_found() -> None:
    raw = encoded(RGB, "PNG")
    for position in range(0, len(raw), 7):
        changed = bytearray(raw)
        changed[position] ^= 0x10
        with pytest.raises(UndecodableError):
            read_picture(bytes(changed))


def several(kind: str) -> bytes:
    frames = [Image.fromarray(np.roll(RGB, shift, 1)) for shift in (0, 9, 20)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "GIF", "PNG"])
def test_a_file_of_several_pictures_is_refused(kind: str) -> None:
    with pytest.raises(UndecodableError, match="save each of them as a file of its own"):
        read_picture(several(kind))


def bomb_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return png_with(header, zlib.compress(bytes(100_000_000), 1))


def claiming(raw: bytes, at: int, size: bytes) -> bytes:
    return raw[:at] + size + raw[at + len(size) :]


def enormous(kind: str) -> bytes:
    """A small file that says to have some 10^9 pixels, or as many as its kind can say."""
    raw = encoded(RGB, kind)
    match kind:
        case "PNG":
            return bomb_png(30_000, 30_000)
        case "JPEG":
            return claiming(raw, raw.index(b"\xff\xc0") + 5, (65_000).to_bytes(2) * 2)
        case "BMP":
            return claiming(raw, 18, (30_000).to_bytes(4, "little") * 2)
        case "PPM":
            return raw.replace(b"64 48", b"30000 30000", 1)
        case "GIF":
            return claiming(raw, 6, b"\xff\xff" * 2)
        case "WEBP":
            return claiming(raw, raw.index(b"VP8 ") + 14, b"\xff\x3f\xff\x3f")
        case "JPEG2000":
            raw = claiming(raw, raw.index(b"ihdr") + 4, (30_000).to_bytes(4) * 2)
            return claiming(raw, raw.index(b"\xff\x51") + 6, (30_000).to_bytes(4) * 2)
    raise AssertionError(kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "PPM", "GIF", "WEBP", "JPEG2000"])
def test_a_picture_beyond_the_budget_is_refused_by_its_header(kind: str, tmp_path) -> None:
    """A process of its own tells how much memory it took at most."""
    (tmp_path / "a").write_bytes(enormous(kind))
    code = """if True:
        import resource, sys
        from pathlib import Path
        import cv2
        from PIL import Image
        from factory.images.picture import UndecodableError, read_picture
        raw = Path(sys.argv[1]).read_bytes()
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            read_picture(raw)
        except UndecodableError as error:
            after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(after_kb - before_kb, error)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a"], capture_output=True, text=True, check=True
    )
    grown_kb, reason = done.stdout.split(maxsplit=1)
    assert int(grown_kb) < 30_000, done.stdout
    assert f"{MAX_PICTURE_PX / 1e6:g} million" in reason


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    """Each scan costs a visit of all blocks, and may have no more bytes than its header."""
    raw = encoded(RGB, "JPEG", progressive=True)
    scan = raw.index(b"\xff\xda")
    again = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00"
    assert jpeg_size(raw + again * 4000)[:2] == (48, 64), "behind the end"
    with pytest.raises(UndecodableError, match="more than 500 scans"):
        read_picture(raw[:scan] + again * 4000 + raw[scan:])


def test_a_jpeg_that_is_cut_between_two_scans_is_refused() -> None:
    """libjpeg says nothing of it: of PIL's progressive JPEGs it shows a coarse picture."""
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    raw = encoded(picture, "JPEG", progressive=True)
    scans = [
        position for position in range(len(raw)) if raw[position : position + 2] == b"\xff\xda"
    ]
    assert len(scans) > 5
    for position in scans[1:]:
        tables = raw.rindex(b"\xff\xc4", 0, position)
        for cut in (tables, position):
            with pytest.raises(UndecodableError, match=r"lacks scans|premature|not defined"):
                read_picture(raw[:cut] + b"\xff\xd9")
