"""Chapter 5's sliders: τ trades accuracy for the rare classes, the temperature changes confidence alone."""

import numpy as np
import pytest

pytest.importorskip("gradio_client")
pytest.importorskip("plotly")

from block_client import asking, figure_of, values

from ferlib.app.blocks.adjusted_logits import adjusted_logits, sentence
from ferlib.evaluation.calibration import adjusted

PRIOR, CLASSES = np.array([0.7, 0.2, 0.1]), ("common", "less common", "rare")


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray]:
    """Logits with the prior in them, as after training on unequal classes, of equally many test faces a class."""
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 3
    logits = rng.normal(size=(600, 3)) + 1.5 * np.eye(3)[labels] + np.log(PRIOR)
    scores = np.exp(logits)
    return scores / scores.sum(axis=1, keepdims=True), labels


def test_the_formula(answers):
    probabilities, _ = answers
    logits = (np.log(probabilities) - 0.7 * np.log(PRIOR)) / 1.3
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(adjusted(probabilities, PRIOR, 0.7, 1.3), expected, rtol=1e-9)
    np.testing.assert_allclose(adjusted(probabilities, PRIOR, 0, 1), probabilities)


def test_the_page_answers(answers):
    probabilities, labels = answers
    with asking(adjusted_logits(probabilities, labels, PRIOR, CLASSES)) as client:
        rare = {}
        for tau in (0, 1):
            text, plot = client.predict(tau, 1.0, api_name="/adjust")
            assert sentence(labels, adjusted(probabilities, PRIOR, tau, 1)) in text
            (bars,) = [trace for trace in figure_of(plot)["data"] if trace["type"] == "bar" and trace["name"] == "now"]
            rare[tau] = values(bars["y"])[2]
        assert rare[1] > rare[0] + 20
        plain, hot = (client.predict(0, temperature, api_name="/adjust")[0] for temperature in (1.0, 3.0))
        accuracy, _, error = plain.split(" · ")
        assert hot.split(" · ")[0] == accuracy and hot.split(" · ")[2] != error
