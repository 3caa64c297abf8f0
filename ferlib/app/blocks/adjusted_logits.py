"""A small page for chapter 5: logit adjustment's τ and a temperature on sliders, on answers that were given before."""

import gradio as gr
import numpy as np
import plotly.graph_objects as go

from ferlib.evaluation.calibration import adjusted, calibration_error, reliability
from ferlib.evaluation.metrics import per_class, summary
from ferlib.plots.adjusted import adjusted_figure


def adjusted_logits(
    probabilities: np.ndarray, labels: np.ndarray, prior: np.ndarray, classes: tuple[str, ...]
) -> gr.Blocks:
    """The page: τ and temperature on sliders, recall of every class and a reliability diagram; answers by `/adjust`.

    Args:
        probabilities: of test faces (N, classes).
        labels: their classes (N,).
        prior: fractions of the classes among the training faces, (classes,).
        classes: their names.
    """

    def recall(found: np.ndarray) -> np.ndarray:
        return per_class(labels, found.argmax(axis=1), list(classes))["recall"].to_numpy()

    def adjust(tau: float, temperature: float) -> tuple[str, go.Figure]:
        now = adjusted(probabilities, prior, tau, temperature)
        figure = adjusted_figure(
            {"as trained": recall(probabilities), "now": recall(now)},
            {"as trained": reliability(labels, probabilities), "now": reliability(labels, now)},
            [f"{name}<br>{share:.0%}" for name, share in zip(classes, prior, strict=True)],
        )
        return f"<p id='answer'>{sentence(labels, now)}</p>", figure

    with gr.Blocks(analytics_enabled=False, fill_width=True) as page:
        with gr.Row():
            tau = gr.Slider(-1, 2, 0, step=0.1, label="τ of logit adjustment (0 leaves the answers)")
            temperature = gr.Slider(0.3, 3, 1, step=0.05, label="Temperature T (1 leaves the confidence)")
        answer, figure = gr.HTML(), gr.Plot(show_label=False)
        gr.on(
            [page.load, tau.change, temperature.change], adjust, [tau, temperature], [answer, figure],
            api_name="adjust", show_progress="hidden", trigger_mode="always_last",
        )  # fmt: skip
    return page


def sentence(labels: np.ndarray, probabilities: np.ndarray) -> str:
    """HTML of accuracy, balanced accuracy and calibration error of some answers."""
    scores = summary(labels, probabilities)
    return (
        f"accuracy <b>{scores['accuracy']:.1%}</b> · balanced accuracy <b>{scores['balanced_accuracy']:.1%}</b> · "
        f"ECE <b>{calibration_error(labels, probabilities):.3f}</b>"
    )
