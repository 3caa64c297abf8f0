"""Chapter 6's small page: the probability of the answer while the hottest pixels of a map are taken away."""

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("gradio_client")
pytest.importorskip("plotly")

import gradio_client
from block_client import asking, figure_of

from ferlib.app.blocks.explanations import STEPS, deletion, explanations
from ferlib.app.blocks.faces import FIRST, face_of, photos_to_click
from ferlib.errors import UserError
from ferlib.explain.faithfulness import target_probabilities
from ferlib.models.base import FaceModel
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import create_model, load_model


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_model("convcut_ferplus")


@pytest.fixture(scope="module")
def smile() -> np.ndarray:
    return face_of(photos_to_click()[FIRST])


def test_the_hottest_pixels_go_first(model, smile):
    found = deletion(model, smile, "gradcam")
    assert found.predicted == found.explained == "happiness"
    gone = (found.without(0.25) != smile).any(axis=2)
    assert 0.2 < gone.mean() <= 0.25  # a few pixels were the mean grey before
    assert found.heatmap[gone].min() >= found.heatmap[found.place >= 0.25 * gone.size].max()
    np.testing.assert_array_equal(found.without(0), smile)


def test_the_curve_is_that_of_the_pictures(model, smile):
    """Every point again from the picture that is shown. The model sees grey, so the fill is the same."""
    found = deletion(model, smile, "gradient", "anger")
    assert found.explained == "anger"
    for step in (0, 5, STEPS):
        pixels = torch.tensor(found.without(step / STEPS)).permute(2, 0, 1)[None]
        target = torch.tensor([model.config.classes.index("anger")])
        again = target_probabilities(model, Preprocess.of(model.config).scale(pixels), target)
        assert found.curves["map"][step] == pytest.approx(float(again), abs=0.02)


@pytest.mark.parametrize("side", [32, 100])
def test_a_model_that_reduces_faces_to_another_side(smile, side):
    torch.manual_seed(0)
    small = create_model("convcut", backbone="test_convnext", keep_stages=2, input_size=64, width=8, downscale_to=side)
    found = deletion(small.eval(), smile, "gradcam")
    assert found.place.shape == (48, 48) and {len(curve) for curve in found.curves.values()} == {STEPS + 1}


def test_a_class_of_another_model(model, smile):
    with pytest.raises(UserError, match="no class 'boredom'"):
        deletion(model, smile, "gradcam", "boredom")


def test_the_page_answers(model, smile, tmp_path):
    photo = tmp_path / "smile.png"
    Image.fromarray(photos_to_click()[FIRST]).save(photo)
    found = deletion(model, smile, "gradcam")
    with asking(explanations(model)) as client:
        heights = []
        for percent in (0, 20, 100):
            asked = gradio_client.handle_file(photo), "the predicted one", "gradcam", percent
            text, plot = client.predict(*asked, api_name="/explain")
            assert "says <b>happiness</b>" in text and f"{found.area('map'):.2f}" in text
            figure = figure_of(plot)
            (dot,) = [t for t in figure["data"] if t.get("mode") == "markers" and t["x"] == [percent]]
            heights.append(dot["y"][0])
        assert heights == pytest.approx([100 * found.curves["map"][step] for step in (0, STEPS // 5, STEPS)], abs=1)
        assert heights[0] > 50 > heights[1] > heights[2]
        asked = gradio_client.handle_file(photo), "surprise", "gradient", 20
        assert '"surprise" has' in client.predict(*asked, api_name="/explain")[0]
        text, plot = client.predict(None, "surprise", "gradient", 20, api_name="/explain")
        assert "Choose a photo" in text and plot is None
