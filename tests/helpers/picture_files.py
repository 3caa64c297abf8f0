"""Picture files for the tests of the app: every odd kind that can be read, and every kind that cannot."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

GOOD = ("cmyk.jpg", "grey16.png", "palette.png", "lying.jpg", "photo.tiff")
BAD = {
    "empty.jpg": "is empty",
    "text.jpg": "is not a picture",
    "truncated.jpg": "is damaged or cut short",
    "large.png": "is too large",
    "meadow.png": "No face was found",
}


def write_photos(folder: Path, portrait: np.ndarray) -> None:
    """Write all the files of `GOOD`, each with the portrait (H, W, 3) uint8 the right way up, and of `BAD`."""
    photo = Image.fromarray(portrait)
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257).save(folder / "grey16.png")
    photo.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.png", transparency=0)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: a quarter turn clockwise sets it upright
    photo.transpose(Image.Transpose.ROTATE_90).save(folder / "lying.jpg", exif=exif, quality=95)
    photo.save(folder / "photo.tiff")

    buffer = io.BytesIO()
    photo.save(buffer, "JPEG")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("This is no picture.\n" * 20)
    (folder / "truncated.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (folder / "large.png").write_bytes(_grey_png(10_000, 10_000))
    Image.fromarray(np.linspace((90, 140, 220), (60, 150, 50), 300)[:, None].repeat(400, 1).astype(np.uint8)).save(
        folder / "meadow.png"
    )


def crowd(portrait: np.ndarray, columns: int = 10, rows: int = 5) -> np.ndarray:
    """The same head many times, 160 pixels each: (160 rows, 160 columns, 3) uint8."""
    head = np.asarray(Image.fromarray(portrait).crop((110, 60, 430, 380)).resize((160, 160)))
    return np.tile(head, (rows, columns, 1))


def _grey_png(width: int, height: int) -> bytes:
    """A complete PNG file, made without holding its pixels in memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    row = b"\0" + b"\x80" * width
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
