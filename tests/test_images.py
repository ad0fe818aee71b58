"""Images as users give them: what is a path, and what is the image itself."""

import base64
import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from r1reward_jax.images import embedded_bytes, image_size, open_image
from r1reward_jax.types import InputError


def encoded(format="PNG", size=(64, 64)):
    """A picture of one colour, as short in base64 as pictures are."""
    file = io.BytesIO()
    Image.new("RGB", size, (20, 40, 200)).save(file, format)
    return file.getvalue()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_short_base64_is_an_image(format):
    data = encoded(format, (8, 8))
    text = base64.b64encode(data).decode()
    assert len(text) < 1024
    for given in (text, base64.encodebytes(data).decode(), f"data:image/x;base64,{text}"):
        assert embedded_bytes(given) == data
        assert image_size(given) == (8, 8) and np.asarray(open_image(given))[0, 0, 2] > 150


def test_a_one_colour_png_is_no_path():
    text = base64.b64encode(encoded()).decode()
    assert len(text) < 1024 and open_image(text).size == (64, 64)


@pytest.mark.parametrize(
    "path",
    ["images/cat1", "a.png", "QkaaQkaaQkaaQkaaQkaaQkaa", "/data/mm/0001", "iVBORw0KGgo.png", "ü"],
)
def test_paths_stay_paths(path):
    """Also those in which every character is one of base64."""
    assert embedded_bytes(path) is None
    with pytest.raises(InputError, match="not found"):
        open_image(path)


def test_a_file_goes_before_base64_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = base64.b64encode(encoded("PNG", (3, 3))[:24]).decode()
    Image.new("RGB", (5, 7)).save(tmp_path / f"{name}", "PNG")
    assert embedded_bytes(name) is not None
    assert image_size(name) == open_image(name).size == (5, 7)


def test_messages_do_not_repeat_what_is_embedded():
    text = base64.b64encode(encoded()[:40] + bytes(9000)).decode()
    with pytest.raises(InputError) as error:
        open_image(text)
    assert len(str(error.value)) < 500 and "(12,056 characters)" in str(error.value)
    with pytest.raises(InputError, match="data:x,!.*not valid base64"):
        open_image("data:x,!")
    for path in ("x" * 5000, "null\0"):
        with pytest.raises(InputError, match="image "):
            open_image(path)


# ------------------------------------------------------- files of somebody else


def test_only_regular_files_are_opened(tmp_path):
    """A pipe would never answer, a device would never end."""
    os.mkfifo(tmp_path / "pipe.png")
    for path, said in {
        str(tmp_path / "pipe.png"): "a named pipe, not a file",
        "/dev/zero": "a device, not a file",
        str(tmp_path): "a folder, not a file",
        str(tmp_path / "none.png"): "not found",
        "https://example.org/a.png": "addresses are not downloaded; give a file",
        "file://elsewhere/a.png": "on this machine",
        "x://a": "addresses are not downloaded",
    }.items():
        for read in (open_image, image_size):
            with pytest.raises(InputError, match=said) as error:
                read(path)
            assert "\n" not in str(error.value) and str(error.value).startswith("image ")


def test_stores_without_their_package_are_one_line():
    for path in ("gs://bucket/a.png", "s3://bucket/a.png"):
        try:
            open_image(path)
        except InputError as error:  # where the package is there, the bucket is not
            assert str(error).startswith(f"image {path}: ")


def test_file_urls_are_paths(tmp_path):
    (tmp_path / "a b%").write_bytes(encoded(size=(5, 7)))
    for url in (f"file://{tmp_path}/a%20b%25", f"FILE://localhost{tmp_path}/a%20b%25"):
        assert image_size(url) == open_image(url).size == (5, 7)


def test_sparse_giants_are_refused_before_they_are_read(tmp_path):
    path = tmp_path / "giant.png"
    path.write_bytes(encoded())
    os.truncate(path, 2**40)
    with pytest.raises(InputError, match="1,099,511,627,776 bytes; at most 256 MB"):
        open_image(str(path))


@pytest.mark.parametrize("kind", ["EPS", "TIFF", "PDF", "PCX"])
def test_other_formats_are_not_opened(kind, tmp_path, monkeypatch):
    """Of these, Pillow gives the first to Ghostscript."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", kind)
    monkeypatch.setattr(subprocess, "Popen", None)
    for read in (open_image, image_size):
        with pytest.raises(InputError, match="not an image; expected a readable PNG, JPEG, WebP"):
            read(str(tmp_path / "a.png"))


PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def grey_bomb(width, height):
    """A PNG of 16 bits whose pixels are all 0."""
    head = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(1 + 2 * width)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("width", "said"), [(8000, "8,000 x 9,000"), (12000, "108000000"), (90000, "810000000")]
)
def test_pixels_are_counted_before_they_are_decoded(width, said):
    head = struct.pack(">IIBBBBB", width, 9000, 16, 0, 0, 0, 0)
    bomb = PNG + chunk(b"IHDR", head) + chunk(b"IDAT", b"")
    for read in (open_image, image_size):
        with pytest.raises(InputError, match=f"{said} pixels; at most 67,108,864"):
            read(bomb)


def test_strips_give_the_same_pixels(monkeypatch):
    """Depth and transparency, against the whole image at once."""
    rng = np.random.default_rng(0)
    deep = Image.fromarray(rng.integers(0, 65536, (37, 23)).astype(np.uint16))
    clear = Image.fromarray(rng.integers(0, 256, (37, 23, 4)).astype(np.uint8), "RGBA")
    palette = clear.convert("RGB").quantize(17)
    palette.info["transparency"] = 3
    whole = [open_image(image).tobytes() for image in (deep, clear, palette)]
    monkeypatch.setattr("r1reward_jax.images.STRIP", 100)
    assert [open_image(image).tobytes() for image in (deep, clear, palette)] == whole
    grey = np.asarray(open_image(deep))
    assert np.array_equal(grey[..., 0], (np.asarray(deep) / 257).astype(np.uint8))


MEMORY = """
import resource, sys
from r1reward_jax.images import open_image
open_image(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert open_image(sys.argv[1]).size == (4000, 4000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_deep_grey_images_need_bounded_memory(tmp_path):
    """16 MP of 16 bits: 2 bytes decoded, 1 of grey and 3 of colour, not 8 in several copies."""
    (tmp_path / "large.png").write_bytes(grey_bomb(4000, 4000))
    (tmp_path / "small.png").write_bytes(grey_bomb(4, 4))
    call = [sys.executable, "-c", MEMORY, tmp_path / "large.png", tmp_path / "small.png"]
    kilobytes = int(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
    assert kilobytes * 1024 < 9 * 4000 * 4000


def test_a_jpeg_of_endless_passes_is_refused():
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "JPEG", progressive=True)
    assert open_image(file.getvalue()).size == (64, 64)
    start = file.getvalue().rindex(b"\xff\xda")
    scan = file.getvalue()[start:-2]
    with pytest.raises(InputError, match="scans; at most 100"):
        open_image(file.getvalue()[:-2] + 200 * scan + b"\xff\xd9")


def exif_photo(orientation, broken=None):
    exif = Image.Exif()
    exif[274] = orientation
    exif[282] = 72.0
    file = io.BytesIO()
    image = Image.new("RGB", (6, 4), "white")
    image.save(file, "JPEG", exif=exif.tobytes(), quality=100)
    data = file.getvalue()
    if broken == "rational":
        data = data.replace(struct.pack(">II", 72, 1), struct.pack(">iI", -1, 0))
        data = data.replace(struct.pack("<II", 72, 1), struct.pack("<iI", -1, 0))
    elif broken == "cut":
        place = data.index(b"Exif\0\0") + 10
        data = data[:place] + b"\xff" * 12 + data[place + 12 :]
    return data


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_does_not_hide_the_picture():
    assert open_image(exif_photo(6)).size == (4, 6)
    assert open_image(exif_photo(6, "rational")).size == (4, 6)
    assert open_image(exif_photo(6, "cut")).size == (6, 4)
    assert open_image(exif_photo(99)).size == (6, 4)


@pytest.mark.parametrize("change", ["url-safe", "unpadded", "broken lines", "bytes", "data"])
def test_base64_is_known_however_it_is_written(change):
    data = encoded(size=(5, 7)) + b"\xfb\xff\xfe" * 4 + b"!"  # with + and / in it, and padding
    text = base64.b64encode(data).decode()
    given = {
        "url-safe": base64.urlsafe_b64encode(data).decode(),
        "unpadded": text.rstrip("="),
        "broken lines": "\r\n ".join(text[i : i + 20] for i in range(0, len(text), 20)),
        "bytes": text.encode(),
        "data": "DATA:image/png;charset=x;base64," + text.replace("+", "%2B"),
    }[change]
    assert open_image(given).size == image_size(given) == (5, 7)
