"""The pictures a visitor is shown: the photo with its faces boxed and numbered, and the examples to click."""

import base64
import io
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps

from ferlib.labels import COLOURS
from ferlib.results import CANNOT_SAY, FacePrediction, ImagePrediction

MANY_FACES = 6  # more than these are listed folded, and tagged with less room
SIDES = 800, 1600  # the long side of the boxed picture, in pixels: small ones are enlarged, large ones reduced


def annotate(result: ImagePrediction) -> Image.Image | None:
    """The photo with every face boxed and numbered in the colour of its expression; None without a face."""
    if result.image is None or not result.faces:
        return None
    height, width = result.image.shape[:2]
    scale = min(max(max(width, height), SIDES[0]), SIDES[1]) / max(width, height)
    picture = Image.fromarray(result.image).resize((max(1, round(width * scale)), max(1, round(height * scale))))
    draw = ImageDraw.Draw(picture)
    line = max(3, round(max(picture.size) / 220))
    boxes = [np.multiply(face.box, scale).clip(line, np.tile(picture.size, 2) - line - 1) for face in result.faces]
    for face, box in zip(result.faces, boxes, strict=True):
        draw.rectangle([*(box[:2] - 1), *(box[2:] + 1)], outline="white", width=line + 2)
        draw.rectangle(list(box), outline=colour_of(face), width=line)
    for number, (face, box) in enumerate(zip(result.faces, boxes, strict=True), start=1):
        _draw_tag(draw, number, face, box, room=1.7 if len(boxes) <= MANY_FACES else 1)
    return picture


def _draw_tag(draw: ImageDraw.ImageDraw, number: int, face: FacePrediction, box: np.ndarray, room: float) -> None:
    """Write a face's number above its box, or inside where the picture ends, and its answer if it fits `room` boxes.

    The answer is the prediction set in words; without one, the most probable class.
    """
    x0, y0, x1, _ = box
    long_side = max(draw.im.size)
    size = float(np.clip((x1 - x0) / 7, long_side / 42, long_side / 28))
    font = ImageFont.load_default(size)
    pad, height = size * 0.35, size * 1.35
    text = f"{number}  {face.answer}"
    if draw.textlength(text, font) + 2 * pad > room * (x1 - x0):
        text = str(number)
    width = draw.textlength(text, font) + 2 * pad
    left = max(0, min(x0, draw.im.size[0] - width))
    top = y0 - height if y0 >= height else y0
    draw.rectangle([left, top, left + width, top + height], fill=colour_of(face))
    draw.text((left + pad, top + height / 2), text, ink_of(face), font, anchor="lm", stroke_width=size / 40)


def colour_of(face: FacePrediction) -> str:
    """The colour of a face's first class; grey where its prediction set says too little."""
    return colour(face.answer if face.answer == CANNOT_SAY else face.label)


def ink_of(face: FacePrediction) -> str:
    """Black or white, whichever can be read on `colour_of`."""
    return ink(face.answer if face.answer == CANNOT_SAY else face.label)


def colour(label: str) -> str:
    """The colour of an expression; grey for one that is not in ferlib.labels."""
    return COLOURS.get(label, "#7f7f7f")


def ink(label: str) -> str:
    """Black or white, whichever can be read on the colour of an expression."""
    return "black" if np.dot(ImageColor.getrgb(colour(label)), (0.299, 0.587, 0.114)) > 140 else "white"


def data_url(pixels: np.ndarray) -> str:
    """(H, W, 3) uint8 as an address that holds the picture itself: no file is written."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


@cache
def example_pictures() -> list[np.ndarray]:
    """Pictures to click, (H, W, 3) uint8: synthetic ones, and photos in the public domain (US Navy, NASA)."""
    from ferlib.synthetic.render import sample_face

    people = {"happiness": 101, "surprise": 102, "anger": 100}
    drawn = [sample_face(name, np.random.default_rng(seed), 400, clean=True).pixels for name, seed in people.items()]
    # the photos come with installed packages; without those there are fewer examples
    files = ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"), ("skimage", "data/astronaut.png")
    photos = [photo for file in files if (photo := _photo_of(*file))]
    if len(photos) == 2:
        hopper, collins = photos
        both = Image.new("RGB", (2 * collins.width, collins.height))
        both.paste(ImageOps.fit(hopper, collins.size))
        both.paste(collins, (collins.width, 0))
        photos.append(both)
    return [*drawn, *map(np.asarray, photos)]


def example_files(folder: Path) -> list[str]:
    """Write `example_pictures` into a folder; their files. (Gradio compares pictures in memory for seconds.)"""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, pixels in enumerate(example_pictures(), start=1):
        files.append(str(folder / f"example-{number}.png"))
        Image.fromarray(pixels).save(files[-1], compress_level=1)
    return files


def _photo_of(package: str, file: str) -> Image.Image | None:
    """A photo that comes with a package, which is not imported; None where that is not installed."""
    with suppress(ImportError, OSError):
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            return Image.open(Path(folder) / file).convert("RGB")
    return None
