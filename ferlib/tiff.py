"""TIFF files of the kinds that Pillow takes for others: put right where that is simple, told where it is not."""

from typing import IO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

_BITS, _PHOTOMETRIC, _PLANES = 258, 262, 284  # tags
_NEEDED = (256, 257), (273, 324)  # size; where strips or tiles are
_WHITE_IS_0 = 0  # of the photometric tag
_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_whole(file: IO[bytes]) -> bool:
    """True if an open file is a TIFF whose directory can be read: it says all that is needed to find its pixels."""
    file.seek(0)
    head = file.read(8)
    if not head.startswith(_BEGINNINGS):
        return False
    try:
        tags = ImageFileDirectory_v2(head + file.read(8) if b"+" in head[:4] else head)
        file.seek(tags.next)
        tags.load(file)
        return all(tag in tags for tag in _NEEDED[0]) and any(tag in tags for tag in _NEEDED[1])
    except Exception:  # a damaged directory makes Pillow raise nearly anything
        return False


def prepare(image: Image.Image) -> bool:
    """Mend how a picture's planes will be decoded; false if its pixels would come out wrong all the same."""
    if not (isinstance(image, TiffImageFile) and image.tile):
        return True
    tags, mode = image.tag_v2, image.mode
    bits, in_planes = set(tags.get(_BITS, (1,))), tags.get(_PLANES) == 2
    if in_planes and mode in ("LA", "PA"):
        return False
    if image.tile[0].codec_name == "libtiff":
        return tags.prefix != b"MM" or mode not in ("F", "I")
    if not in_planes:
        return True
    if bits != {16}:
        return bits == {8} and tags.get(_PHOTOMETRIC) != _WHITE_IS_0
    bands = [str(tile.args[0]) for tile in image.tile if tile.args]
    if mode not in ("RGB", "RGBA") or not set(bands) <= set(mode):
        return False
    order = "B" if tags.prefix == b"MM" else "L"
    image.tile = [
        tile._replace(args=(f"{band};16{order}", *(tile.args or ())[1:]))
        for band, tile in zip(bands, image.tile, strict=True)
    ]
    return True


def as_meant(image: Image.Image, values: np.ndarray) -> np.ndarray:
    """The values of a picture in deep grey, uint16 or 0..1, where they are from 0, black, to the largest, white."""
    if not isinstance(image, TiffImageFile):
        return values
    if set(image.tag_v2.get(_BITS, ())) == {12}:
        values = (values.astype(np.uint32) * 65535 // 4095).astype(np.uint16)
    if image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_0:
        return (65535 if values.dtype.kind == "u" else 1) - values
    return values
