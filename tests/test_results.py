"""The committed results: consistent with themselves, with README.md, and with the shipped weights."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from ferlib.data.catalogue import load_dataset
from ferlib.evaluation.evaluate import evaluate
from ferlib.models.zoo import load_model, released_models

ROOT = Path(__file__).parents[1]


def read(name: str) -> dict:
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def test_readme_tables_are_those_of_the_results():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    text = (ROOT / "README.md").read_text()
    assert all(f"<!-- table {name} -->\n|" in text for name in tables.TABLES)
    assert tables.rebuilt(text) == text


@pytest.mark.parametrize("name", sorted(released_models()))
def test_reports_agree_with_their_confusion_matrix(name):
    report = read(name)
    counts = np.array(report["confusion"]["counts"])
    assert counts.sum() == report["faces"] == {"ferplus": 3153, "fer2013": 3589}[report["data"]]
    recall = np.diag(counts) / counts.sum(axis=1)
    assert report["metrics"]["accuracy"]["value"] == pytest.approx(np.trace(counts) / counts.sum(), abs=1e-12)
    assert report["metrics"]["balanced_accuracy"]["value"] == pytest.approx(recall.mean(), abs=1e-12)


@pytest.mark.parametrize("name", sorted(released_models()))
def test_the_card_quotes_the_report(name):
    card = (released_models()[name] / "README.md").read_text()
    for metric in read(name)["metrics"].values():
        assert f"{metric['value']:.4f}" in card


@pytest.mark.parametrize("name", sorted(released_models()))
def test_the_released_folder_has_the_same_report(name):
    shipped, result = json.loads((released_models()[name] / "report.json").read_text()), read(name)
    for report in (shipped, result):  # the released model is measured again under its own name
        del report["name"], report["commit"]
    assert shipped == result


def test_better_than_the_fer_package_on_the_same_rows():
    ours, theirs = read("convcut_ferplus_on_ferplus_7"), read("fer_package")["sets"]["ferplus"]
    assert ours["faces"] == theirs["faces"]
    assert ours["metrics"]["accuracy"]["low"] > theirs["metrics"]["accuracy"]["high"]


@pytest.mark.data
@pytest.mark.parametrize("name", sorted(released_models()))
def test_shipped_weights_give_the_reported_figures(name, data_root):
    report = read(name)
    again = evaluate(load_model(name), load_dataset(report["data"], data_root), report["split"])
    for metric, values in report["metrics"].items():
        for key, value in values.items():
            assert again["metrics"][metric][key] == pytest.approx(value, abs=5e-5)
