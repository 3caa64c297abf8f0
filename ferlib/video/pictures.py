"""Pictures of a film whose table is done: the film with its faces boxed, and the best face of each expression."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from ferlib.detection.crop import cut
from ferlib.errors import UserError
from ferlib.runtime.boxes import draw_boxes
from ferlib.utils.atomic import atomic_write
from ferlib.video.predictor import FramePrediction, Source
from ferlib.video.reading import VideoReader
from ferlib.video.table import VideoTable
from ferlib.video.writing import VideoWriter


def boxed(frame: FramePrediction) -> np.ndarray:
    """A frame, (H, W, 3) uint8, with every face boxed and numbered, in the colour of its smoothed expression."""
    boxes = [np.array(face.box) for face in frame.faces]
    return _drawn(frame.pixels, boxes, [face.label for face in frame.faces], [face.track for face in frame.faces])


def require_no_pictures(folder: Path) -> None:
    """Assert that a folder, if it is there, holds no face of a film yet: those of two would be one heap.

    Raises:
        UserError: it does.
    """
    if found := sorted(path.name for path in folder.glob("track[0-9][0-9][0-9]*_*_*s.jpg")):
        raise UserError(f"{folder} already holds faces of a film ({found[0]}); take another folder, or move them away")


def show_again(
    source: Source,
    table: VideoTable,
    every: int = 1,
    until: float | None = None,
    annotated: str | Path | None = None,
    telling: str | Path | None = None,
    report: Callable[[int, float], object] | None = None,
) -> list[Path]:
    """Go through a film a second time, now that its table is known, and make pictures of it.

    Args:
        source: the film's file.
        table: of that film.
        every, until: as the table was made; frames between show the faces of the last one that was looked at.
        annotated: file for the film with its faces boxed, in their smoothed expressions; ends in .mp4.
        telling: folder for the face of the most telling frame of each track and expression, as JPEG files; without
            such pictures of another film or run.
        report: is given the number of frames so far, and the time.

    Returns:
        The JPEG files.

    Raises:
        UserError: the folder holds such pictures already.
        VideoError: the film cannot be read.
    """
    if telling:
        require_no_pictures(Path(telling))
    rows = table.rows
    numbers = np.array(rows["frame"])
    wanted: dict[int, list[tuple[int, Path]]] = {}
    for (track, name), place in (table.most_telling() if telling else {}).items():
        file = Path(telling or "") / f"track{track:03d}_{name}_{rows['time'][place]:.2f}s.jpg"
        wanted.setdefault(int(numbers[place]), []).append((place, file))
    files = []
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(source, live=False))
        writer = stack.enter_context(VideoWriter(annotated, reader.rate)) if annotated else None
        last = int(numbers[-1]) + every if len(numbers) else 0
        for frame in reader.frames():
            if until is not None and frame.time >= until:
                break
            looked_at = frame.number // every * every
            for place, file in wanted.get(frame.number, ()):
                x0, y0, x1, y1 = rows["box"][place].tolist()
                with atomic_write(file) as partial:
                    Image.fromarray(cut(frame.pixels, (x0, y0, x1, y1))).save(partial, "JPEG", quality=92)
                files.append(file)
            if writer:
                faces = rows[slice(*np.searchsorted(numbers, (looked_at, looked_at + 1)))]
                labels = [table.classes[place] for place in faces["smoothed"].argmax(axis=1)]
                writer.write(_drawn(frame.pixels, list(faces["box"]), labels, faces["track"].tolist()), frame.time)
            if report:
                report(frame.number + 1, frame.time)
            if frame.number >= last and not writer:
                break
    return sorted(files)


def _drawn(pixels: np.ndarray, boxes: list[np.ndarray], labels: list[str], numbers: list[int]) -> np.ndarray:
    if not boxes:
        return pixels
    picture = Image.fromarray(pixels)
    draw_boxes(picture, boxes, labels, numbers)
    return np.asarray(picture)
