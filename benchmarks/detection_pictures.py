"""Pictures with faces at known places, for `benchmarks/detection.py`, and pictures without any.

Faces are of three kinds: two portraits in the public domain, drawn faces, and photos of facial_expressions where that
set is there. Each is laid as a square patch over a texture or a photo without people, at a known place and size.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from photo_files import facial_expressions
from PIL import Image, ImageFilter

from ferlib.detection.crop import cut
from ferlib.errors import UserError
from ferlib.images import read_image
from ferlib.synthetic.parameters import EXPRESSIONS
from ferlib.synthetic.render import sample_face

PORTRAITS, DRAWN, PHOTOS = "portraits", "drawn", "photos"
SIZE = (800, 600)  # of most pictures, width and height
_PATCH = 1.5  # sides of the face that a patch is wide
_SEEN = 0.51, 0.62, 0.88  # a face's middle and side in photos of facial_expressions: medians of 40, parts of the width
_EMPTY = {  # without a face; data of scikit-image's and scikit-learn's packages
    "skimage/data": (
        *("brick.png", "camera.png", "cell.png", "chelsea.png", "chessboard_GRAY.png", "clock_motion.png"),
        *("coffee.png", "coins.png", "color.png", "grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg"),
        *("ihc.png", "logo.png", "microaneurysms.png", "moon.png", "motorcycle_left.png", "motorcycle_right.png"),
        *("page.png", "phantom.png", "retina.jpg", "rocket.jpg", "text.png"),
    ),
    "sklearn/datasets/images": ("china.jpg", "flower.jpg"),
}
_WITH_PEOPLE = ("camera.png",)  # a man seen from the side: no false alarm, and no known place either
_BEHIND = ("coffee.png", "gravel.png", "rocket.jpg", "china.jpg", "grass.png", "brick.png")  # faces are laid over these


@dataclass(frozen=True, eq=False)
class Place:
    """Where a face is: its middle (x, y) and side, brows to chin, in pixels; and the kind of its picture."""

    x: float
    y: float
    side: float
    kind: str


@dataclass(frozen=True, eq=False)
class Case:
    """A picture (H, W, 3) uint8 and the faces in it."""

    pixels: np.ndarray = field(repr=False)
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, eq=False)
class Head:
    """One face alone: pixels (H, W, 3) uint8, and where the face is in them."""

    pixels: np.ndarray = field(repr=False)
    place: Place

    def patch(self, side: float) -> Image.Image:
        """A square around the face, `_PATCH` times its side, which becomes `side` pixels."""
        half = _PATCH * self.place.side / 2
        x0, y0, whole = round(self.place.x - half), round(self.place.y - half), round(2 * half)
        pixels = cut(self.pixels, (x0, y0, x0 + whole, y0 + whole))
        target = max(1, round(_PATCH * side))
        return Image.fromarray(pixels).resize((target, target), Image.Resampling.LANCZOS, reducing_gap=3.0)


@cache
def heads(drawn: int = 10, photos: int = 20) -> tuple[Head, ...]:
    """The portraits, so many drawn faces and photos; the photos are missing where the set is."""
    from matplotlib.cbook import get_sample_data
    from skimage.data import astronaut

    hopper = read_image(Path(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    found = [Head(hopper, Place(265, 238, 200, PORTRAITS)), Head(astronaut(), Place(225, 125, 100, PORTRAITS))]
    found += [_drawn_head(seed) for seed in range(drawn)]
    try:
        files = facial_expressions(photos, seed=20) if photos else []
    except UserError as error:
        print(f"no photos of facial_expressions: {error}")
        files = []
    for file in files:
        pixels = read_image(file)
        x, y, side = (part * pixels.shape[1] for part in _SEEN)
        found.append(Head(pixels, Place(x, y, side, PHOTOS)))
    return tuple(found)


def _drawn_head(seed: int) -> Head:
    rng = np.random.default_rng(seed)
    face = sample_face(tuple(EXPRESSIONS)[seed % len(EXPRESSIONS)], rng, size=256)
    top = np.nonzero(face.masks["brows"].any(axis=1))[0][0]
    bottom = np.nonzero(face.masks["face"].any(axis=1))[0][-1]
    eyes = np.nonzero(face.masks["eyes"].any(axis=0))[0]
    return Head(face.pixels, Place(float(eyes.mean()), (top + bottom) / 2, 1.05 * (bottom - top), DRAWN))


@cache
def empty_pictures(names: Sequence[str] | None = None) -> tuple[np.ndarray, ...]:
    """Pictures of objects and textures, by default all without people."""
    paths = []
    for folder, files in _EMPTY.items():
        package, _, rest = folder.partition("/")
        spec = find_spec(package)
        assert spec and spec.submodule_search_locations
        paths += [Path(spec.submodule_search_locations[0]) / rest / file for file in files]
    chosen = [path for path in paths if (path.name in names if names else path.name not in _WITH_PEOPLE)]
    return tuple(read_image(path) for path in chosen)


def _background(number: int, size: tuple[int, int]) -> Image.Image:
    pictures = empty_pictures(_BEHIND)
    return Image.fromarray(pictures[number % len(pictures)]).resize(size, Image.Resampling.BILINEAR)


def laid(heads: Sequence[Head], places: Sequence[tuple[float, float, float]], canvas: Image.Image) -> Case:
    """Heads laid over a picture, the first in front: `places` are middles and sides of their faces."""
    for head, (x, y, side) in reversed(list(zip(heads, places, strict=True))):
        patch = head.patch(side)
        canvas.paste(patch, (round(x - patch.width / 2), round(y - patch.height / 2)))
    known = tuple(Place(*at, head.place.kind) for head, at in zip(heads, places, strict=True))
    return Case(np.asarray(canvas), known)


def _somewhere(number: int, side: float, size: tuple[int, int] = SIZE) -> tuple[float, float, float]:
    """A place for a face, all of whose patch is within the picture where that is large enough."""
    rng = np.random.default_rng(number)
    x, y = (
        rng.uniform(half, length - half) if (half := _PATCH * side / 2) < length / 2 else length / 2 for length in size
    )
    return float(x), float(y), side


def _single(side: float, change: Callable[[Case], Case] = lambda case: case) -> Iterator[Case]:
    """Every head alone in a picture, which is then changed."""
    for number, head in enumerate(heads()):
        yield change(laid([head], [_somewhere(number, side)], _background(number, SIZE)))


def by_size(side: float) -> Iterator[Case]:
    """Faces of so many pixels."""
    return _single(side)


def by_turn(degrees: float) -> Iterator[Case]:
    """Faces of 150 pixels in the middle of a picture that is turned by so much."""
    for number, head in enumerate(heads()):
        case = laid([head], [(300, 300, 150)], _background(number, (600, 600)))
        turned = Image.fromarray(case.pixels).rotate(degrees, Image.Resampling.BICUBIC)
        yield Case(np.asarray(turned), case.places)


def by_blur(radius: float) -> Iterator[Case]:
    """Faces of 100 pixels, blurred by a Gaussian with a standard deviation of so many pixels."""

    def blurred(case: Case) -> Case:
        return Case(np.asarray(Image.fromarray(case.pixels).filter(ImageFilter.GaussianBlur(radius))), case.places)

    return _single(100, blurred)


def by_brightness(factor: float) -> Iterator[Case]:
    """Faces of 100 pixels, light times this."""

    def lit(case: Case) -> Case:
        linear = (case.pixels / np.float32(255)) ** np.float32(2.2) * np.float32(factor)
        return Case((linear.clip(0, 1) ** np.float32(1 / 2.2) * 255).round().astype(np.uint8), case.places)

    return _single(100, lit)


def by_cut(part: float) -> Iterator[Case]:
    """Faces of 150 pixels of which this part lies beyond an edge: left, right, below, above in turn."""
    width, height = SIZE
    for number, head in enumerate(heads()):
        middle = 75 - part * 150  # from the edge
        x, y = ((middle, height / 2), (width - middle, height / 2), (width / 2, height - middle), (width / 2, middle))[
            number % 4
        ]
        yield laid([head], [(x, y, 150)], _background(number, SIZE))


def by_filling(part: float) -> Iterator[Case]:
    """Square pictures of 400 pixels whose face is this part of it wide."""
    for number, head in enumerate(heads()):
        yield laid([head], [(200, 200, 400 * part)], _background(number, (400, 400)))


def by_group(side: float) -> Iterator[Case]:
    """Sixty faces in six rows, patch beside patch: each kind alone, and all mixed; faces of so many pixels."""
    kinds = [[head for head in heads() if head.place.kind == kind] for kind in (DRAWN, PHOTOS)]
    step = _PATCH * side
    for number, chosen in enumerate([*filter(None, kinds), list(heads())]):
        order = np.random.default_rng(number).integers(len(chosen), size=60)
        places = [((column + 0.5) * step, (row + 0.5) * step, side) for row in range(6) for column in range(10)]
        yield laid([chosen[i] for i in order], places, Image.new("RGB", (round(10 * step), round(6 * step))))


def by_sheet(side: int) -> Iterator[Case]:
    """Sixty whole photos of facial_expressions in six rows, so many pixels wide each; three such sheets."""
    found = [head for head in heads() if head.place.kind == PHOTOS]
    for seed in range(3 if found else 0):
        canvas, places = Image.new("RGB", (10 * side, 6 * side)), []
        for number, file in enumerate(facial_expressions(60, seed)):
            x, y = number % 10 * side, number // 10 * side
            canvas.paste(Image.fromarray(read_image(file)).resize((side, side)), (x, y))
            places.append(Place(x + _SEEN[0] * side, y + _SEEN[1] * side, _SEEN[2] * side, PHOTOS))
        yield Case(np.asarray(canvas), tuple(places))


def by_behind(times: float) -> Iterator[Case]:
    """A face of 320 pixels, and beside it one that is so many times smaller, in pictures of 1,600 x 1,200."""
    all_heads = heads()
    for number, head in enumerate(all_heads):
        near, side = all_heads[(number + 1) % len(all_heads)], 320 / times
        x, y, _ = _somewhere(number, side, (600, 1000))
        yield laid([near, head], [(500, 650, 320), (900 + x, y, side)], _background(number, (1600, 1200)))


def by_large_photo(side: float) -> Iterator[Case]:
    """Four faces of so many pixels in photos of 4,000 x 3,000, in a quarter each."""
    all_heads = heads()
    for number in range(0, len(all_heads), 4):
        chosen = [all_heads[(number + i) % len(all_heads)] for i in range(4)]
        places = []
        for i in range(4):
            x, y, _ = _somewhere(number + i, side, (2000, 1500))
            places.append((x + 2000 * (i % 2), y + 1500 * (i // 2), side))
        yield laid(chosen, places, _background(number // 4, (4000, 3000)))


def without_faces(side: float) -> Iterator[Case]:
    """Pictures of objects and textures, their long side so many pixels, and turned by a quarter."""
    for pixels in empty_pictures():
        picture = Image.fromarray(pixels)
        scale = side / max(picture.size)
        picture = picture.resize(tuple(max(1, round(length * scale)) for length in picture.size))  # type: ignore[arg-type]
        yield Case(np.asarray(picture))
        yield Case(np.rot90(np.asarray(picture)).copy())


#: Name of a curve -> what its pictures are made by, and the values along it.
CURVES: dict[str, tuple[Callable[..., Iterator[Case]], tuple[float, ...]]] = {
    "size": (by_size, (10, 14, 20, 26, 32, 48, 64, 128, 256)),
    "turn": (by_turn, (0, 15, 30, 45, 60, 90, 135, 180)),
    "blur": (by_blur, (0, 2, 4, 6, 8, 12, 16)),
    "brightness": (by_brightness, (0.005, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)),
    "cut": (by_cut, (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),
    "filling": (by_filling, (0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5)),
    "group": (by_group, (20, 32, 48, 64, 100)),
    "sheet": (by_sheet, (48, 64, 100, 160)),
    "behind": (by_behind, (2, 4, 6, 8, 12, 16)),
    "large photo": (by_large_photo, (32, 48, 64, 100, 160, 320)),
    "no face": (without_faces, (200, 400, 800, 1600)),
}
