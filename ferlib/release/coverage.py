"""Coverage of the released models' prediction sets on test faces, answered as a user gets them, without PyTorch.

Whole faces of a training set's framing are classified as they are; photos go through the face detector, and of several
faces in one the largest is taken.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.detection.crop import FaceCrop
from ferlib.errors import UserError
from ferlib.models.registry import load_model
from ferlib.predict import Predictor, find_faces
from ferlib.release.prediction_sets import measure_prediction_sets
from ferlib.runtime.prediction_sets import FILE
from ferlib.runtime.released import model_folder
from ferlib.utils.atomic import read_json
from ferlib.utils.progress import progress

Shown = np.ndarray | FaceCrop | None  # a face as it is stored, one cut out of a photo, or none found in it

OWN = "own"  # stands for the data set that a model's prediction sets were calibrated on
PHOTOS = ("facial_expressions",)  # data sets whose pictures are photos, not faces in the training sets' framing


def coverage_entries(models: list[str], data: list[str], read: Callable[[str, int | None], FaceDataset]) -> list[dict]:
    """Figures of each model's prediction sets on each data set, JSON-ready.

    Args:
        models: released models' names or model folders, with prediction sets.
        data: names of data sets, `OWN` among them, which stands for the one that a model's sets were calibrated on.
        read: loads the data set of a name, a folder of one's own at a side in pixels, that in which the model sees it.
    """
    entries: list[dict] = []
    loaded: dict[tuple[str, int | None], tuple[FaceDataset, list[Shown]]] = {}
    for asked in data:
        for model in models:
            folder = model_folder(model)
            if not (folder / FILE).is_file():
                raise UserError(f"{model} has no prediction sets; `ferlib calibrate` makes them")
            name = read_json(folder / FILE)["calibrated_on"]["data"] if asked == OWN else asked
            side = load_model(folder).config.side if name == "folder" else None
            if (name, side) not in loaded:
                loaded[name, side] = shown_faces(name, read(name, side).split("test"))
            part, faces = loaded[name, side]
            entries.append({"model": model, **measured(folder, part, faces)})
    return entries


def shown_faces(name: str, part: FaceDataset) -> tuple[FaceDataset, list[Shown]]:
    """A part of the data set of this name, and of each picture the face that models are shown."""
    pictures = (
        one[0].numpy() if len(one) == 1 else one.permute(1, 2, 0).numpy()
        for one in map(part.pixels.__getitem__, range(len(part)))
    )
    if name not in PHOTOS:
        return part, list(pictures)
    return part, [_largest_face(picture) for picture in progress(pictures, name, "photo", total=len(part))]


def _largest_face(photo: np.ndarray) -> FaceCrop | None:
    return max(find_faces(photo).faces, key=lambda crop: crop.face.side, default=None)


def measured(folder: Path, part: FaceDataset, faces: Sequence[Shown]) -> dict:
    """Figures of one model on some faces; those of classes that it does not know, and those not found, are left out."""
    predictor = Predictor.load(folder)
    known = np.isin(np.array(part.classes)[part.frame["label"]], predictor.classes)
    found = np.array([face is not None for face in faces], bool)
    kept, side = part.subset(known & found), predictor.classifier.side
    if not len(kept):
        raise DataError(f"{part.name} has no test faces of a class that {folder.name} knows")
    shown = [face for face, wanted in zip(faces, known, strict=True) if wanted and face is not None]
    probabilities, _ = predictor.classify([one.resized(side) if isinstance(one, FaceCrop) else one for one in shown])
    predicted = np.array(predictor.classes)[probabilities.argmax(axis=1)]
    return {
        "data": part.name,
        "split": "test",
        "faces": len(kept),
        "left_out": {"of unknown classes": int((~known).sum()), "without a face found": int((known & ~found).sum())},
        "accuracy": float((predicted == np.array(part.classes)[kept.frame["label"]]).mean()),
        "sets": measure_prediction_sets(folder, kept, probabilities),
    }
