"""The committed tables of chapter 5: complete, consistent with themselves, and with their controls."""

import json
from pathlib import Path

import pytest

from ferlib.detection.regions import REGIONS
from ferlib.explain.faithfulness import CONTROLS
from ferlib.models.registry import released_models

RESULTS = Path(__file__).parents[2] / "results"


def read(name: str) -> dict:
    return json.loads((RESULTS / f"explain_{name}.json").read_text())


@pytest.mark.parametrize("name", ["regions", "faithfulness", "sanity", "drawn"])
def test_every_table_has_its_models_and_controls(name):
    table = read(name)
    assert table["command"].startswith(f"python benchmarks/explain.py {name} ") and table["commit"]
    assert "convcut_ferplus" in table["models"]
    for model, found in table["models"].items():
        assert model in table["command"]
        assert set(CONTROLS) <= set(found.get("methods", found))
    if name in ("regions", "faithfulness"):
        assert table["faces"] >= 500 and len(table["models"]) >= 2


def test_shares_add_up():
    table = read("regions")
    assert sum(table["area"].values()) == pytest.approx(1, abs=1e-4)
    assert sum(row["found"] for row in table["landmarks"].values()) == table["faces"]
    for found in table["models"].values():
        for method in found["methods"].values():
            for parts in (method["energy"], *method["per_class"].values()):
                assert sum(parts[part]["share"] for part in REGIONS) == pytest.approx(1, abs=1e-3)
            assert sum(method["pointing"][part]["value"] for part in REGIONS) == pytest.approx(1, abs=1e-3)


def test_controls_are_what_they_are_called():
    """The centre blob never changes, whatever is done to the model; the random map lies like the area."""
    sanity, regions = read("sanity"), read("regions")
    for model, found in sanity["models"].items():
        assert found["centre"]["all"]["value"] == pytest.approx(1)
        random = regions["models"][model]["methods"]["random"]["energy"]
        assert all(0.7 < random[part]["relative"] < 1.3 for part in REGIONS)


def test_scores_lie_between_their_bounds():
    for found in read("faithfulness")["models"].values():
        for method in found["methods"].values():
            for score in ("deletion", "insertion", "road"):
                assert -1 < method[score]["low"] <= method[score]["value"] <= method[score]["high"] < 1


def test_timing_meets_its_targets():
    timing = read("timing")
    assert timing["endurance"]["calls"] == 1000 and timing["endurance"]["hooks"] == 0
    assert timing["endurance"]["resident_MB"] < 20
    for rows in timing["models"].values():
        for row in rows:
            assert row["runs"] >= 7 and row["ours_to_predict"] <= 1.3 and row["plain_to_ours"] >= 2


def test_embeddings_are_complete():
    found = read("embeddings")
    for space in found["spaces"].values():
        for plane in space["planes"].values():
            assert len(plane["points"]) == found["faces"] == len(found["labels"])
    assert released_models().keys() >= {"convcut_ferplus"}
