"""The face that a small page is about: cut out of a visitor's photo, or drawn."""

from collections.abc import Iterable
from pathlib import Path

import gradio as gr
import numpy as np

from ferlib.app.drawing import examples
from ferlib.errors import UserError
from ferlib.predict import find_faces

SIDE = 48  # pixels of a face, as in FER2013
FIRST = "a drawn face, happiness"


def face_of(photo: str | Path | np.ndarray | None) -> np.ndarray:
    """The main face of a photo, (48, 48, 3) uint8 in the training set's framing.

    Raises:
        UserError: no photo, none that can be read, or no face in it.
    """
    if photo is None:
        raise UserError("Choose a photo, or one of the examples.")
    found = find_faces(photo, faces="main")
    if found.error:
        raise UserError(found.error)
    return found.faces[0].resized(SIDE)


def photos_to_click() -> dict[str, np.ndarray]:
    """Drawn faces, and portraits in the public domain, (H, W, 3) uint8, by what they show; a drawn smile first."""
    wanted = {title: one for title, one in examples().items() if title.startswith(("a drawn face", "a portrait"))}
    return {FIRST: wanted[FIRST]} | wanted


def photo_input(first: Path | np.ndarray) -> gr.Image:
    """A place for a photo in the page that is being laid out; the first is there already."""
    return gr.Image(_shown(first), label="Face", type="filepath", height=200, buttons=[])


def photo_row(photos: Iterable[Path | np.ndarray], photo: gr.Image) -> None:
    """Photos to click, in a row of the page that is being laid out; a click puts one into `photo`."""
    gr.Examples(
        [[_shown(one)] for one in photos], photo, label="Or click one", examples_per_page=12, api_visibility="private"
    )


def _shown(photo: Path | np.ndarray) -> str | np.ndarray:
    return str(photo) if isinstance(photo, Path) else photo
