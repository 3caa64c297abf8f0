"""FERPlus-C: how well do models answer for faces that are noisy, blurred, badly lit, turned or covered?

    python benchmarks/robustness.py --out results/robustness.json
    python benchmarks/robustness.py --out results/robustness.json --only fer

Faces of FERPlus's test split (PrivateTest) in the seven classes that all models know, drawn with a fixed seed, go
through the fifteen common corruptions at five strengths (`corrupt_faces.py`, in an environment of its own), and through
what a camera and people do beside: too little light, a tilted head, sunglasses, a mask. Every model is asked for every
face alone, prepared as its own package does (`peers.py`); of ours, the 90 % prediction sets are looked at too.

Sunglasses and mask are drawn on the landmarks of the clear face; faces without are left out there, and the clear
accuracy beside is that of the same faces. Answers are kept below --runs, so that a run can go on. Intervals are of the
faces drawn: the same draws for all conditions.
"""

import argparse
import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from known_peers import PEERS, Peer
from machine import command, machine
from peer_process import answers, environment
from peers import BY_NAME, CLASSES, common, started
from PIL import Image, ImageDraw
from quality import scaled

from ferlib import labels
from ferlib.data.registry import load_dataset
from ferlib.detection.landmarks import LEFT_EYE, RIGHT_EYE, SURE
from ferlib.evaluation.calibration import calibration_error
from ferlib.evaluation.means import mean_intervals
from ferlib.predict import find_faces
from ferlib.results import MOST_NAMED
from ferlib.runtime.prediction_sets import read_prediction_sets
from ferlib.runtime.released import released_models
from ferlib.utils.atomic import write_json
from ferlib.utils.commit import commit

# it asks for OpenCV with windows, which would lie upon ours
PACKAGE = Peer(
    "imagecorruptions-imaug",
    "1.1.5",
    "corrupt_faces.py",
    (
        "numpy==2.4.6", "pillow==12.3.0", "scipy==1.17.1", "scikit-image==0.26.0", "numba==0.68.1",
        "opencv-python-headless==5.0.0.93",
    ),
    "Apache-2.0",
    "",
    "",
)  # fmt: skip
CLEAR = "clear"
STRENGTHS = range(1, 6)
DARK = (0.7, 0.5, 0.35, 0.25, 0.15)  # times as bright
TILTED = (10, 20, 30, 45, 60)  # degrees
KINDS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
COMMON = tuple(name for names in KINDS.values() for name in names)
OTHERS = ("dark", "tilted", "sunglasses", "mask")
COVERAGE = 0.9
JAW = (93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323)
NOSE_RIDGE = 195  # where a mask ends
GREY = {"sunglasses": 15, "mask": 200}


def dark(face: np.ndarray, strength: int) -> np.ndarray:
    return scaled(face, DARK[strength - 1])


def tilted(face: np.ndarray, strength: int) -> np.ndarray:
    """The face turned about its middle; beyond its edge, edge pixels are repeated."""
    side = len(face)
    wide = Image.fromarray(np.pad(face, side, mode="edge"))
    turned = wide.rotate(TILTED[strength - 1], Image.Resampling.BICUBIC)
    return np.asarray(turned)[side : 2 * side, side : 2 * side]


def covered(face: np.ndarray, points: np.ndarray, what: str) -> np.ndarray:
    """The face (48, 48) with dark glasses or a pale mask, by its landmarks (468, 2) in pixels; edges are smooth."""
    fine = 8
    over = Image.new("L", tuple(fine * side for side in face.shape[::-1]))
    draw, points = ImageDraw.Draw(over), points * fine
    if what == "mask":
        draw.polygon([tuple(corner) for corner in points[[*JAW, NOSE_RIDGE]]], fill=255)
    else:
        eyes = [points[list(eye)].mean(axis=0) for eye in (LEFT_EYE, RIGHT_EYE)]
        between = float(np.linalg.norm(eyes[1] - eyes[0]))
        for x, y in eyes:
            draw.ellipse((x - 0.42 * between, y - 0.3 * between, x + 0.42 * between, y + 0.36 * between), fill=255)
        draw.line([tuple(eye) for eye in eyes], fill=255, width=round(0.08 * between))
    share = np.asarray(over.reduce(fine)) / 255
    return np.rint(face + share * (GREY[what] - face.astype(float))).astype(np.uint8)


def landmarks_of(face: np.ndarray) -> np.ndarray | None:
    """Landmarks (468, 2) of a framed face (48, 48), in its pixels; None where they cannot be told."""
    (crop,) = find_faces(face, detection=False).faces
    return crop.landmarks.points[:, :2] if crop.landmarks.score >= SURE else None


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def corrupted(faces: np.ndarray, runs: Path) -> Mapping[str, np.ndarray]:
    """The common corruptions of these faces, kept in a file."""
    name = digest(faces.tobytes())
    folder = runs.absolute() / "corruptions"  # the worker runs elsewhere
    command, out = environment(PACKAGE, folder), folder / f"{name}.npz"
    if not out.exists():
        source, partial = folder / f"{name}.bin", out.with_suffix(".partial.npz")
        source.write_bytes(faces.tobytes())
        subprocess.run([command[0], PACKAGE.worker, str(source), str(partial)], cwd=Path(__file__).parent, check=True)
        partial.replace(out)
    return np.load(out)


class Conditions:
    """The faces in every condition, one after the other, as the workers read them.

    Attributes:
        truth: true classes of the clear faces, in the order of `CLASSES`.
        rows: name of a condition -> positions of its faces.
        used: name -> which of the clear faces they are.
        faces: all of them, a byte a pixel.
        digest: of these.
    """

    def __init__(self, count: int, runs: Path):
        part = load_dataset("ferplus").split("test").of_classes(CLASSES)
        some = np.sort(np.random.default_rng(0).permutation(len(part))[:count])
        clear = part.pixels[some][:, 0].numpy()
        self.truth = part.labels().numpy()[some]
        every = np.arange(len(clear))
        found: dict[str, tuple[np.ndarray, np.ndarray]] = {CLEAR: (clear, every)}
        made = corrupted(clear, runs)
        for name in COMMON:
            found |= {f"{name} {strength}": (made[f"{name} {strength}"], every) for strength in STRENGTHS}
        for name, change in (("dark", dark), ("tilted", tilted)):
            for strength in STRENGTHS:
                found[f"{name} {strength}"] = np.stack([change(face, strength) for face in clear]), every
        points = [landmarks_of(face) for face in clear]
        known = np.array([i for i in every if points[i] is not None])
        for name in ("sunglasses", "mask"):
            found[name] = np.stack([covered(clear[i], points[i], name) for i in known]), known
        self.used = {name: which for name, (_, which) in found.items()}
        ends = np.cumsum([len(which) for which in self.used.values()])
        self.rows = {
            name: np.arange(end - len(which), end) for (name, which), end in zip(self.used.items(), ends, strict=True)
        }
        self.faces = np.concatenate([faces for faces, _ in found.values()]).tobytes()
        self.digest = digest(self.faces)

    def strengths(self, name: str) -> list[str]:
        """The conditions of one corruption, the weakest first."""
        return [one for one in self.rows if one.split()[0] == name]


def figures(right: np.ndarray, clear: np.ndarray) -> dict:
    """Accuracy of some conditions together, with its interval, and beside it that of the clear faces.

    Args:
        right: (conditions, N), 0 or 1.
        clear: (N,), of the same faces.
    """
    faces = right.mean(axis=0)
    found = mean_intervals(np.stack([faces, faces - clear], axis=1))
    accuracy, change = (dict(zip(("value", "low", "high"), map(float, one), strict=True)) for one in found.T)
    return {"faces": len(clear), "accuracy": accuracy, "change": change,
            "by strength": [float(one.mean()) for one in right]}  # fmt: skip


def measured(conditions: Conditions, told: Mapping[int, list[float]], classes: Sequence[str], name: str) -> dict:
    """All figures of a model from its answers."""
    raw = {one: np.array([told[int(row)] for row in rows]) for one, rows in conditions.rows.items()}
    truth, places = conditions.truth, np.array(labels.mapping(CLASSES, [labels.canonical(one) for one in classes]))
    probabilities = {one: common(answer, classes) for one, answer in raw.items()}
    right = {one: (p.argmax(axis=1) == truth[conditions.used[one]]).astype(float) for one, p in probabilities.items()}
    sets = read_prediction_sets(released_models()[name], COVERAGE) if name in released_models() else None
    chosen = {one: sets(answer) for one, answer in raw.items()} if sets else {}

    def together(steps: Sequence[str]) -> dict:
        """The figures of conditions of the same faces."""
        used = conditions.used[steps[0]]
        row = figures(np.stack([right[one] for one in steps]), right[CLEAR][used])
        row["ece"] = float(np.mean([calibration_error(truth[used], probabilities[one]) for one in steps]))
        return row | (of_sets(np.stack([chosen[one] for one in steps]), places[truth[used]]) if sets else {})

    found = {"clear": together([CLEAR]), "conditions": {}, "kinds": {}}
    for corruption in (*COMMON, *OTHERS):
        found["conditions"][corruption] = together(conditions.strengths(corruption))
    for kind, names in {**KINDS, "all fifteen": COMMON}.items():
        found["kinds"][kind] = together([one for name in names for one in conditions.strengths(name)])
        del found["kinds"][kind]["by strength"]
    return found


def of_sets(chosen: np.ndarray, truth: np.ndarray) -> dict:
    """How often the sets (conditions, N, K) hold the truth (N,), and how often they are an answer."""
    size = chosen.sum(axis=2)
    return {
        "coverage": float(chosen[:, np.arange(len(truth)), truth].mean()),
        "cannot say": float(((size == 0) | (size > MOST_NAMED)).mean()),
        "mean set": float(size.mean()),
    }


def main() -> None:
    names = (*released_models(), *(peer.name for peer in PEERS if not peer.weights))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=1000, help="drawn from the test split, default 1000")
    parser.add_argument("--only", nargs="+", choices=names, default=list(released_models()), metavar="NAME",
                        help=f"models, default: ours; of {', '.join(names)}")  # fmt: skip
    parser.add_argument("--runs", type=Path, default=Path("runs/peers"), help="for environments and answers")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    conditions = Conditions(options.faces, options.runs)
    report: dict = json.loads(options.out.read_text()) if options.out.exists() else {"entries": {}}
    if report.get("digest", conditions.digest) != conditions.digest:
        parser.error(f"{options.out} is of other faces, or of faces changed otherwise: give another --out")
    report |= {
        "digest": conditions.digest,
        "faces": len(conditions.truth), "classes": list(CLASSES), "coverage": COVERAGE, "commit": commit(),
        "package": f"{PACKAGE.name} {PACKAGE.version}",
    }  # fmt: skip
    places = {int(row): int(row) for rows in conditions.rows.values() for row in rows}
    for name in options.only:
        folder = options.runs / (BY_NAME[name].folder if name in BY_NAME else name)
        with started(name, SimpleNamespace(faces=conditions.faces), folder, None) as worker:  # type: ignore[arg-type]
            told = answers(worker, places, folder / f"answers-{conditions.digest}.jsonl")
            found = measured(conditions, told, worker.hello["classes"], name)
        entry = {"versions": worker.hello["versions"], "machine": machine(), **found}
        report["entries"] = {n: e for n in names if (e := entry if n == name else report["entries"].get(n))}
        words = ["--faces", str(options.faces), "--only", *report["entries"], "--out", "results/robustness.json"]
        report["command"] = command(*words)  # of all entries
        write_json(options.out, report)
        print(name, {kind: round(row["accuracy"]["value"], 3) for kind, row in found["kinds"].items()}, flush=True)


if __name__ == "__main__":
    main()
