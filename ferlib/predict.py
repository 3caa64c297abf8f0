"""The `Predictor`: a photo in, every face in it with its expression out. The door for app, notebooks and commands."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, overload

import numpy as np
from PIL import Image

from ferlib.detection.crop import FaceCrop, framed_face
from ferlib.detection.faces import detect_faces, require_min_face
from ferlib.detection.main_face import main_face, require_choice
from ferlib.detection.measures import measures_of
from ferlib.detection.quality import quality_of
from ferlib.detection.regions import parts_of_heatmap
from ferlib.errors import MissingPackage, UserError
from ferlib.explain import METHODS
from ferlib.image_paths import expand, name_of
from ferlib.images import ImageError, read_image, to_uint8
from ferlib.labels import require_class_names
from ferlib.results import FacePrediction, ImagePrediction
from ferlib.runtime.classifier import Classifier, OnnxClassifier
from ferlib.runtime.prediction_sets import PredictionSets, read_prediction_sets
from ferlib.runtime.released import model_folder, released_onnx
from ferlib.utils.packages import lab_is_installed, needs_lab

if TYPE_CHECKING:  # the lab, which need not be installed
    import torch

    from ferlib.explain.classifier import TorchClassifier
    from ferlib.models.base import FaceModel
    from ferlib.models.preprocess import Preprocess

__all__ = ["DEFAULT_MODEL", "FacePrediction", "FoundFaces", "ImagePrediction", "Predictor", "find_faces"]

DEFAULT_MODEL = "convcut_ferplus"

FACES_A_PASS = 32  # of a photo, through the model at once

Picture = str | PathLike | bytes | IO[bytes] | Image.Image | np.ndarray


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """A photo after detection, before any model has judged it.

    Attributes:
        name: the file's path as given, or "image".
        faces: cut out of the photo, in reading order; empty when there is an error.
        error: None, or one sentence for the person who sent the photo.
        image: the photo, upright, (H, W, 3) uint8; None when it could not be read.
    """

    name: str
    faces: tuple[FaceCrop, ...] = ()
    error: str | None = None
    image: np.ndarray | None = field(default=None, repr=False)


def find_faces(
    source: Picture | None, detection: bool = True, faces: str = "all", min_face: float | None = None
) -> FoundFaces:
    """Read a photo and cut out the faces in it, for any number of models to judge.

    Args:
        source: a picture as `ferlib.images.read_image` takes it; None is an error like any other.
        detection: False for a picture that is a face, cut out as the training set's: its middle square is taken.
        faces: "all", or "main" for the largest, most central one alone.
        min_face: side in pixels of the smallest faces that are wanted, see `ferlib.detection.faces.detect_faces`.

    Returns:
        The faces, or why there are none: never an exception for a bad picture.

    Raises:
        UserError: `faces` or `min_face` is not what can be asked for.
    """
    require_choice(faces)
    require_min_face(min_face)
    name = name_of(source)
    try:
        image = read_image(source)
    except ImageError as error:
        return FoundFaces(name, error=str(error))
    found = detect_faces(image, min_face=min_face) if detection else [framed_face(image)]
    if not found:
        size = f" of {min_face:g} pixels or more" if min_face else ""
        return FoundFaces(name, error=f"No face{size} was found in the picture.", image=image)
    wanted = found if faces == "all" else [main_face(found, image.shape)]
    return FoundFaces(name, tuple(FaceCrop.of(image, face) for face in wanted), image=image)


class Predictor:
    """A trained model behind face detection.

    Probabilities and Grad-CAM of a released model come from its exported graph, run by onnxruntime. PyTorch is imported
    only for another model, another device than the CPU, or another explanation.

    Attributes:
        classifier: the model that answers.

    Args:
        model: any trained `FaceModel`, which is put into evaluation mode; or a `Classifier`.
        device: of a `FaceModel`, see `ferlib.utils.devices.choose_device`: "cpu", "auto" for a GPU if there is one …
        lab: makes the same model for PyTorch, where `model` is an exported one.
        sets: makes the faces' prediction sets; None: there are none.

    Raises:
        UserError: the sets are for other classes, or a class has the name of another column of a table.
    """

    def __init__(
        self,
        model: "FaceModel | Classifier",
        device: "str | torch.device" = "cpu",
        lab: "Callable[[], TorchClassifier] | None" = None,
        sets: PredictionSets | None = None,
    ):
        self.classifier = _classifier(model, device)
        require_class_names(self.classes)
        self._make_lab, self.sets = lab, sets
        if sets and sets.classes != self.classes:
            raise UserError(f"the prediction sets are for {', '.join(sets.classes)}, not for {', '.join(self.classes)}")

    @classmethod
    def load(
        cls,
        name_or_dir: str | Path = DEFAULT_MODEL,
        device: "str | torch.device" = "cpu",
        coverage: float | None = None,
        truth: str = "label",
    ) -> Self:
        """A predictor with a released model, a model folder, or one of the Hugging Face hub.

        Args:
            name_or_dir: as in `ferlib.models.registry.load_model`.
            device: where it runs; "auto" is a GPU if PyTorch and one are there.
            coverage, truth: of the faces' prediction sets, see `ferlib.runtime.prediction_sets.read_prediction_sets`;
                without a coverage there are none.

        Raises:
            UserError: there is no such model or device; the folder is damaged, or has no sets of that coverage.
            MissingPackage: the model or the device needs PyTorch, which is not installed.
        """
        folder = model_folder(name_or_dir)
        sets = None if coverage is None else read_prediction_sets(folder, coverage, truth)
        exported = released_onnx(folder)
        if exported and _is_cpu(device):
            lab = _Lab(folder) if (folder / "model.safetensors").is_file() else None
            return cls(OnnxClassifier(exported), lab=lab, sets=sets)
        if not lab_is_installed():
            raise MissingPackage(needs_lab(f"the device {device}" if exported else f"the model {name_or_dir}"))
        from ferlib.models.registry import load_model

        return cls(load_model(folder), device, sets=sets)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self.classifier.classes

    @property
    def methods(self) -> tuple[str, ...]:
        """Explanations that `predict` can give here: some of `ferlib.explain.METHODS`."""
        own = self.classifier.methods
        if self._make_lab is None or not lab_is_installed():
            return own
        return getattr(self.classifier, "explained_in_the_lab", own)

    @property
    def model(self) -> "FaceModel":
        """The network itself, in PyTorch.

        Raises:
            MissingPackage: PyTorch is not installed.
        """
        return self._lab.model

    @property
    def preprocess(self) -> "Preprocess":
        """The preparation of the network's input, in PyTorch."""
        return self._lab.preprocess

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self._make_lab:  # it can be made again from the folder
            state.pop("_lab", None)
        return state

    @cached_property
    def _lab(self) -> "TorchClassifier":
        if self._make_lab is None:
            if isinstance(self.classifier, OnnxClassifier):
                raise UserError("the model's folder has a model.onnx and no weights: there is no network in PyTorch")
            return self.classifier  # type: ignore[return-value]  # it is one
        if not lab_is_installed():
            raise MissingPackage(needs_lab("the network itself"))
        return self._make_lab()

    @overload
    def predict(
        self,
        source: Picture,
        explain: str | None = None,
        detection: bool = True,
        landmarks: bool = False,
        faces: str = "all",
        min_face: float | None = None,
    ) -> ImagePrediction: ...

    @overload
    def predict(
        self,
        source: list[Picture] | tuple[Picture, ...],
        explain: str | None = None,
        detection: bool = True,
        landmarks: bool = False,
        faces: str = "all",
        min_face: float | None = None,
    ) -> list[ImagePrediction]: ...

    def predict(
        self,
        source: Picture | list[Picture] | tuple[Picture, ...],
        explain: str | None = None,
        detection: bool = True,
        landmarks: bool = False,
        faces: str = "all",
        min_face: float | None = None,
    ) -> ImagePrediction | list[ImagePrediction]:
        """Find and classify every face in a photo, or in each of several.

        Args:
            source: a path, bytes, an open file, a data URL, a PIL image or an array, see `ferlib.images.read_image`; or
                a list of these, in which paths may also be folders and patterns such as `holiday/*.jpg`.
            explain: None, or one of `methods` for a heat map of the predicted class with every face.
            detection: False for pictures that are faces, cut out as the training set's: of each the middle square is
                classified.
            landmarks: True for the pose of every head and how open eyes and mouth are, `FacePrediction.measures`.
            faces, min_face: which faces are wanted, as in `find_faces`.

        Returns:
            The result; of a list a list, a result a photo. A photo that cannot be read or has no face gives a result
            with an error, never an exception.
        """
        self.require_method(explain)
        if isinstance(source, list | tuple):
            found = (find_faces(one, detection, faces, min_face) for given in source for one in expand(given))
            return [self.judge(one, explain, landmarks) for one in found]
        return self.judge(find_faces(source, detection, faces, min_face), explain, landmarks)

    def predict_many(
        self,
        sources: Iterable[Picture],
        workers: int = 1,
        explain: str | None = None,
        detection: bool = True,
        landmarks: bool = False,
        faces: str = "all",
        min_face: float | None = None,
    ) -> Iterator[ImagePrediction]:
        """The results of many pictures one after the other, in order; memory holds only a few at a time.

        Args:
            sources: pictures, folders and patterns as in `predict`'s lists; taken as they are needed.
            workers: processes; with 1 it is done in this one. Each loads the model once and computes with one thread.
            explain, detection, landmarks, faces, min_face: as in `predict`.

        Raises:
            UserError: there is no such explanation or choice of faces, or the model cannot be sent to other processes.
            RunError: the processes do not start.
        """
        self.require_method(explain)
        require_choice(faces)
        require_min_face(min_face)
        if workers < 1:
            raise UserError(f"there must be at least one worker, not {workers}")
        pictures = (one for given in sources for one in expand(given))
        if workers == 1:
            return (self.judge(find_faces(one, detection, faces, min_face), explain, landmarks) for one in pictures)
        from ferlib.predict_many import predict_in_processes

        return predict_in_processes(self, pictures, workers, explain, detection, landmarks, faces, min_face)

    def judge(self, found: FoundFaces, explain: str | None = None, landmarks: bool = False) -> ImagePrediction:
        """Classify the faces of a photo that were found before; otherwise as `predict`."""
        self.require_method(explain)
        if found.image is None or not found.faces:
            return ImagePrediction(found.name, (), found.error, found.image)
        side = self.classifier.side
        probabilities, heatmaps = self.classify([crop.resized(side) for crop in found.faces], explain)
        faces = []
        for i, crop in enumerate(found.faces):
            scores = dict(zip(self.classes, probabilities[i].tolist(), strict=True))
            heatmap = None if heatmaps is None else heatmaps[i]
            measures = measures_of(crop) if landmarks else None
            face = FacePrediction(crop.box, scores, crop.pixels, heatmap, quality_of(crop).warnings, measures=measures)
            if self.sets:
                face = replace(face, coverage=self.sets.coverage, prediction_set=self.sets.names(probabilities[i]))
            faces.append(
                face if heatmap is None else replace(face, find_parts=partial(parts_of_heatmap, heatmap, crop))
            )
        return ImagePrediction(found.name, tuple(faces), None, found.image)

    def require_method(self, explain: str | None) -> None:
        """Assert that an explanation can be given.

        Raises:
            UserError: it does not exist, or the model does not have it.
            MissingPackage: it needs PyTorch, which is not installed.
        """
        if explain is None or explain in self.methods:
            return
        if explain not in METHODS:
            raise UserError(f"unknown explanation {explain!r}, expected one of {', '.join(METHODS)}")
        if self._make_lab and explain in getattr(self.classifier, "explained_in_the_lab", ()):
            raise MissingPackage(needs_lab(f"the explanation {explain}"))
        raise UserError(f"{self.classifier.architecture} has no {explain}; there is {', '.join(self.methods)}")

    def classify(
        self, faces: Sequence[np.ndarray], explain: str | None = None, together: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Classify face crops, without detection.

        Args:
            faces: (S, S) or (S, S, 3) each, uint8 or floats 0..1, in the training set's framing, all of one shape.
            explain: as in `predict`.
            together: a model that mixes the faces of a batch answers these as one; else it is asked about each alone.

        Returns:
            Probabilities (N, classes), and heat maps (N, S, S) float32 over the whole crops, or None.

        Raises:
            ValueError: faces of several shapes, or values that are no pixels; or there is no such explanation.
        """
        self.require_method(explain)
        pixels = stacked(faces)
        if not len(pixels):
            side = self.classifier.side
            nothing = np.zeros((0, len(self.classes)), np.float32)
            return nothing, np.zeros((0, side, side), np.float32) if explain else None
        classifier = self.classifier if explain in (None, *self.classifier.methods) else self._lab
        most = FACES_A_PASS
        if classifier.mixes_batch:
            most = len(pixels) if together else 1
        batches = np.array_split(pixels, range(most, len(pixels), most))
        parts = [classifier.classify(batch, explain) for batch in batches]
        maps = [heat for _, heat in parts if heat is not None]
        return np.concatenate([scores for scores, _ in parts]), np.concatenate(maps) if maps else None


@dataclass(frozen=True)
class _Lab:
    """Makes the PyTorch classifier of a model folder; a class, so that predictors can be pickled."""

    folder: Path

    def __call__(self) -> "TorchClassifier":
        from ferlib.explain.classifier import TorchClassifier
        from ferlib.models.registry import load_model

        return TorchClassifier(load_model(self.folder))


def _classifier(model: "FaceModel | Classifier", device: "str | torch.device") -> Classifier:
    if isinstance(model, Classifier):
        return model
    from ferlib.explain.classifier import TorchClassifier

    return TorchClassifier(model, device)


def _is_cpu(device: "str | torch.device") -> bool:
    """True if a device's name stands for the CPU here."""
    if str(device) == "cpu":
        return True
    if not lab_is_installed():
        return str(device) == "auto"
    from ferlib.utils.devices import choose_device

    return choose_device(device).type == "cpu"


def stacked(faces: Sequence[np.ndarray]) -> np.ndarray:
    """Face crops as one array (N, S, S) or (N, S, S, 3) uint8.

    Raises:
        ValueError: crops of several shapes, or values that are no pixels.
    """
    if not len(faces):
        return np.zeros((0, 1, 1), np.uint8)
    shapes = {np.shape(face) for face in faces}
    if len(shapes) > 1:
        raise UserError(f"the faces must have one shape, not {', '.join(map(str, sorted(shapes)))}")
    (shape,) = shapes
    if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or 0 in shape or shape[0] != shape[1]:
        raise UserError(f"faces are a list, each (S, S) or (S, S, 3), not {shape}")
    return np.stack([to_uint8(np.asarray(face), "The face") for face in faces])
