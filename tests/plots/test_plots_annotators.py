"""The figure of the learnt confusion matrices shows the numbers it was given."""

import numpy as np
import pytest

pytest.importorskip("plotly")

from figures import titles, written

from ferlib import plots
from ferlib.labels import FER2013, FERPLUS


@pytest.fixture
def entry():
    rng = np.random.default_rng(0)
    learnt = {who: rng.dirichlet(np.full(size, 0.3), size=8).tolist() for who, size in (("own", 8), ("fer2013", 7))}
    return {
        "data": "ferplus",
        "seeds": [0, 1, 2],
        "annotators": {"own": list(FERPLUS), "fer2013": list(FER2013)},
        "matrices": {"both, LTNet": learnt, "own, LTNet": {"own": learnt["own"]}},
    }


def test_a_heat_map_an_annotator(entry):
    figure = plots.annotator_matrices(entry)
    assert titles(figure) == ["<b>FERPlus</b>", "<b>FER2013</b>"]
    for trace, (who, matrix) in zip(figure.data, entry["matrices"]["both, LTNet"].items(), strict=True):
        names = entry["annotators"][who]
        assert list(trace.y) == list(FERPLUS) and list(trace.x) == [one for one in FERPLUS if one in names]
        for row, values in enumerate(matrix):
            for name, value in zip(names, values, strict=True):
                place = trace.x.index(name)
                assert trace.z[row][place] == pytest.approx(100 * value)
                assert trace.text[row][place] == (f"{100 * value:.0f}" if value >= 0.005 else "")
        assert {"own": "FERPlus says", "fer2013": "FER2013 says"}[who] in trace.hovertemplate
    assert figure.layout.yaxis.title.text == "latent truth" and figure.layout.yaxis.autorange == "reversed"
    assert figure.layout.coloraxis.cmin == 0 and figure.layout.coloraxis.cmax == 100
    written(figure)


def test_of_one_annotator_alone(entry):
    (trace,) = plots.annotator_matrices(entry, "own, LTNet").data
    assert np.asarray(trace.z) == pytest.approx(100 * np.array(entry["matrices"]["own, LTNet"]["own"]))
