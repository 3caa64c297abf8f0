"""The benchmark of other people's models: the protocol, the classes, and the committed results."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ferlib.errors import RunError, UserError
from ferlib.labels import FER2013
from ferlib.predict import Predictor
from ferlib.runtime.released import released_models, released_onnx

ROOT = Path(__file__).parents[2]
FACES = np.random.default_rng(0).integers(0, 256, (40, 48, 48), np.uint8)

#: Scores from the mean of a face; `{others}` says what else goes in.
WORKER = """
from pathlib import Path
import numpy as np
from serve import serve

print("a package that prints")

def predict(faces):
    own = faces.mean(axis=(1, 2)) - 127 + {others}
    scores = np.exp(own[:, None] * np.arange(8) / 8)
    return scores / scores.sum(axis=1, keepdims=True)

classes = ["Angry", "disgust", "fearful", "happy", "sad", "surprised", "neutral", "Contempt"]
serve(predict, classes, ["numpy"], Path(__file__), batches={batches})
"""


@pytest.fixture
def peers() -> ModuleType:
    import peers

    return peers


@pytest.fixture
def process(peers) -> ModuleType:
    import peer_process

    return peer_process


@pytest.fixture
def start(process, tmp_path, monkeypatch):
    """Start a worker that is written for the test, in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "benchmarks" / "peer_workers"))

    def started(others: str = "0", batches: bool = True):
        script = tmp_path / "worker.py"
        script.write_text(WORKER.format(others=others, batches=batches))
        return process.Worker([sys.executable, str(script)], FACES.tobytes(), tmp_path)

    return started


class FewRows:
    def __init__(self):
        self.truth = np.arange(len(FACES)) % 7

    def drawn(self, _):
        return np.arange(len(FACES)), self.truth


def test_the_common_classes_are_found_by_name_and_sum_to_one(peers):
    words = ["neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised", "contempt"]
    own = np.array([[0.1, 0.2, 0.05, 0.15, 0.1, 0.1, 0.1, 0.2]])
    wanted = {"neutral": 0.1, "happiness": 0.2, "sadness": 0.05, "anger": 0.15}
    wanted |= {"fear": 0.1, "disgust": 0.1, "surprise": 0.1}
    assert peers.common(own, words)[0] == pytest.approx([wanted[name] / 0.8 for name in FER2013])
    with pytest.raises(UserError, match="does not know surprise"):
        peers.common(own[:, :6], words[:6])


def test_a_worker_gets_the_faces_it_is_asked_for(start):
    with start() as worker:
        assert worker.hello["classes"][0] == "Angry" and worker.hello["versions"] == {"numpy": np.__version__}
        assert worker.hello["weights"] == Path(worker.log.with_name("worker.py")).stat().st_size
        found, seconds = worker.ask([3, 39])
    own = FACES[[3, 39]].mean(axis=(1, 2)) - 127
    scores = np.exp(own[:, None] * np.arange(8) / 8)
    assert found == pytest.approx(scores / scores.sum(axis=1, keepdims=True))
    assert 0 <= seconds < 5


@pytest.mark.parametrize("other", [[0.5, 0.5], [0.125] * 8])
def test_answers_are_kept_and_not_asked_for_again(start, process, tmp_path, monkeypatch, other):
    """But for one, which another model would answer otherwise: then its answers are not taken for this one's."""
    kept, rows = tmp_path / "answers.jsonl", {100: 0, 101: 1, 102: 2}
    kept.write_text(json.dumps([101, other]) + "\n")
    with start() as worker:
        first, asked = process.answers(worker, rows, kept), []
        assert first.keys() == rows.keys() and all(len(one) == 8 for one in first.values()) and first[101] != other
        lines = kept.read_text()
        assert [json.loads(line)[0] for line in lines.splitlines()] == [100, 101, 102]
        ask = worker.ask
        monkeypatch.setattr(worker, "ask", lambda places: asked.append(places) or ask(places))
        assert process.answers(worker, rows, kept) == first
    assert asked == [[0]] and kept.read_text() == lines


@pytest.mark.parametrize(("others", "moved"), [("0", False), ("faces.mean() / 8", True)])
def test_the_audit_finds_answers_that_depend_on_the_neighbours(start, peers, others, moved):
    with start(others) as worker:
        found = peers.audited(worker, FewRows())
    assert (found["moved"] > 0) == moved
    assert [row["batch_size"] for row in found["batches"]] == [1, 16, 64, 16, 64]


def test_no_audit_where_a_package_takes_one_face_at_a_time(start, peers):
    with start(batches=False) as worker:
        assert peers.audited(worker, FewRows()) is None


def test_a_worker_that_fails_says_where_to_look(process, tmp_path):
    with pytest.raises(RunError, match=r"worker\.log says why"):
        process.Worker([sys.executable, "-c", "import nothing_of_that_name"], b"", tmp_path)
    assert "nothing_of_that_name" in (tmp_path / "worker.log").read_text()


@pytest.mark.parametrize("name", ["convcut_ferplus"])
def test_our_worker_answers_as_the_predictor_does(process, tmp_path, monkeypatch, name):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [sys.executable, str(process.WORKERS / "ours_classifier.py")]
    with process.Worker(command, FACES.tobytes(), tmp_path, released_onnx(released_models()[name])) as worker:
        found, _ = worker.ask([0, 7])
    predictor = Predictor.load(name)
    assert tuple(worker.hello["classes"]) == predictor.classes
    assert found == pytest.approx(predictor.classify(list(FACES[[0, 7]]))[0], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--only", "rmn"],
            "rmn 3.3.0 downloads its weights (Z_resmasking_dropout1_rot30_2019Nov30_13.32) at first use",
        ),
        (["--only", "deepface", "rmn"], "give the weights, --weights deepface=FILE"),
        (["--weights", "fer=model"], "NAME is one of hsemotion-onnx, deepface, rmn, py-feat"),
        (["--weights", "rmn=not/there"], "there is no such file"),
    ],
)
def test_weights_that_are_not_given(peers, capsys, tmp_path, options, message):
    with pytest.raises(SystemExit):
        peers.main(["--out", str(tmp_path / "peers.json"), *options])
    assert message in " ".join(capsys.readouterr().err.split())


# ---- the committed results


def report() -> dict:
    return json.loads((ROOT / "results" / "peers.json").read_text())


def test_every_model_is_measured_on_the_same_rows():
    entries = report()["entries"]
    assert len(set(entries) - set(released_models())) >= 4 and set(released_models()) <= set(entries)
    for entry in entries.values():
        faces = {name: part["faces"] for name, part in entry["sets"].items()}
        assert faces == {
            "ferplus": 3137, "ferplus, duplicates removed": 2849, "fer2013": 3589,
            "fer2013, duplicates removed": 3268, "fer2013, train": 500, "fer2013, validation": 500,
        }  # fmt: skip
        assert set(entry["classes"].values()) >= set(FER2013)


def test_metrics_are_those_of_the_confusion_matrix():
    for entry in report()["entries"].values():
        for part in entry["sets"].values():
            counts, metrics = np.array(part["confusion"]["counts"]), part["metrics"]
            assert counts.sum() == part["faces"] and part["confusion"]["classes"] == list(FER2013)
            recall = np.diag(counts) / counts.sum(axis=1)
            assert metrics["accuracy"]["value"] == pytest.approx(np.trace(counts) / counts.sum())
            assert metrics["balanced_accuracy"]["value"] == pytest.approx(recall.mean())
            assert all(metric["low"] <= metric["value"] <= metric["high"] for metric in metrics.values())


@pytest.mark.parametrize("data", ["ferplus", "fer2013"])
def test_our_default_has_the_figures_of_its_evaluation(data):
    alone = json.loads((ROOT / "results" / f"convcut_ferplus_on_{data}_7.json").read_text())["metrics"]
    here = report()["entries"]["convcut_ferplus"]["sets"][data]["metrics"]
    for metric in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert here[metric]["value"] == pytest.approx(alone[metric]["value"], abs=1e-3)


def test_no_answer_depends_on_the_neighbours_and_what_is_missing_is_named():
    found = report()
    assert all(entry["audit"] is None or entry["audit"]["moved"] == 0 for entry in found["entries"].values())
    assert set(found["weights not given"]) == {"hsemotion-onnx", "deepface", "rmn", "py-feat"} - set(found["entries"])
