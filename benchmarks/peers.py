"""Other people's released facial-expression models and ours on the same rows: FERPlus and FER2013 PrivateTest.

    python benchmarks/peers.py --out results/peers.json
    python benchmarks/peers.py --out results/peers.json --only rmn --weights rmn=Z_resmasking_dropout1_rot30_...

A peer gets the 48x48 grey face and prepares it as its own package does; no detector is asked, as the faces are cut out
already (its own framing of a face may suit it better). The classes are the seven of FER2013: faces of contempt are left
out, and where a model knows contempt, its probability too. Every peer is installed into an environment of its own below
runs/peers/ (`known_peers.py`) and runs in one thread; milliseconds are processor time. Its answers are kept there, so
that a run can go on. Entries that `--only` does not name stay in the file as they are.

Beside the metrics: accuracy without duplicates; whether a face's answer depends on the faces beside it; and accuracy on
faces drawn from FER2013's Training and PublicTest by its labels, since a model that knows faces by heart shows there.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from known_peers import PEERS, Peer
from machine import machine
from peer_process import WORKERS, Worker, answers, environment, milliseconds

from ferlib import __version__, labels
from ferlib.data.dataset import FaceDataset
from ferlib.data.duplicates import clean_split
from ferlib.data.registry import load_dataset
from ferlib.errors import UserError
from ferlib.evaluation.audit import audit_batches
from ferlib.evaluation.bootstrap import summary_with_intervals
from ferlib.evaluation.metrics import confusion, per_class
from ferlib.runtime.released import released_models, released_onnx
from ferlib.utils.atomic import write_json

CLASSES = labels.FER2013
DRAWN = 500  # faces of Training and of PublicTest
AUDITED = 512  # faces
TIMED = 200  # faces
BATCHES = (1, 16, 64)
BY_NAME = {peer.name: peer for peer in PEERS}
WITHOUT_WEIGHTS = [peer.name for peer in PEERS if peer.weights]


class Rows:
    """The faces that every model is given, by their row in FER2013.

    Attributes:
        sets: what is measured, name -> (rows, true classes in the order of `CLASSES`).
        faces: a byte a pixel, as the workers read them.
        place: row -> position among these.
    """

    def __init__(self) -> None:
        fer2013, ferplus = load_dataset("fer2013"), load_dataset("ferplus")
        self.sets: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for data in (ferplus, fer2013):
            for clean in (False, True):
                part = clean_split(data, "test") if clean else data.split("test")
                self._add(f"{data.name}{', duplicates removed' if clean else ''}", part.of_classes(CLASSES))
        rng = np.random.default_rng(0)
        for split in ("train", "validation"):
            part = fer2013.split(split)
            self._add(f"fer2013, {split}", part.subset(np.sort(rng.choice(len(part), DRAWN, replace=False))))
        rows = np.unique(np.concatenate([rows for rows, _ in self.sets.values()]))
        self.place = {int(row): place for place, row in enumerate(rows)}
        places = np.flatnonzero(fer2013.frame["row"].isin(rows))  # the frame is in the order of the rows
        self.faces = fer2013.subset(places).pixels[:][:, 0].numpy().tobytes()

    def drawn(self, faces: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions among the faces, and true classes, of faces drawn from FER2013's PrivateTest."""
        names, truth = self.sets["fer2013"]
        some = np.random.default_rng(0).permutation(len(names))[:faces]
        return np.array([self.place[int(name)] for name in names[some]]), truth[some]

    def _add(self, name: str, part: FaceDataset) -> None:
        self.sets[name] = part.frame["row"].to_numpy(), part.labels().numpy()


def common(probabilities: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Probabilities (N, 7) of `CLASSES`, rows sum to 1, from those (N, K) of a model's own classes.

    Raises:
        UserError: the model lacks one of them.
    """
    columns = labels.mapping(CLASSES, [labels.canonical(name) for name in classes])
    if lacking := [name for name, column in zip(CLASSES, columns, strict=True) if column < 0]:
        raise UserError(f"the model does not know {', '.join(lacking)}")
    wanted = probabilities[:, columns]
    return wanted / wanted.sum(axis=1, keepdims=True)


def measure(truth: np.ndarray, probabilities: np.ndarray) -> dict:
    """Metrics with intervals, scores of the classes and the confusion matrix."""
    predicted = probabilities.argmax(axis=1)
    return {
        "faces": len(truth),
        "metrics": summary_with_intervals(truth, probabilities),
        "per_class": per_class(truth, predicted, CLASSES).to_dict(orient="index"),
        "confusion": {"classes": list(CLASSES), "counts": confusion(truth, predicted, len(CLASSES)).tolist()},
    }


def audited(worker: Worker, rows: Rows) -> dict | None:
    """Whether answers depend on the neighbours in a batch; None where the package takes one face at a time."""
    if not worker.hello["batches"]:
        return None
    places, truth = rows.drawn(AUDITED)

    def logits(faces: torch.Tensor) -> torch.Tensor:
        found, _ = worker.ask(places[faces.numpy()])
        return torch.from_numpy(np.log(common(found, worker.hello["classes"]).clip(1e-30)))

    found, _ = audit_batches(logits, truth, BATCHES)
    return {"faces": AUDITED, "moved": max(row.moved for row in found), "batches": [asdict(row) for row in found]}


def entry(worker: Worker, rows: Rows, folder: Path) -> dict:
    """What was measured of a model."""
    hello = worker.hello
    told = answers(worker, rows.place, folder / "answers.jsonl")
    sets = {}
    for name, (some, truth) in rows.sets.items():
        sets[name] = measure(truth, common(np.array([told[int(row)] for row in some]), hello["classes"]))
    return {
        "versions": hello["versions"],
        "classes": {name: labels.canonical(name) for name in hello["classes"]},
        "weights, MB": round(hello["weights"] / 1e6, 2),
        "ms a face": round(milliseconds(worker, rows.drawn(TIMED)[0].tolist()), 2),
        "audit": audited(worker, rows),
        "sets": sets,
    }


def started(name: str, rows: Rows, folder: Path, weights: Path | None) -> Worker:
    """A model's worker: of ours in this environment, of a peer in its own."""
    if name in released_models():
        command, weights = [sys.executable, str(WORKERS / "ours_classifier.py")], released_onnx(name)
    else:
        command = environment(BY_NAME[name], folder)
    return Worker(command, rows.faces, folder, weights)


def about(name: str) -> dict:
    """What is known of a model without asking it."""
    if name in released_models():
        training = json.loads((released_models()[name] / "training.json").read_text())
        trained = f"the Training rows of {training['data']['name']}, the epoch chosen on PublicTest"
        return {
            "name": name,
            "version": __version__,
            "licence": training["licence"],
            "prepared": "`Predictor.classify`",
            "trained": trained,
        }
    return asdict(BY_NAME[name])


def given(options: Sequence[str]) -> dict[str, Path]:
    """Files of weights by the name of the peer, from NAME=FILE.

    Raises:
        UserError: no such peer takes weights, or there is no such file.
    """
    files = {}
    for option in options:
        name, _, file = option.partition("=")
        if name not in WITHOUT_WEIGHTS:
            raise UserError(f"--weights {option}: NAME=FILE, where NAME is one of {', '.join(WITHOUT_WEIGHTS)}")
        if not Path(file).is_file():
            raise UserError(f"--weights {option}: there is no such file")
        files[name] = Path(file)
    return files


def give_the_weights(peer: Peer) -> str:
    return (
        f"{peer.name} {peer.version} downloads its weights ({peer.weights}) at first use: give the weights, "
        f"--weights {peer.name}=FILE"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    names = (*released_models(), *BY_NAME)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--weights", nargs="+", default=[], metavar="NAME=FILE", help="for peers that download theirs")
    parser.add_argument("--runs", type=Path, default=Path("runs/peers"), help="for environments and answers")
    options = parser.parse_args(arguments)
    try:
        weights = given(options.weights)
        lacking = [name for name in options.only or names if name in WITHOUT_WEIGHTS and name not in weights]
        if options.only and lacking:
            raise UserError(give_the_weights(BY_NAME[lacking[0]]))
    except UserError as error:
        parser.error(str(error))
    for name in lacking:
        print(f"left out: {give_the_weights(BY_NAME[name])}")
    rows = Rows()
    report: dict = json.loads(options.out.read_text()) if options.out.exists() else {"entries": {}}
    report["command"] = "python benchmarks/peers.py --out results/peers.json"  # of all entries, also of earlier calls
    report["classes"] = list(CLASSES)
    for name in options.only or names:
        if name in lacking:
            continue
        folder = options.runs / (BY_NAME[name].folder if name in BY_NAME else name)
        with started(name, rows, folder, weights.get(name)) as worker:
            found = about(name) | entry(worker, rows, folder) | {"machine": machine()}
        report["entries"] = {n: e for n in names if (e := found if n == name else report["entries"].get(n))}
        report["weights not given"] = {n: BY_NAME[n].weights for n in WITHOUT_WEIGHTS if n not in report["entries"]}
        write_json(options.out, report)
        accuracy = {which: round(part["metrics"]["accuracy"]["value"], 4) for which, part in found["sets"].items()}
        print(name, f"{found['ms a face']} ms", accuracy, flush=True)


if __name__ == "__main__":
    main()
