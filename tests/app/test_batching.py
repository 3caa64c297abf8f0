"""Faces that wait together are classified together, and everybody gets their own answer."""

import threading

import numpy as np
import pytest

from ferlib.app.batching import BatchingPredictor, _Request
from ferlib.models.registry import create_model, load_model
from ferlib.predict import Predictor
from ferlib.synthetic.render import sample_faces


@pytest.fixture(scope="module")
def model():
    return load_model("convcut_ferplus")


def test_waiting_requests_share_a_pass_and_get_what_they_get_alone(model, monkeypatch):
    """The model is held up until all are waiting: then the first pass answers one, the second all the others."""
    passes, gate, plain = [], threading.Event(), Predictor.classify

    def slow(self, faces, explain=None):
        passes.append((len(faces), explain))
        gate.wait(30)
        return plain(self, faces, explain)

    shared = BatchingPredictor(model)
    pixels, _, _ = sample_faces(3)
    requests = [list(pixels[i : i + 1 + i % 3]) for i in range(12)]
    methods = [None if i % 4 else "gradcam" for i in range(12)]
    alone = [Predictor(model).classify(*one) for one in zip(requests, methods, strict=True)]
    monkeypatch.setattr(Predictor, "classify", slow)
    answers = [None] * len(requests)

    def ask(i):
        answers[i] = shared.classify(requests[i], methods[i])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(requests))]
    threads[1].start()
    while not passes:
        threads[1].join(0.01)
    for thread in threads[:1] + threads[2:]:
        thread.start()
    while len(shared._waiting) < len(requests) - 1:
        threads[1].join(0.01)
    gate.set()
    for thread in threads:
        thread.join(60)
    assert sorted(passes[1:]) == sorted(
        [(sum(len(r) for r, m in zip(requests, methods, strict=True) if m == "gradcam"), "gradcam"),
         (sum(len(r) for i, (r, m) in enumerate(zip(requests, methods, strict=True)) if not m and i != 1), None)],
    )  # fmt: skip
    for (probabilities, maps), (expected, expected_maps), faces in zip(answers, alone, requests, strict=True):
        assert len(probabilities) == len(faces) and np.abs(probabilities - expected).max() < 1e-5
        assert (maps is None) == (expected_maps is None)
        assert maps is None or np.abs(maps - expected_maps).max() < 1e-3


def test_an_error_reaches_everybody_who_waited_for_the_same_and_nobody_else(model):
    shared = BatchingPredictor(model)
    face = sample_faces(1)[0][0]
    same, other = _Request([face], "tea leaves"), _Request([face], None)
    shared._waiting += [same, other]
    with pytest.raises(ValueError, match="unknown explanation"):
        shared.classify([face], "tea leaves")
    with pytest.raises(ValueError, match="unknown explanation"):
        same.answer.result(timeout=0)
    assert not other.answer.done()
    assert shared.classify([face])[0].shape == other.answer.result(timeout=0)[0].shape == (1, 8)


def test_requests_with_other_faces_do_not_fail_each_other(model):
    shared = BatchingPredictor(model)
    face = sample_faces(1)[0][0]
    smaller = np.ascontiguousarray(face[4:-4, 4:-4])
    same, other = _Request([face], None), _Request([smaller, smaller], None)
    shared._waiting += [same, other]
    with pytest.raises(ValueError, match="must have one shape"):
        shared.classify([face, smaller])
    assert not same.answer.done() and not other.answer.done()
    assert np.allclose(shared.classify([face])[0], same.answer.result(timeout=0)[0], atol=1e-5)
    assert not other.answer.done()
    assert np.allclose(shared.classify([smaller])[0], other.answer.result(timeout=0)[0][:1], atol=1e-5)


def test_a_model_that_mixes_its_batch_is_refused():
    mixing = create_model("convcut_batch", backbone="test_convnext", keep_stages=2, input_size=64, width=16)
    with pytest.raises(ValueError, match="convcut_batch mixes the faces of a batch"):
        BatchingPredictor(mixing)
