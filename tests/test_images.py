"""Images as users give them: what is a path, and what is the image itself."""

import base64
import io

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
        assert image_size(given) == (8, 8) and open_image(given).getpixel((0, 0))[2] > 150


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
    with pytest.raises(InputError, match="No such file"):
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
