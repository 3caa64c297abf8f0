"""Chapter 2's diagrams: every arrow says the shape that a module really gave."""

import pytest
import torch

pytest.importorskip("plotly")

from figures import titles, written

import ferlib
from ferlib import plots
from ferlib.models.profile import output_shapes
from ferlib.plots import Step


def arrows(figure) -> list[tuple[float, float]]:
    """Where the arrows end, x and y."""
    return [(note.x, note.y) for note in figure.layout.annotations if note.showarrow]


def test_flow_goes_through_all_rows():
    steps = [Step("image", "data", (3, 8, 8)), Step("stage 1", "frozen", (4, 4, 4)), Step("stage 2", "cut")]
    head = [Step("linear", "trained", (7,)), Step("scores", "data")]
    figure = plots.flow([("backbone", steps), ("head", head)], "one")
    texts = titles(figure)
    assert {"image", "stage 1", "stage 2", "linear", "scores", "<b>backbone</b>", "<b>head</b>"} <= set(texts)
    assert texts.count("3×8×8") == texts.count("4×4×4") == texts.count("7") == texts.count("✕") == 1
    assert len(arrows(figure)) == 4  # to stage 1, to what is cut, down to the head, to the scores
    boxes = [shape for shape in figure.layout.shapes if shape.type == "rect" and shape.line.width]
    assert len(boxes) == 5 and [box.line.dash for box in boxes].count("dot") == 1
    assert [trace.name for trace in figure.data if trace.name] == ["frozen", "trained", "cut away"]
    for box in boxes:  # nothing is clipped
        assert figure.layout.xaxis.range[0] < box.x0 < box.x1 < figure.layout.xaxis.range[1]
        assert figure.layout.yaxis.range[1] < box.y0 < box.y1 < figure.layout.yaxis.range[0]
    written(figure)


def test_salient_block_shows_the_shapes_it_was_given():
    names = ("F", "pooled", "hidden", "W_c", "F_c", "map", "two", "W_s", "O")
    shapes = {name: (number, 9) for number, name in enumerate(names, 1)}
    figure = plots.salient_block(shapes, 3, "block")
    texts = " ".join(titles(figure))
    assert all(f"{number}×9" in texts for number in range(1, 10))
    assert "3 × 3" in texts and "2×9 → 3×9 → 2×9" in texts
    written(figure)


@pytest.mark.parametrize("name", ["ivsa", "convcut"])
def test_output_shapes_are_those_of_a_real_pass(name):
    settings = {} if name == "ivsa" else {"backbone": "tf_efficientnet_lite0", "input_size": 112}
    model = ferlib.create_model(name, **settings).eval()
    found, seen = output_shapes(model), {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, key=key: seen.__setitem__(key, out))
        for key, module in model.named_modules()
        if key
    ]
    with torch.no_grad():
        model(torch.zeros(2, model.config.channels, model.config.input_size, model.config.input_size))
    for hook in hooks:
        hook.remove()
    assert found == {key: tuple(out.shape[1:]) for key, out in seen.items() if isinstance(out, torch.Tensor)}
    assert found["classifier"] == (len(model.config.classes),)
