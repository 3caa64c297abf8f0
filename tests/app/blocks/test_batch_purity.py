"""Chapter 5's small page: neighbours change the published network's answer and not ours, and purer ones help it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio_client")
pytest.importorskip("plotly")

import gradio_client
from block_client import asking, figure_of

from ferlib.app.batch_demo import COMPANY, synthetic_neighbours
from ferlib.app.blocks.batch_purity import EXPRESSIONS, ORDERS, PureBatches, batch_purity, neighbours, pure_batches
from ferlib.app.blocks.faces import FIRST, face_of, photos_to_click
from ferlib.errors import UserError
from ferlib.predict import Predictor


@pytest.fixture(scope="module")
def honest() -> Predictor:
    return Predictor.load()


@pytest.fixture(scope="module")
def smile(honest) -> PureBatches:
    return pure_batches(face_of(photos_to_click()[FIRST]), "happiness", honest)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("own", [0, 4, COMPANY])
def test_neighbours_are_as_many_as_were_asked_for(own, order):
    drawn = {pixels.tobytes(): name for name in EXPRESSIONS for pixels in synthetic_neighbours(name)}
    names = [drawn[pixels.tobytes()] for pixels in neighbours("surprise", own, order)]
    assert len(names) == COMPANY and names.count("surprise") == own
    assert len(set(names) - {"surprise"}) == (0 if own == COMPANY else {"sorted": 1, "shuffled": 2}[order])


@pytest.mark.parametrize("wrong", [("fear", 3, "sorted"), ("surprise", 16, "sorted"), ("surprise", 3, "upside down")])
def test_neighbours_that_do_not_exist(wrong):
    with pytest.raises(UserError, match="no batch of"):
        neighbours(*wrong)


def test_the_honest_network_does_not_look_at_neighbours(smile):
    for scores in smile.honest.values():
        np.testing.assert_allclose(scores, scores[:1].repeat(COMPANY + 1, axis=0), atol=1e-4)


def test_purer_batches_help_the_published_network(smile):
    assert smile.answer("published", "shuffled", 0)[0] != "happiness"
    assert smile.answer("published", "shuffled", COMPANY)[0] == "happiness"
    place = smile.classes.index("happiness")
    few, many = (smile.published["shuffled"][rows, place].mean() for rows in (slice(0, 4), slice(12, 16)))
    assert many > few + 0.1
    np.testing.assert_allclose(smile.published["sorted"][COMPANY], smile.published["shuffled"][COMPANY], atol=1e-4)


def test_the_page_answers(honest, smile, tmp_path):
    photo, nobody = tmp_path / "smile.png", tmp_path / "nobody.png"
    Image.fromarray(photos_to_click()[FIRST]).save(photo)
    Image.new("RGB", (200, 200), "green").save(nobody)
    with asking(batch_purity(honest)) as client:

        def judge(photo: Path, *asked: object) -> tuple:
            return client.predict(gradio_client.handle_file(photo), *asked, api_name="/judge")

        for own in (0, COMPANY):
            text, plot = judge(photo, "happiness", own, "shuffled")
            label, share = smile.answer("published", "shuffled", own)
            assert f"attention across the batch</b>: {label}, {share:.0%}" in text and text.count("<img") == COMPANY + 1
            assert "one face at a time</b>: happiness" in text
            dots = [trace for trace in figure_of(plot)["data"] if trace.get("mode") == "markers"]
            assert [trace["x"] for trace in dots] == [[own], [own]]
        text, plot = judge(nobody, "happiness", 3, "sorted")
        assert "No face" in text and plot is None
