"""How a photo is cut so that it looks like FER2013: fits the constants of `ferlib/detection/crop.py`, and measures
what they reach.

    python benchmarks/framing.py --out results/framing.json

Training rows of FER2013, drawn at random with a fixed seed, are shown to the detector: as they are, and at a random
size and place on a black canvas. Where one face is found, the square that FER2013 has is known. From half of the rows
each rule's side and shift are fitted (medians, in its own unit); on the other half the overlap (IoU) of its square with
the true one is taken. Measured, too: where eyes and mouth lie in the 48 x 48 pixels, and how tilted the heads are.

Last, what a rule is worth: photos of facial_expressions, up to --photos of every class, are cut by it (not turned), and
the released models' labels compared with the given ones.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from machine import machine, typed_command
from PIL import Image

from ferlib.data.facial_expressions import read_legend
from ferlib.data.registry import dataset_folder, load_dataset
from ferlib.detection.crop import Face
from ferlib.detection.faces import detect_faces
from ferlib.detection.landmarks import LEFT_EYE, LIPS, RIGHT_EYE, find_landmarks
from ferlib.images import read_image
from ferlib.labels import FACIAL_EXPRESSIONS
from ferlib.models.registry import released_models
from ferlib.predict import Predictor
from ferlib.utils.atomic import write_json

Anchor = tuple[np.ndarray, float]  # a point and a length, in pixels of the picture
EYES, MOUTH = (list(LEFT_EYE), list(RIGHT_EYE)), list(LIPS)


def spread(points: np.ndarray) -> Anchor:
    middle = points.mean(axis=0)
    return middle, float(np.sqrt(((points - middle) ** 2).sum(axis=1).mean()))


def box(face: Face, _: np.ndarray) -> Anchor:
    return np.reshape(face.box, (2, 2)).mean(axis=0), face.side


def extent(_: Face, landmarks: np.ndarray) -> Anchor:
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    return (low + high) / 2, float((high - low).mean())


def eyes_and_mouth(_: Face, landmarks: np.ndarray) -> Anchor:
    left, right, mouth = (landmarks[part].mean(axis=0) for part in (*EYES, MOUTH))
    eyes = (left + right) / 2
    return (eyes + mouth) / 2, float(np.linalg.norm(mouth - eyes))


def eyes(_: Face, landmarks: np.ndarray) -> Anchor:
    left, right = (landmarks[part].mean(axis=0) for part in EYES)
    return (left + right) / 2, float(np.linalg.norm(right - left))


RULES: dict[str, Callable[[Face, np.ndarray], Anchor]] = {
    "centroid and RMS radius of the 6 keypoints": lambda face, _: spread(face.keypoints),
    "centroid and RMS radius of the landmarks": lambda _, landmarks: spread(landmarks),
    "landmarks' bounding box": extent,
    "the detector's box": box,
    "eyes, and eye-to-mouth distance": eyes_and_mouth,
    "eyes, and distance between them": eyes,
}


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of squares (N, 3): x and y of the centre, side."""
    low = np.maximum(a[:, :2] - a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2)
    high = np.minimum(a[:, :2] + a[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2)
    common = (high - low).clip(0).prod(axis=1)
    return common / (a[:, 2] ** 2 + b[:, 2] ** 2 - common)


def framing(rows: int) -> dict:
    """Where FER2013's faces stand in its squares, and how well every rule finds such a square on a canvas."""
    rng = np.random.default_rng(0)
    train = load_dataset("fer2013").split("train")
    faces, true, marks, rolls = [], [], [], []
    for index in rng.choice(len(train), rows, replace=False):
        picture = Image.fromarray(train.pixels[index, 0].numpy()).convert("RGB")
        found = detect_faces(np.asarray(picture))
        if len(found) == 1:
            landmarks = find_landmarks(np.asarray(picture), found[0]).points[:, :2]
            marks.append([landmarks[part].mean(axis=0) for part in (*EYES, MOUTH)])
            rolls.append(found[0].roll)
        side = int(rng.integers(60, 200))
        x, y = rng.integers(0, 256 - side, size=2)
        canvas = Image.new("RGB", (256, 256))
        canvas.paste(picture.resize((side, side), Image.Resampling.BICUBIC), (int(x), int(y)))
        found = detect_faces(np.asarray(canvas))
        if len(found) == 1:
            faces.append((found[0], find_landmarks(np.asarray(canvas), found[0]).points[:, :2]))
            true.append((x + side / 2, y + side / 2, side))
    middles = np.array(marks)
    return {
        "rows": rows,
        "one face": len(marks) / rows,
        "one face on a canvas": len(faces) / rows,
        "centres": dict(zip(("left eye", "right eye", "mouth"), np.median(middles, axis=0).tolist(), strict=True)),
        "eyes apart": float(np.median(np.linalg.norm(middles[:, 1] - middles[:, 0], axis=1))),
        "tilt within 15 degrees": float(np.mean(np.abs(rolls) <= 15)),
        "rules": {name: fitted(rule, faces, np.array(true)) for name, rule in RULES.items()},
    }


def fitted(rule: Callable[[Face, np.ndarray], Anchor], faces: list[tuple[Face, np.ndarray]], true: np.ndarray) -> dict:
    """A rule's side and shift, in its own unit, from the first half of the faces; the overlap is of the second."""
    anchors, half = [rule(*face) for face in faces], len(true) // 2
    points, units = np.array([point for point, _ in anchors]), np.array([[unit] for _, unit in anchors])
    side = np.median(true[:half, 2:] / units[:half])
    shift = np.median((true[:half, :2] - points[:half]) / units[:half], axis=0)
    made = np.hstack([points + shift * units, side * units])
    return {"side": float(side), "shift": shift.tolist(), "iou": float(iou(made, true)[half:].mean())}


def agreement(rules: Mapping[str, dict], per_class: int) -> dict[str, dict]:
    """In which part of the photos every released model agrees with the label, by rule."""
    folder = dataset_folder("facial_expressions")
    shuffled = read_legend(folder).sample(frac=1, random_state=0)
    crops: dict[str, list[np.ndarray]] = {name: [] for name in rules}
    given = []
    for row in shuffled.groupby("label").head(per_class).itertuples():
        image = read_image(folder / "images" / row.file)
        found = detect_faces(image)
        if not found:
            continue
        face = max(found, key=lambda one: one.side)
        landmarks = find_landmarks(image, face).points[:, :2]
        given.append(FACIAL_EXPRESSIONS[row.label])
        for name, rule in rules.items():
            point, unit = RULES[name](face, landmarks)
            x, y = point + unit * np.array(rule["shift"])
            reach = unit * rule["side"] / 2
            box = tuple(round(value) for value in (x - reach, y - reach, x + reach, y + reach))
            crop = Image.fromarray(image).crop(box).resize((48, 48), Image.Resampling.BICUBIC)
            crops[name].append(np.asarray(crop))
    told: dict[str, dict] = {}
    for model in released_models():
        predictor = Predictor.load(model)
        known = np.isin(given, predictor.classes)
        told[model] = {"photos": int(known.sum()), "agrees": {}}
        for name, faces in crops.items():
            predicted = np.array(predictor.classes)[predictor.classify(faces)[0].argmax(axis=1)]
            told[model]["agrees"][name] = float(np.mean((predicted == given)[known]))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1060)
    parser.add_argument("--photos", type=int, default=700, help="of a class")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = framing(options.rows)
    told = {"command": typed_command(), **machine()} | found
    write_json(options.out, told | {"models": agreement(found["rules"], options.photos)})


if __name__ == "__main__":
    main()
