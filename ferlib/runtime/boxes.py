"""Boxes around faces, drawn into a picture: each with its number and expression, in the expression's colour."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from ferlib.labels import COLOURS

MANY_FACES = 6  # more than these are tagged with less room


def draw_boxes(
    picture: Image.Image,
    boxes: Sequence[np.ndarray],
    labels: Sequence[str],
    numbers: Sequence[int],
    classes: Sequence[str] | None = None,
) -> None:
    """Draw boxes and their tags into a picture.

    Args:
        picture: in RGB; is changed.
        boxes: (x0, y0, x1, y1) in its pixels; may reach beyond its edge.
        labels: words for each: its expression.
        numbers: of each.
        classes: the expression whose colour each has, "" for none; None: its label.
    """
    draw = ImageDraw.Draw(picture)
    line = max(3, round(max(picture.size) / 220))
    inside = [np.asarray(box).clip(line, np.tile(picture.size, 2) - line - 1) for box in boxes]
    classes = labels if classes is None else classes
    for name, box in zip(classes, inside, strict=True):
        draw.rectangle([*(box[:2] - 1), *(box[2:] + 1)], outline=_edge(name), width=line + 2)
        draw.rectangle(list(box), outline=colour(name), width=line)
    few = len(inside) <= MANY_FACES
    size = max(picture.size) / (34 if few else 42)
    for number, label, name, box in zip(numbers, labels, classes, inside, strict=True):
        _draw_tag(draw, f"{number}", label, name, box, size, room=1.7 if few else 1)


def _draw_tag(
    draw: ImageDraw.ImageDraw, number: str, label: str, name: str, box: np.ndarray, size: float, room: float
) -> None:
    """Write a face's number above its box, or inside where the picture ends, and its label if it fits `room` boxes."""
    x0, y0, x1, _ = box
    font = ImageFont.load_default(size)
    pad, height = size * 0.35, size * 1.35
    text = f"{number}  {label}"
    if draw.textlength(text, font) + 2 * pad > room * (x1 - x0):
        text = number
    width = draw.textlength(text, font) + 2 * pad
    left = max(0, min(x0, draw.im.size[0] - width))
    top = y0 - height if y0 >= height else y0
    draw.rectangle([left, top, left + width, top + height], fill=colour(name), outline=None if name else "black")
    draw.text((left + pad, top + height / 2), text, ink(name), font, anchor="lm")


def colour(label: str) -> str:
    """The colour of an expression; white for "", which is none, and grey for one that is not in ferlib.labels."""
    return COLOURS.get(label, "#7f7f7f") if label else "#ffffff"


def _edge(label: str) -> str:
    """The colour around that of an expression: a white box has a black edge, any other a white one."""
    return "white" if label else "black"


def ink(label: str) -> str:
    """Black or white, whichever can be read better on the colour of an expression (relative luminance of WCAG 2)."""
    channels = np.array(ImageColor.getrgb(colour(label))) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "white"
