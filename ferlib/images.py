"""Read a picture: the one door through which a photo enters the library.

Whatever comes in (a path, bytes, an open file, a data URL, a PIL image, a NumPy array; grey, palette, CMYK, 16-bit,
transparent, turned by its EXIF tag, animated), what goes out is `(H, W, 3)` uint8 RGB, upright. What cannot be read
raises `ImageError` with one sentence that can be shown to a visitor as it stands.
"""

import base64
import binascii
import io
import math
import os
import re
import stat
import threading
import urllib.parse
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from os import PathLike
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from ferlib import tiff
from ferlib.errors import UserError

__all__ = ["MAX_PIXELS", "SUFFIXES", "ImageError", "data_url", "is_picture", "read_image"]

MAX_PIXELS = 52_000_000
"""Largest picture that is decoded, in pixels: 50-megapixel photos of phones (8192 x 6144) just pass."""

# Only formats people have photos in: some of Pillow's others start programs (EPS runs Ghostscript).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
#: What names of picture files end with, in lower case: a file in a folder that ends so is read, or complained about.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif"),
)
_READABLE = "JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP and TIFF can be read"
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/{1,2}\S", re.IGNORECASE)
_BEGINNING = re.compile(  # of a file in a format that can be read, more than a word that any text may begin with
    rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|II[*+]\0|MM\0[*+]|....ftypavi[fs]|P[1-7Ff]\s+[\d#-]"
    rb"|BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",  # with the size of its header
    re.DOTALL,
)
_HEAD = 18  # bytes that tell the format
_QUALITY = 90  # of a JPEG that is shown
_MOST_BYTES = 200_000_000  # of an open file that is read
_DAMAGED = "is damaged or cut short: its picture data cannot be read to the end"
_UNUSUAL = "has a kind of pixels that cannot be read; save it as JPEG or PNG"
_ORIENTATION = 0x0112  # the EXIF tag
_FLOAT_SLACK = 1e-3  # how far resampling may push floats out of 0..1 before they count as another scale

# One picture is decoded at a time: `catch_warnings` is not thread-safe, and memory stays bounded.
_decoding = threading.Lock()
if hasattr(os, "register_at_fork"):  # no child begins with the lock of a thread that it does not have
    os.register_at_fork(before=_decoding.acquire, after_in_parent=_decoding.release, after_in_child=_decoding.release)


class ImageError(UserError):
    """A picture that cannot be read; the message is one sentence for the person who sent it."""


def read_image(source: str | PathLike | bytes | IO[bytes] | Image.Image | np.ndarray | None) -> np.ndarray:
    """Read a picture as upright 8-bit RGB.

    - Transparent pixels are laid on white; palette, 1-bit, grey and CMYK become RGB.
    - 16-bit values are scaled by 255/65535, never clipped; this holds for arrays too, whatever their largest
      value, and for PIL's 32-bit integers.
    - An EXIF orientation is applied, also for a PIL image that still carries one.
    - Of an animation the first frame is taken; of a PIL image the frame it stands at.
    - Float arrays hold 0..1, bool arrays black and white.

    Args:
        source: A path (`~` is the home folder), a data URL, the bytes of a picture file, a file open for reading bytes,
            a PIL image, or an array of shape `(H, W)` or `(H, W, 1)` grey, `(H, W, 2)` grey with alpha, `(H, W, 3)` RGB
            or `(H, W, 4)` RGBA; bool, uint8, uint16 or float. Nothing is fetched from the web.

    Returns:
        `(H, W, 3)` uint8 RGB, contiguous, its memory shared with nothing.

    Raises:
        ImageError: If there is no such file, it is no readable picture, it has more than `MAX_PIXELS` pixels
            (refused from its header, before anything is decoded), or the array is not a picture.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, "The array")
    if isinstance(source, Image.Image):
        return _from_pil(source, "The picture")
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_bytes(bytes(source), "The file")
    if source is None or (isinstance(source, str) and not source):
        raise ImageError("No picture was given.")
    if isinstance(source, str) and source[:5].lower() == "data:":
        return _from_bytes(_data_of(source), "The data URL")
    if isinstance(source, str | PathLike):
        return _from_path(source)
    if hasattr(source, "read"):
        return _from_file(source)
    raise ImageError(
        f"A picture is a file path, bytes, an open file, a PIL image or a NumPy array, not {type(source).__name__!r}."
    )


def is_picture(path: Path) -> bool:
    """True if an ordinary file begins as a picture that `read_image` takes; its name does not count."""
    with _quiet_pillow():
        try:
            Image.open(path, formats=readable_formats()).close()
        except Image.DecompressionBombError:
            return True
        except Exception:  # no picture, or no more than the beginning of one
            return False
    return True


def _from_bytes(data: bytes, name: str) -> np.ndarray:
    if not data:
        raise ImageError(f"{name} is empty: it holds 0 bytes.")
    return _decode(io.BytesIO(data), name)


def _from_file(file: IO[bytes]) -> np.ndarray:
    """Read an open file from where it stands, and decode it to `(H, W, 3)` uint8."""
    try:
        data = file.read(_MOST_BYTES + 1)
    except Exception as error:  # closed, not for reading, a broken pipe ...
        raise ImageError("The open file cannot be read.") from error
    if not isinstance(data, bytes):
        raise ImageError("The file is open for text; open it for bytes, with mode 'rb'.")
    if len(data) > _MOST_BYTES:
        raise ImageError(f"The file is too large: it holds more than {_MOST_BYTES // 10**6} MB.")
    return _from_bytes(data, "The file")


def _data_of(url: str) -> bytes:
    """The bytes of a data URL: data:image/png;base64,..."""
    head, comma, body = url.partition(",")
    try:
        if not comma:
            raise ValueError
        text = urllib.parse.unquote_to_bytes(body)
        return base64.b64decode(b"".join(text.split()), validate=True) if head.lower().endswith(";base64") else text
    except (ValueError, binascii.Error) as error:
        raise ImageError("The data URL cannot be decoded.") from error


def data_url(pixels: np.ndarray) -> str:
    """`(H, W)`, `(H, W, 1)` or `(H, W, 3)` uint8 as a URL that holds the picture itself, a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _about_folder(path: Path) -> str:
    """The end of a sentence on a folder in place of a picture."""
    if not os.access(path, os.R_OK | os.X_OK):
        return " that cannot be read"
    return " without pictures in it, or where only one picture is taken"


def _from_path(source: str | PathLike) -> np.ndarray:
    """Open a regular, non-empty file and decode it to `(H, W, 3)` uint8."""
    name = os.fspath(source)
    if isinstance(name, str) and _URL.match(name) and not os.path.exists(name):
        raise ImageError(f"{name[:200]} is a URL, and nothing is fetched: give the path of a file.")
    path = Path(os.fsdecode(name))
    with suppress(RuntimeError):  # the home of somebody who is not here
        path = path.expanduser()
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            raise ImageError(f"{path} is a folder{_about_folder(path)}.")
        if not stat.S_ISREG(info.st_mode):
            raise ImageError(f"{path} is not an ordinary file.")
        if info.st_size == 0:
            raise ImageError(f"{path.name} is empty: it holds 0 bytes.")
        file = path.open("rb")
    except ImageError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(f"There is no file {path}.") from error
    except PermissionError as error:
        raise ImageError(f"No permission to read {path}.") from error
    except (OSError, ValueError) as error:  # a name too long, or with a NUL or a lone surrogate in it
        name = str(path) if len(str(path)) < 80 else f"{str(path)[:80]}..."
        raise ImageError(f"The file {name!a} cannot be opened.") from error
    with file:
        return _decode(file, path.name)


def _decode(file: IO[bytes], name: str) -> np.ndarray:
    """Decode an open picture file to `(H, W, 3)` uint8; `name` begins the error messages."""
    with _quiet_pillow():
        try:
            image = Image.open(file, formats=readable_formats())
        except Image.DecompressionBombError as error:
            raise ImageError(_too_large(name)) from error
        except Exception as error:  # a damaged header makes Pillow's plugins raise nearly anything
            file.seek(0)
            head = file.read(_HEAD)
            raise ImageError(f"{name} {_UNUSUAL if tiff.is_whole(file) else _fault(head)}.") from error
        with image:
            return _pixels(image, name)


def _fault(head: bytes) -> str:
    """The words for a file that Pillow does not open, from its first bytes."""
    if head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif"):
        return _DAMAGED if "HEIF" in readable_formats() else "is a HEIC photo; install pillow-heif, or save it as JPEG"
    return _DAMAGED if _BEGINNING.match(head) else f"is not a picture ({_READABLE})"


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    """Turn a PIL image, perhaps not loaded yet, into `(H, W, 3)` uint8; the image is left as it is."""
    with _quiet_pillow():
        return _pixels(image, name)


def _pixels(image: Image.Image, name: str) -> np.ndarray:
    """Check the size in the header, decode, turn upright and convert: `(H, W, 3)` uint8."""
    if image.width * image.height == 0:
        raise ImageError(f"{name} has no pixels: it is {image.width} x {image.height}.")
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(_too_large(name, image.size))
    try:
        if not tiff.prepare(image):
            raise ImageError(f"{name} {_UNUSUAL}.")
        image.load()
        if image.mode == "F" or image.mode.startswith("I"):
            rgb = _from_array(tiff.as_meant(image, _wide(image, name)), name)
        elif image.has_transparency_data or image.mode in ("La", "RGBa"):
            rgb = np.array(_on_white(image))
        else:
            rgb = np.array(image.convert("RGB"))
    except ImageError:
        raise
    except Exception as error:  # OSError, SyntaxError, struct.error ... by format and damage
        raise ImageError(f"{name} {_DAMAGED}.") from error
    return _upright(rgb, image)


def _wide(image: Image.Image, name: str) -> np.ndarray:
    """The values `(H, W)` of PIL's deep grey modes, as uint16 or float: its 32-bit integers hold 16-bit values."""
    values = np.asarray(image)
    if values.dtype.kind == "f":
        return values
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{name} has 32-bit pixels; save it with 8 or 16 bits.")
    values = values.astype(np.uint16)
    clear = image.info.get("transparency")
    if isinstance(clear, int):  # the one grey that is transparent becomes white
        values[values == clear] = 65535
    return values


def _on_white(image: Image.Image) -> Image.Image:
    """Lay a picture with any kind of transparency on white; the result has mode RGB."""
    if image.mode == "La":
        image = image.convert("LA")
    image = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _upright(rgb: np.ndarray, image: Image.Image) -> np.ndarray:
    """Turn `(H, W, 3)` pixels by the EXIF orientation left after loading (TIFF has turned itself by then)."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF, in whatever way, must not cost the picture
        orientation = 1
    turns = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, 1),
    }
    turn = turns.get(orientation)
    return rgb if turn is None else np.ascontiguousarray(turn(rgb))


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    """Check shape, dtype and values of an array and convert it to `(H, W, 3)` uint8."""
    array = np.asarray(array)
    shape = " x ".join(map(str, array.shape))
    if array.ndim not in (2, 3):
        raise ImageError(f"{name} has {array.ndim} dimensions; a picture has shape H x W or H x W x 1 to 4.")
    if array.size == 0:
        raise ImageError(f"{name} has no pixels: its shape is {shape}.")
    if array.ndim == 3 and array.shape[2] > 4:
        hint = " (channels come last)" if array.shape[0] <= 4 else ""
        raise ImageError(f"{name} has shape {shape}; a picture has shape H x W or H x W x 1 to 4{hint}.")
    if math.prod(array.shape[:2]) > MAX_PIXELS:
        raise ImageError(_too_large(name, array.shape[1::-1]))
    array = to_uint8(array, name)
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    if array.shape[2] == 3:
        return np.array(array, order="C")
    return np.array(_on_white(Image.fromarray(np.ascontiguousarray(array))))


def to_uint8(array: np.ndarray, name: str) -> np.ndarray:
    """Scale bool, uint16 and float 0..1 values to 0..255, rounded; the shape stays."""
    kind = array.dtype.newbyteorder("=")  # a file's own order of bytes is kept by some readers
    if kind == np.uint8:
        return array
    if kind == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if kind == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if kind.kind == "f":
        if not np.isfinite(array).all():
            raise ImageError(f"{name} holds values that are not numbers (NaN or infinity).")
        low, high = array.min(), array.max()
        if low < -_FLOAT_SLACK or high > 1 + _FLOAT_SLACK:
            raise ImageError(f"{name} holds floats from {low:.4g} to {high:.4g}; give 0 to 1, or uint8 from 0 to 255.")
        return np.rint(array.clip(0, 1).astype(np.float32) * 255).astype(np.uint8)
    raise ImageError(f"{name} holds {kind} values; convert them to uint8 (0 to 255) or float (0 to 1).")


def _too_large(name: str, size: tuple[int, int] | None = None) -> str:
    """The sentence for a picture above `MAX_PIXELS`; `size` is (width, height), where known."""
    found = f" ({size[0]} x {size[1]} pixels)" if size else ""
    return f"{name} is too large{found}: at most {MAX_PIXELS // 10**6} megapixels can be read."


@cache
def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that can be read here."""
    try:
        import pillow_heif
    except ImportError:
        return _FORMATS
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    return (*_FORMATS, "HEIF")


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Hold the decoding lock and keep Pillow's own warnings (large picture, odd EXIF) off the screen."""
    with _decoding, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        yield
