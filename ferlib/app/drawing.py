"""The pictures a visitor is shown: the photo with its faces boxed and numbered, and the examples to click."""

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from ferlib.app.messages import is_undecided
from ferlib.results import FacePrediction, ImagePrediction
from ferlib.runtime.boxes import colour, draw_boxes, ink

SIDES = 800, 1600  # the long side of the boxed picture, in pixels: small ones are enlarged, large ones reduced
#: Drawn people to click, each by the seed it is drawn with.
PEOPLE = {"happiness": 101, "surprise": 102, "anger": 100, "neutral": 104, "sadness": 115, "disgust": 106, "fear": 126}
PHOTOS = {
    "a portrait of Grace Hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),  # US Navy
    "a portrait of Eileen Collins": ("skimage", "data/astronaut.png"),  # NASA
}


def annotate(result: ImagePrediction) -> Image.Image | None:
    """The photo with every face boxed and numbered in the colour of its expression; None without a face."""
    if result.image is None or not result.faces:
        return None
    height, width = result.image.shape[:2]
    scale = min(max(max(width, height), SIDES[0]), SIDES[1]) / max(width, height)
    picture = Image.fromarray(result.image).resize((max(1, round(width * scale)), max(1, round(height * scale))))
    boxes = [np.multiply(face.box, scale) for face in result.faces]
    classes = [_named(face) for face in result.faces]
    draw_boxes(picture, boxes, [name or "?" for name in classes], range(1, len(boxes) + 1), classes)
    return picture


def colour_of(face: FacePrediction) -> str:
    """The colour of a face's first class; white for an undecided one."""
    return colour(_named(face))


def ink_of(face: FacePrediction) -> str:
    """Black or white, whichever can be read on `colour_of`."""
    return ink(_named(face))


def _named(face: FacePrediction) -> str:
    """The expression that a face is said to show; "" for an undecided one."""
    return "" if is_undecided(face) else face.label


@cache
def examples() -> dict[str, np.ndarray]:
    """Pictures to click, (H, W, 3) uint8, by what they show: drawn faces, and photos in the public domain."""
    from ferlib.synthetic.render import sample_face

    faces = {
        name: Image.fromarray(sample_face(name, np.random.default_rng(seed), 400, clean=True).pixels)
        for name, seed in PEOPLE.items()
    }
    pictures = {f"a drawn face, {name}": face for name, face in faces.items()}
    photos = {title: photo for title, file in PHOTOS.items() if (photo := _photo_of(*file))}
    pictures |= photos
    if len(photos) == len(PHOTOS):  # they come with installed packages; without those there are fewer examples
        hopper, collins = photos.values()
        two = [ImageOps.fit(hopper, collins.size), collins]
        pictures["a picture of two people"] = _side_by_side(two)
        group = [*two, *(faces[name].resize(collins.size) for name in ("happiness", "neutral", "surprise", "sadness"))]
        pictures["a group of six"] = _side_by_side(group, columns=3)
        pictures["a hard one, dark and tilted"] = ImageEnhance.Brightness(two[0].rotate(24)).enhance(0.3)
    return {title: np.asarray(picture) for title, picture in pictures.items()}


def example_pictures() -> list[np.ndarray]:
    """The pictures of `examples`."""
    return list(examples().values())


def example_files(folder: Path) -> list[str]:
    """Write `examples` into a folder as JPEG, as every visitor's browser loads them all; named for what they show.

    (Gradio compares pictures in memory for seconds.)
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for title, pixels in examples().items():
        files.append(str(folder / f"{title}.jpg"))
        Image.fromarray(pixels).save(files[-1], quality=92, optimize=True)
    return files


def _side_by_side(pictures: Sequence[Image.Image], columns: int = 2) -> Image.Image:
    """Pictures of one size in rows."""
    width, height = pictures[0].size
    whole = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height))
    for i, picture in enumerate(pictures):
        whole.paste(picture, (i % columns * width, i // columns * height))
    return whole


def _photo_of(package: str, file: str) -> Image.Image | None:
    """A photo that comes with a package, which is not imported; None where that is not installed."""
    with suppress(ImportError, OSError):
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            return Image.open(Path(folder) / file).convert("RGB")
    return None
