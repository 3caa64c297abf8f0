"""The pictures a visitor is shown: the photo with its faces boxed and numbered, and the examples to click."""

import base64
import io
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ferlib.results import CANNOT_SAY, FacePrediction, ImagePrediction
from ferlib.runtime.boxes import colour, draw_boxes, ink

SIDES = 800, 1600  # the long side of the boxed picture, in pixels: small ones are enlarged, large ones reduced


def annotate(result: ImagePrediction) -> Image.Image | None:
    """The photo with every face boxed and numbered in the colour of its expression; None without a face."""
    if result.image is None or not result.faces:
        return None
    height, width = result.image.shape[:2]
    scale = min(max(max(width, height), SIDES[0]), SIDES[1]) / max(width, height)
    picture = Image.fromarray(result.image).resize((max(1, round(width * scale)), max(1, round(height * scale))))
    boxes = [np.multiply(face.box, scale) for face in result.faces]
    answers, classes = [face.answer for face in result.faces], [shown_as(face) for face in result.faces]
    draw_boxes(picture, boxes, answers, range(1, len(boxes) + 1), classes)
    return picture


def shown_as(face: FacePrediction) -> str:
    """Whose colour a face gets: its first class, or "cannot say" where its prediction set says too little."""
    return face.answer if face.answer == CANNOT_SAY else face.label


def colour_of(face: FacePrediction) -> str:
    """The colour of a face's first class; grey where its prediction set says too little."""
    return colour(shown_as(face))


def ink_of(face: FacePrediction) -> str:
    """Black or white, whichever can be read on `colour_of`."""
    return ink(shown_as(face))


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
