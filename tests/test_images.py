"""Every way a picture can be odd or broken, with real files: the right pixels, or one clear sentence."""

import base64
import contextlib
import io
import os
import struct
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageFile, ImageOps

from ferlib.images import MAX_PIXELS, ImageError, data_url, read_image

ROOT = Path(__file__).parents[1]
pillow_heif.register_heif_opener()  # to save


@pytest.fixture
def photo() -> Image.Image:
    """A smooth 60 x 40 RGB picture, different in every corner, so that no turn or mirror image equals it."""
    y, x = np.mgrid[0:40, 0:60]
    return Image.fromarray(np.stack([x * 4, y * 6, 255 - x - 3 * y], axis=2).astype(np.uint8))


def encode(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG file whose header claims a size that its few bytes of pixel data do not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")
    )


def tiff(data: bytes, bits: tuple[int, ...], order: str = "<", **tags: int) -> bytes:
    """An uncompressed TIFF file of 60 x 40 pixels; planes follow each other in one strip each."""
    strips = len(bits) if tags.get("planes") == 2 else 1
    extra = [2] if len(bits) in (2, 4) else []
    values = {
        **{256: [60], 257: [40], 258: bits, 259: [1], 262: [tags.get("photometric", 1)]},
        **{273: [0] * strips, 277: [len(bits)], 278: [40], 279: [len(data) // strips] * strips},
        **{284: [tags.get("planes", 1)], 338: extra, 339: [tags.get("form", 1)] * len(bits)},
    }
    values = {tag: value for tag, value in values.items() if value}
    place = 8 + 2 + 12 * len(values) + 4
    start = place + 4 * sum(map(len, values.values()))
    values[273] = [start + number * len(data) // strips for number in range(strips)]
    entries, far = b"", b""
    for tag, value in values.items():
        packed = struct.pack(f"{order}{len(value)}I", *value)
        entries += struct.pack(f"{order}HHI", tag, 4, len(value))
        entries += packed if len(value) == 1 else struct.pack(f"{order}I", place + len(far))
        far += packed if len(value) > 1 else b""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(values))
    return (head + entries + bytes(4) + far).ljust(start, b"\0") + data


# --- the right pixels ---


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "bytearray", "pil", "array"])
def test_all_sources_give_the_same_pixels(photo, tmp_path, kind):
    path = tmp_path / "photo.png"
    photo.save(path)
    data = path.read_bytes()
    source = {
        "path": path,
        "str": str(path),
        "bytes": data,
        "bytearray": bytearray(data),
        "pil": Image.open(path),
        "array": np.asarray(photo),
    }[kind]
    result = read_image(source)
    assert result.dtype == np.uint8 and result.flags.c_contiguous and result.flags.writeable
    assert np.array_equal(result, np.asarray(photo))


def test_result_shares_no_memory_with_an_array_given(photo):
    array = np.array(photo)
    result = read_image(array)
    result[:] = 0
    assert array.any()


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats(photo, form):
    assert np.array_equal(read_image(encode(photo, form)), np.asarray(photo))


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF", "HEIF"])
def test_lossy_formats(photo, form):
    result = read_image(encode(photo, form, quality=95)).astype(int)
    assert np.abs(result - np.asarray(photo)).mean() < 4


def test_grey_picture_becomes_three_equal_channels(photo):
    grey = photo.convert("L")
    result = read_image(encode(grey, "PNG"))
    assert np.array_equal(result, np.repeat(np.asarray(grey)[..., None], 3, axis=2))


def test_one_bit_picture():
    bits = np.eye(9, 7, dtype=bool)
    result = read_image(encode(Image.fromarray(bits), "PNG"))
    assert np.array_equal(result, np.repeat(bits[..., None] * np.uint8(255), 3, axis=2))


@pytest.mark.parametrize(
    ("cmyk", "rgb"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((0, 255, 255, 0), (255, 0, 0)),
        ((255, 255, 0, 0), (0, 0, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
    ],
)
def test_cmyk_jpeg_keeps_its_colour(tmp_path, cmyk, rgb):
    path = tmp_path / "print.jpg"
    Image.new("CMYK", (32, 32), cmyk).save(path, quality=95)
    assert Image.open(path).mode == "CMYK"
    assert np.abs(read_image(path).reshape(-1, 3).mean(axis=0) - rgb).max() < 8


def test_cmyk_jpeg_agrees_with_the_picture(photo):
    result = read_image(encode(photo.convert("CMYK"), "JPEG", quality=95)).astype(int)
    assert np.abs(result - np.asarray(photo)).mean() < 8


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_not_clipped(form):
    ramp = np.linspace(0, 65535, 512).astype(np.uint16).reshape(1, 512).repeat(4, axis=0)
    data = encode(Image.fromarray(ramp), form)
    assert Image.open(io.BytesIO(data)).mode.startswith("I")  # really stored with 16 bits
    result = read_image(data)
    assert result.shape == (4, 512, 3)
    assert np.abs(result[..., 1] - ramp / 257.0).max() <= 0.51


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_tiff_in_planes(photo, order):
    planes = (np.asarray(photo).astype(np.uint16) * 257).astype(f"{order}u2").transpose(2, 0, 1)
    assert np.array_equal(read_image(tiff(planes.tobytes(), (16, 16, 16), order, photometric=2, planes=2)), photo)


@pytest.mark.parametrize("kind", ["u2", "f4"])
def test_deep_tiff_in_which_white_is_0(photo, kind):
    grey = np.asarray(photo.convert("L"))
    values = (65535 - grey.astype(int) * 257).astype("<u2") if kind == "u2" else (1 - grey / 255).astype("<f4")
    data = tiff(values.tobytes(), (8 * values.itemsize,), photometric=0, form=3 if kind == "f4" else 1)
    assert np.array_equal(read_image(data)[..., 0], grey)


def test_twelve_bit_tiff():
    first, second = np.full(1200, 4095), np.arange(1200)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8)
    result = read_image(tiff(packed.tobytes(), (12,)))[..., 0].reshape(-1, 2)
    assert (result[:, 0] == 255).all() and np.abs(result[:, 1] - second / 4095 * 255).max() <= 1


def test_palette_with_alpha_is_laid_on_white():
    image = Image.new("P", (4, 2))
    image.putpalette([255, 0, 0, 0, 255, 0, 255, 255, 0])
    image.putdata([0, 0, 1, 1, 2, 2, 0, 1])
    data = encode(image, "PNG", transparency=bytes([255, 0, 128]))  # of red, green, yellow
    assert Image.open(io.BytesIO(data)).mode == "P"
    result = read_image(data)
    assert result[0].tolist() == [[255, 0, 0]] * 2 + [[255, 255, 255]] * 2
    assert np.abs(result[1, 0].astype(int) - [255, 255, 127]).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_laid_on_white(photo, mode):
    alpha = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))
    image = photo.convert(mode)
    image.putalpha(Image.fromarray(alpha))
    colour = np.asarray(photo.convert("L" if mode == "LA" else "RGB")).astype(float).reshape(40, 60, -1)
    share = alpha[..., None] / 255
    expected = np.broadcast_to(colour * share + 255 * (1 - share), (40, 60, 3))
    for source in (encode(image, "PNG"), image, np.asarray(image)):
        assert np.abs(read_image(source) - expected).max() <= 1.01


def test_transparent_colour_key():
    image = Image.new("RGB", (4, 4), (10, 20, 30))
    image.putpixel((1, 2), (0, 200, 0))
    result = read_image(encode(image, "PNG", transparency=(10, 20, 30)))
    assert result[0, 0].tolist() == [255, 255, 255] and result[2, 1].tolist() == [0, 200, 0]


def test_transparent_grey_of_16_bits_is_laid_on_white():
    values = np.array([[0, 1000, 1001], [30000, 1000, 65535]], np.uint16)
    data = encode(Image.fromarray(values), "PNG", transparency=1000)
    assert Image.open(io.BytesIO(data)).mode == "I;16"
    assert read_image(data)[..., 0].tolist() == [[0, 255, 4], [117, 255, 255]]


def test_premultiplied_alpha():
    image = Image.new("RGBA", (3, 3), (200, 100, 0, 255)).convert("RGBa")
    assert read_image(image)[1, 1].tolist() == [200, 100, 0]
    assert read_image(Image.new("LA", (3, 3), (90, 255)).convert("La"))[1, 1].tolist() == [90, 90, 90]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(form):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encode(frames[0], form, save_all=True, append_images=frames[1:], duration=50, **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    result = read_image(data)
    assert result.shape == (10, 20, 3) and (result == [255, 0, 0]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_exif_rotated_photo_is_turned_upright(photo, form, orientation):
    """The picture is stored turned, as by a camera held sideways; what comes out must be the original."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = photo.transpose(back[orientation]) if orientation in back else photo
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    data = encode(stored, form, exif=exif, **options)
    assert np.array_equal(read_image(data), np.asarray(photo))
    assert np.array_equal(read_image(Image.open(io.BytesIO(data))), np.asarray(photo))


def test_exif_rotated_jpeg_equals_pillows_own_turning(photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(photo, "JPEG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert expected.shape == (60, 40, 3)
    assert np.array_equal(read_image(data), expected)


def test_damaged_exif_does_not_cost_the_picture(photo):
    plain = read_image(encode(photo, "JPEG"))
    for exif in (b"garbage", b"II*\x00\xff\xff\xff\x7f", b"MM\x00*\x00\x00\x00\x08\xff\xff"):
        assert np.array_equal(read_image(encode(photo, "JPEG", exif=b"Exif\x00\x00" + exif)), plain)


def test_array_forms(photo):
    rgb = np.asarray(photo)
    grey = np.asarray(photo.convert("L"))
    three = np.repeat(grey[..., None], 3, axis=2)
    assert np.array_equal(read_image(grey), three)
    assert np.array_equal(read_image(grey[..., None]), three)
    assert np.array_equal(read_image(rgb / 255.0), rgb)
    assert np.array_equal(read_image((rgb / 255.0).astype(np.float32)), rgb)
    assert np.array_equal(read_image(rgb.astype(np.uint16) * 257), rgb)
    assert np.array_equal(read_image((rgb.astype(np.uint16) * 257).astype(">u2")), rgb)
    assert np.array_equal(read_image(grey > 99), np.repeat((grey > 99)[..., None] * np.uint8(255), 3, axis=2))
    assert np.array_equal(read_image(rgb[::-1, ::2]), rgb[::-1, ::2])  # not contiguous
    assert read_image(np.array([[-0.0005, 1.0005]]))[0, :, 0].tolist() == [0, 255]  # left over by resampling


def test_float_tiff(photo):
    grey = np.asarray(photo.convert("L"))
    data = encode(Image.fromarray((grey / 255).astype(np.float32)), "TIFF")
    assert np.array_equal(read_image(data)[..., 0], grey)


def test_a_pil_image_is_left_as_it_is(photo):
    image = photo.convert("RGBA")
    before = image.tobytes()
    read_image(image)
    assert image.mode == "RGBA" and image.tobytes() == before


# --- one clear sentence ---


def message(source) -> str:
    """The sentence `read_image` refuses `source` with."""
    with pytest.raises(ImageError) as caught:
        read_image(source)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and "Error" not in text and "0x" not in text
    return text


def test_files_that_are_not_there(tmp_path):
    assert message(tmp_path / "gone.jpg") == f"There is no file {tmp_path / 'gone.jpg'}."
    (tmp_path / "file").write_bytes(b"x")
    assert "There is no file" in message(tmp_path / "file" / "under.jpg")
    assert "folder" in message(tmp_path)
    assert "cannot be opened" in message("nul\0byte.png")
    assert len(message("x" * 5000)) < 150
    assert message("\udc80.png")
    assert "not an ordinary file" in message("/dev/zero")
    assert message(None) == message("") == "No picture was given."


def test_file_without_permission(photo, tmp_path):
    path = tmp_path / "private.png"
    photo.save(path)
    path.chmod(0)
    as_root = os.geteuid() == 0
    if as_root:  # root may read everything: become nobody for a moment
        os.seteuid(65534)
    try:
        assert message(path) == f"No permission to read {path}."
    finally:
        if as_root:
            os.seteuid(0)


def test_empty_file(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    assert message(path) == "empty.jpg is empty: it holds 0 bytes."
    assert "0 bytes" in message(b"")


@pytest.mark.parametrize("content", [b"Dear teacher", b"<svg></svg>", b"%PDF-1.7", b"PK\x03\x04", bytes(500)])
def test_not_a_picture(tmp_path, content):
    path = tmp_path / "letter.jpg"
    path.write_bytes(content)
    text = message(path)
    assert text.startswith("letter.jpg is not a picture") and "JPEG" in text


@pytest.mark.parametrize(
    "content", [b"BMI,age\n22.1,40\n23.5,41\n", b"RIFF\x24\0\0\0AVI LIST", b"RIFF\x24\0\0\0WAVEfmt ", b"P5 is a key\n"]
)
def test_a_file_that_begins_like_a_picture_by_chance_is_none(content):
    assert "is not a picture" in message(content + bytes(100))


@pytest.mark.parametrize(
    ("bits", "tags"),
    [((32, 32, 32), {"photometric": 2, "form": 3}), ((64,), {"form": 3}), ((16, 16), {}), ((8, 8), {"planes": 2}),
     ((16, 16, 16, 16), {"photometric": 5, "planes": 2}), ((32,), {"photometric": 0})],
    ids=["float colours", "double", "grey and alpha", "planes of grey and alpha", "planes of CMYK", "32 bits"],
)  # fmt: skip
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiffs_that_are_whole_are_not_called_damaged(bits, tags, order):
    data = tiff(bytes(60 * 40 * sum(bits) // 8), bits, order, **tags)
    assert "has a kind of pixels that cannot be read" in message(data)
    assert "damaged" in message(data[:40])


def test_formats_that_run_programs_are_not_opened():
    assert "not a picture" in message(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")


def test_heic_photo_gets_a_way_out_where_its_reader_is_missing(photo, tmp_path):
    path = tmp_path / "IMG_1234.HEIC"
    path.write_bytes(encode(photo, "HEIF"))
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from ferlib.images import read_image\n"
        "try: read_image(sys.argv[1])\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "IMG_1234.HEIC is a HEIC photo; install pillow-heif, or save it as JPEG.\n", done.stderr


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_heic_photo_of_a_phone_held_sideways(photo, orientation):
    """Phones store the turn twice, in the file's own way and as EXIF; it must be applied once."""
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    stored = photo.transpose(back[orientation]) if orientation in back else photo
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = read_image(encode(stored, "HEIF", exif=exif.tobytes(), quality=95))
    assert result.shape == (40, 60, 3)
    assert np.abs(result.astype(int) - np.asarray(photo)).mean() < 4


def test_heic_bomb_is_refused():
    data = encode(Image.new("RGB", (8300, 6300)), "HEIF", quality=1)
    assert "too large (8300 x 6300 pixels)" in message(data)


def test_open_files(photo, tmp_path):
    path = tmp_path / "photo"  # no suffix
    path.write_bytes(encode(photo, "PNG"))
    with path.open("rb") as file:
        assert np.array_equal(read_image(file), np.asarray(photo))
    assert np.array_equal(read_image(io.BytesIO(path.read_bytes())), np.asarray(photo))
    with path.open("r", encoding="latin-1") as file:
        assert "mode 'rb'" in message(file)
    assert message(file) == "The open file cannot be read."  # closed
    assert "0 bytes" in message(io.BytesIO())


@pytest.mark.parametrize("name", ["photo.jfif", "photo.jpe", "photo.pgm", "photo.avif", "photo.HEIC", "photo"])
def test_any_suffix(photo, tmp_path, name):
    path = tmp_path / name
    forms = {"pgm": "PPM", "avif": "AVIF", "HEIC": "HEIF"}
    path.write_bytes(encode(photo, forms.get(name.partition(".")[2], "JPEG"), quality=95))
    assert np.abs(read_image(path).astype(int) - np.asarray(photo)).mean() < 4


def test_data_urls(photo):
    data = encode(photo, "PNG")
    text = base64.b64encode(data).decode()
    for url in (f"data:image/png;base64,{text}", f"DATA:;BASE64,{text[:80]}\n{text[80:]}", "data:," + quote(data)):
        assert np.array_equal(read_image(url), np.asarray(photo))
    for url in ("data:image/png;base64", "data:image/png;base64,!!!!", "data:image/png;base64,QQ"):
        assert message(url) == "The data URL cannot be decoded."
    assert "0 bytes" in message("data:image/png;base64,")
    assert "not a picture" in message("data:text/plain,hello")


def test_a_picture_as_a_data_url_is_read_again(photo):
    pixels = np.asarray(photo)
    grey = pixels[..., :1]
    for picture in (pixels, grey, grey[..., 0]):
        found = read_image(data_url(picture))
        assert found.shape == pixels.shape and np.abs(found.astype(int) - read_image(picture)).mean() < 4


def test_home_folder(photo, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    photo.save(tmp_path / "photo.png")
    assert np.array_equal(read_image("~/photo.png"), np.asarray(photo))
    assert message("~nobodyofthisname/photo.png") == "There is no file ~nobodyofthisname/photo.png."


@pytest.mark.parametrize(
    "url", ["https://example.org/a.jpg", "http://[::1]:80/a", "ftp://h/a.png", "file:///etc/a.png"]
)
def test_nothing_is_fetched(url, tmp_path, monkeypatch):
    assert message(url) == f"{url} is a URL, and nothing is fetched: give the path of a file."
    monkeypatch.chdir(tmp_path)
    assert "is a URL" in message(Path(url))
    assert "There is no file" in message("C:/photos/a.jpg") and "There is no file" in message("a:b.jpg")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "HEIF"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_file(tmp_path, form, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), form)
    path = tmp_path / f"cut.{form.lower()}"
    path.write_bytes(data[: max(24, int(len(data) * share))])
    text = message(path)
    assert text.startswith(f"cut.{form.lower()} is damaged or cut short")


def test_truncated_files_stay_refused():
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "HEIF", "PPM"])
def test_random_damage_never_raises_anything_else(photo, form):
    rng = np.random.default_rng(0)
    data = encode(photo, form)
    for _ in range(40):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 6):
            broken[place] = rng.integers(256)
        with contextlib.suppress(ImageError):
            assert read_image(bytes(broken)).dtype == np.uint8


def test_bomb_is_refused_from_its_header(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(10_000, 10_000))
    start = time.process_time()
    text = message(path)
    assert time.process_time() - start < 1
    assert text.startswith("bomb.png is too large (10000 x 10000 pixels)") and "52 megapixels" in text
    assert "too large" in message(png_claiming(60_000, 60_000))  # beyond Pillow's own limit


def test_real_bomb_is_refused_fast():
    data = encode(Image.new("1", (10_000, 10_000)), "PNG")  # 100 megapixels in about 12 kB
    assert len(data) < 50_000
    start = time.process_time()
    assert "too large" in message(data)
    assert time.process_time() - start < 1


def test_photo_of_a_phone_passes_the_limit():
    assert 8192 * 6144 < MAX_PIXELS < 100_000_000


def test_header_promising_more_than_the_data_holds():
    assert "damaged or cut short" in message(png_claiming(200, 200))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 5), np.uint8), "no pixels"),
        (np.zeros((5, 0, 3), np.uint8), "no pixels"),
        (np.zeros(7, np.uint8), "1 dimensions"),
        (np.array(3, np.uint8), "0 dimensions"),
        (np.zeros((2, 5, 5, 3), np.uint8), "4 dimensions"),
        (np.zeros((5, 5, 7), np.uint8), "5 x 5 x 7"),
        (np.zeros((3, 50, 60), np.uint8), "channels come last"),
        (np.full((5, 5), np.nan), "not numbers"),
        (np.full((5, 5), np.inf), "not numbers"),
        (np.full((5, 5, 3), 255.0), "from 255 to 255"),
        (np.full((5, 5, 3), -1.0), "from -1 to -1"),
        (np.zeros((5, 5), np.int64), "int64"),
        (np.zeros((5, 5), complex), "complex128"),
        (np.array([["a", "b"]]), "uint8"),
        (np.array([[None, {}]]), "object"),
        (np.broadcast_to(np.uint8(0), (10**6, 10**6)), "too large"),
    ],
)
def test_arrays_that_are_no_pictures(array, words):
    assert words in message(array)


def test_other_things_that_are_no_pictures():
    assert "int" in message(7)
    assert "list" in message([[1, 2], [3, 4]])
    assert "no pixels" in message(Image.new("RGB", (0, 5)))
    closed = Image.open(io.BytesIO(encode(Image.new("RGB", (5, 5)), "PNG")))
    closed.close()
    assert message(closed)
    assert "32-bit" in message(Image.fromarray(np.full((4, 4), 10**6, np.int32)))


def test_pillows_warnings_stay_quiet(photo):
    """A photo above Pillow's warning limit, odd EXIF, byte transparency: nothing on the visitor's screen."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        message(png_claiming(10_000, 10_000))
        read_image(encode(photo, "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x05\x00"))
        palette = photo.convert("P")
        read_image(encode(palette, "PNG", transparency=bytes(range(256))))
    assert not caught
