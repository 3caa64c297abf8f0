"""The `Predictor`: a photo in, every face in it with its expression out. The door for app, notebooks and commands."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
import torch
from PIL import Image

from ferlib.detection.faces import Face, crop_box, crop_face, crop_points, detect_faces, find_landmarks, framed_face
from ferlib.detection.quality import quality_of
from ferlib.detection.regions import REGIONS, areas, energies, landmark_regions
from ferlib.errors import UserError
from ferlib.explain import METHODS
from ferlib.explain.methods import explain as explain_batch
from ferlib.explain.methods import methods_of
from ferlib.image_paths import expand, name_of
from ferlib.images import ImageError, read_image, to_uint8
from ferlib.models.base import FaceModel, to_device
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import load_model, released_onnx
from ferlib.runtime.overlay import overlay
from ferlib.runtime.preprocess import Preprocessing, softmax
from ferlib.runtime.session import OnnxModel
from ferlib.utils.devices import choose_device

DEFAULT_MODEL = "convcut_ferplus"
VIEW_SIZE = 224  # side in pixels of the face shown beside its result

Picture = str | PathLike | bytes | IO[bytes] | Image.Image | np.ndarray


@dataclass(frozen=True, eq=False)
class FacePrediction:
    """One face and what the model says about it.

    Attributes:
        box: the square (x0, y0, x1, y1) that the model saw, in the photo's pixels; may reach beyond its edge.
        scores: probability of every class, in the model's order; they sum to 1.
        crop: the square in the photo's own pixels, (S, S, 3) uint8.
        heatmap: what the model looked at, (S, S) float32 in 0..1 over the same square, if it was asked for.
        parts: for every part of the face (`ferlib.detection.regions.REGIONS`) its fraction of the heat map and its
            share of the square, where there is a heat map.
        warnings: why the answer is doubtful, keys of `ferlib.detection.quality.WARNINGS`.
    """

    box: tuple[int, int, int, int]
    scores: dict[str, float]
    crop: np.ndarray = field(repr=False)
    heatmap: np.ndarray | None = field(default=None, repr=False)
    parts: dict[str, tuple[float, float]] | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box
        if not (x0 < x1 and y0 < y1):
            raise UserError(f"a box is (x0, y0, x1, y1) with x0 < x1 and y0 < y1, not {self.box}")
        if not self.scores or min(self.scores.values()) < 0 or abs(sum(self.scores.values()) - 1) > 1e-4:
            raise UserError(f"scores must be probabilities that sum to 1, not {self.scores}")

    @property
    def label(self) -> str:
        """The most probable class."""
        return max(self.scores, key=self.scores.__getitem__)

    @property
    def margin(self) -> float:
        """How far the first class is ahead of the second, 0..1: small means undecided."""
        first, second = sorted(self.scores.values(), reverse=True)[:2]
        return first - second

    @cached_property
    def face(self) -> np.ndarray:
        """The square as it is shown, (224, 224, 3) uint8."""
        return np.array(Image.fromarray(self.crop).resize((VIEW_SIZE, VIEW_SIZE), Image.Resampling.BICUBIC))

    def overlay(self, opacity: float = 0.5) -> np.ndarray:
        """The heat map over the face, (224, 224, 3) uint8.

        Raises:
            ValueError: no explanation was asked for.
        """
        if self.heatmap is None:
            raise UserError("there is no heat map; predict with explain='gradcam'")
        return overlay(self.face, self.heatmap, opacity)


@dataclass(frozen=True, eq=False)
class ImagePrediction:
    """A photo's faces from left to right, or the sentence that says why there are none.

    Attributes:
        name: the file's path as given, or "image".
        faces: empty when there is an error.
        error: None, or one sentence for the person who sent the photo.
        image: the photo, upright, (H, W, 3) uint8; None when it could not be read.
    """

    name: str
    faces: tuple[FacePrediction, ...]
    error: str | None = None
    image: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if bool(self.faces) == bool(self.error):
            raise UserError("a result has either faces or an error")


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """A photo after detection, before any model has judged it.

    Attributes:
        name: the file's path as given, or "image".
        faces: from left to right; empty when there is an error.
        error: None, or one sentence for the person who sent the photo.
        image: the photo, upright, (H, W, 3) uint8; None when it could not be read.
    """

    name: str
    faces: tuple[Face, ...] = ()
    error: str | None = None
    image: np.ndarray | None = field(default=None, repr=False)


def find_faces(source: Picture | None, detection: bool = True) -> FoundFaces:
    """Read a photo and find the faces in it, for any number of models to judge.

    Args:
        source: what `ferlib.images.read_image` takes; None is an error like any other.
        detection: False for a picture that is a face, cut out as the training set's: its middle square is taken.

    Returns:
        The faces, or why there are none: never an exception for a bad picture.
    """
    name = name_of(source)
    try:
        image = read_image(source)
    except ImageError as error:
        return FoundFaces(name, error=str(error))
    faces = detect_faces(image) if detection else [framed_face(image)]
    if not faces:
        return FoundFaces(name, error="No face was found in the picture.", image=image)
    return FoundFaces(name, tuple(faces), image=image)


def shares_of_parts(heatmap: np.ndarray, image: np.ndarray, face: Face) -> dict[str, tuple[float, float]] | None:
    """Where a heat map (S, S) over a face's square lies: part -> (its fraction of the map, its fraction of the square).

    None for an empty map.
    """
    if not heatmap.any():
        return None
    points = crop_points(find_landmarks(image, face), face, len(heatmap))
    regions = landmark_regions(points, len(heatmap))[None]
    shares = zip(energies(heatmap[None], regions)[0].tolist(), areas(regions)[0].tolist(), strict=True)
    return dict(zip(REGIONS, shares, strict=True))


class Predictor:
    """A trained model behind face detection.

    Attributes:
        methods: what `explain` may be, those of `METHODS` that the model allows.

    Args:
        model: any trained `FaceModel`; put into evaluation mode.
        device: where it runs, see `ferlib.utils.devices.choose_device`: "cpu", "auto" for a GPU if there is one, "cuda"
            …
        batch_size: faces a pass.
        onnx: the same model exported (`ferlib.release.onnx_export`), or None. Where no explanation is asked for it
            answers in the model's place, several times as fast for a single face. Only on the CPU.
    """

    def __init__(
        self, model: FaceModel, device: str | torch.device = "cpu", batch_size: int = 32, onnx: Path | None = None
    ):
        self.model = model.eval()
        self.device, self.batch_size = choose_device(device), batch_size
        to_device(model, self.device)
        self.preprocess = Preprocess.of(model.config)
        self.methods = methods_of(self.model)
        self._onnx = OnnxModel(onnx, torch.get_num_threads()) if onnx and self.device.type == "cpu" else None
        self._process = os.getpid()

    @classmethod
    def load(cls, name_or_dir: str | Path = DEFAULT_MODEL, device: str | torch.device = "cpu") -> "Predictor":
        """With a released model, or one from a folder; see `ferlib.models.registry.load_model`."""
        return cls(load_model(name_or_dir), device, onnx=released_onnx(name_or_dir))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self.model.config.classes

    @overload
    def predict(self, source: Picture, explain: str | None = None, detection: bool = True) -> ImagePrediction: ...

    @overload
    def predict(
        self, source: list[Picture] | tuple[Picture, ...], explain: str | None = None, detection: bool = True
    ) -> list[ImagePrediction]: ...

    def predict(
        self, source: Picture | list[Picture] | tuple[Picture, ...], explain: str | None = None, detection: bool = True
    ) -> ImagePrediction | list[ImagePrediction]:
        """Find and classify every face in a photo, or in each of several.

        Args:
            source: a path, bytes, an open file, a data URL, a PIL image or an array, see `ferlib.images.read_image`; or
                a list of these, in which paths may also be folders and patterns such as "holiday/*.jpg".
            explain: None, or one of `methods` for a heat map of the predicted class with every face.
            detection: False for pictures that are faces, cut out as the training set's: of each the middle square is
                classified.

        Returns:
            The result; of a list a list, a result a photo. A photo that cannot be read or has no face gives a result
            with an error, never an exception.
        """
        self.require_method(explain)
        if isinstance(source, list | tuple):
            return [self.judge(find_faces(one, detection), explain) for given in source for one in expand(given)]
        return self.judge(find_faces(source, detection), explain)

    def judge(self, found: FoundFaces, explain: str | None = None) -> ImagePrediction:
        """Classify the faces of a photo that were found before; otherwise as `predict`."""
        self.require_method(explain)
        if found.image is None or not found.faces:
            return ImagePrediction(found.name, (), found.error, found.image)
        crops = [crop_face(found.image, face) for face in found.faces]
        probabilities, heatmaps = self.classify([self._sized(crop) for crop in crops], explain)
        faces = []
        for i, face in enumerate(found.faces):
            scores = dict(zip(self.classes, probabilities[i].tolist(), strict=True))
            heatmap = None if heatmaps is None else heatmaps[i]
            parts = None if heatmap is None else shares_of_parts(heatmap, found.image, face)
            warnings = quality_of(crops[i], face).warnings
            faces.append(FacePrediction(crop_box(face), scores, crops[i], heatmap, parts, warnings))
        return ImagePrediction(found.name, tuple(faces), None, found.image)

    def crop(self, image: np.ndarray, face: Face) -> np.ndarray:
        """A found face as `classify` wants it, (S, S, 3) uint8."""
        return self._sized(crop_face(image, face))

    def require_method(self, explain: str | None) -> None:
        """Raises a `ValueError` for an explanation that does not exist, or that the model does not have."""
        if explain not in (None, *METHODS):
            raise UserError(f"unknown explanation {explain!r}, expected one of {', '.join(METHODS)}")
        if explain not in (None, *self.methods):
            raise UserError(f"{self.model.config.architecture} has no {explain}; there is {', '.join(self.methods)}")

    def classify(self, faces: Sequence[np.ndarray], explain: str | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Classify face crops, without detection.

        Args:
            faces: (S, S) or (S, S, 3) each, uint8 or floats 0..1, in the training set's framing, all of one shape.
            explain: as in `predict`.

        Returns:
            Probabilities (N, classes), and heat maps (N, S, S) float32 over the whole crops, or None.

        Raises:
            ValueError: faces of several shapes, or values that are no pixels; or there is no such explanation.
        """
        self.require_method(explain)
        pixels = stacked(faces)
        if not len(pixels):
            side = self.preprocess.downscale_to or self.preprocess.input_size
            return np.zeros((0, len(self.classes)), np.float32), np.zeros(
                (0, side, side), np.float32
            ) if explain else None
        parts = [
            self._explained(batch, explain) if explain else (self._probabilities(batch), None)
            for batch in np.array_split(pixels, range(self.batch_size, len(pixels), self.batch_size))
        ]
        maps = [heat for _, heat in parts if heat is not None]
        return np.concatenate([scores for scores, _ in parts]), np.concatenate(maps) if maps else None

    def _probabilities(self, pixels: np.ndarray) -> np.ndarray:
        if self._onnx:  # no PyTorch here: its threads do not survive a fork
            x = Preprocessing(**asdict(self.preprocess))(pixels)
            return softmax(self._onnx.run(["logits"], {"image": x})[0], self.model.config.temperature)
        with torch.inference_mode():
            return self._scores(self.model(self._input(pixels)))

    @torch.inference_mode(False)  # explanations need gradients
    def _explained(self, pixels: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
        logits, heat = explain_batch(self.model, self._input(pixels), method)
        return self._scores(logits), self.preprocess.whole_face(heat).cpu().numpy()

    def _scores(self, logits: torch.Tensor) -> np.ndarray:
        return (logits.float() / self.model.config.temperature).softmax(dim=1).cpu().numpy()

    def _input(self, pixels: np.ndarray) -> torch.Tensor:
        """Faces (N, S, S) or (N, S, S, 3) uint8 as the model wants them, on its device."""
        if self._process != os.getpid():  # forked: the threads PyTorch had stayed behind, and waiting for them hangs
            torch.set_num_threads(1)
            self._process = os.getpid()
        faces = torch.from_numpy(pixels)
        faces = faces.unsqueeze(1) if faces.ndim == 3 else faces.permute(0, 3, 1, 2)
        return self.preprocess(faces.to(self.device))

    def _sized(self, crop: np.ndarray) -> np.ndarray:
        size = self.preprocess.downscale_to or self.preprocess.input_size
        return np.array(Image.fromarray(crop).resize((size, size), Image.Resampling.BICUBIC))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._process = os.getpid()


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
    if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or 0 in shape:
        raise UserError(f"a face is (S, S) or (S, S, 3), not {shape}")
    return np.stack([to_uint8(np.asarray(face), "The face") for face in faces])
