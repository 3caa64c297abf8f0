"""The papers' tables as data: complete, in range, with sources, consistent with the differences that are printed."""

import json
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from ferlib.errors import UserError
from ferlib.experiments.published import ALONE, FOLDER, TABLES, comparison, read_published, read_rivals
from ferlib.training.recipes import RECIPES

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("name", TABLES)
def test_every_figure_has_its_source_and_protocol(name):
    table = read_published(name)
    assert len(table) and not table.duplicated(["model", "data", "metric"]).any()
    assert table["value"].between(50, 100).all()
    assert set(table["metric"]) <= {"accuracy", "macro_f1"}
    assert set(table["data"]) <= {"rafdb", "ferplus", "fer2013", "ckplus"}
    assert (table[["paper", "table", "model", "protocol"]] != "").all().all()
    assert table["paper"].nunique() == table["table"].nunique() == 1


def test_there_is_no_table_without_a_name():
    assert {path.stem for path in FOLDER.glob("*.csv")} == {*TABLES, "rivals"}
    with pytest.raises(ValueError, match="unknown table 'convcut_table9'"):
        read_published("convcut_table9")


def test_the_rivals_claims_are_those_that_the_papers_tables_print():
    """But for MEK, whose own claim is another than Conv-cut prints for LNSU-Net."""
    rivals = read_rivals().query("metric == 'accuracy'")
    assert not rivals.duplicated(["model", "data"]).any() and (rivals["protocol"] != "").all()
    names = {"IPA2LT": "LTNet"}
    printed = pd.concat([read_published("convcut_table1"), read_published("ivsa_table2")])
    pairs = printed.replace({"model": names}).merge(rivals, on=["model", "data"])
    assert len(pairs) == 14 and (pairs["value_x"] == pairs["value_y"]).all()
    assert (pairs["protocol_x"] == pairs["protocol_y"]).all()


def test_every_rival_is_built_or_the_note_says_why_not():
    rivals = read_rivals()
    assert (rivals["note"].str.startswith("not built: ") == (rivals["built"] == "")).all()
    architectures = {"ddamfn", "apvit", "two_depth_vit", "vtff", "qcs"}
    assert architectures <= set(rivals["built"]) and architectures <= RECIPES.keys()


def values(name: str, data: str, metric: str = "accuracy") -> list[float]:
    table = read_published(name)
    return table.loc[(table["data"] == data) & (table["metric"] == metric), "value"].tolist()


@pytest.mark.parametrize(
    ("name", "data", "metric", "printed"),
    [
        ("convcut_table2", "rafdb", "accuracy", [3.03, 5.59, 13.09]),
        ("convcut_table2", "ferplus", "accuracy", [2.6, 4.15, 13.23]),
        ("convcut_table3", "rafdb", "accuracy", [2.38, 2.09]),
        ("convcut_table3", "rafdb", "macro_f1", [4.07, 3.78]),
    ],
)
def test_differences_from_row_to_row_are_those_the_paper_prints(name, data, metric, printed):
    rows = values(name, data, metric)
    assert [b - a for a, b in pairwise(rows)] == pytest.approx(printed, abs=1e-9)


def test_the_lead_over_the_second_is_the_one_the_paper_prints():
    for data, lead in (("rafdb", 2.28), ("ferplus", 1.97)):
        *_, second, best = sorted(values("convcut_table1", data))
        assert best - second == pytest.approx(lead, abs=1e-9)


def test_the_same_figure_is_the_same_in_every_table():
    first, second, third = (read_published(f"convcut_table{i}") for i in (1, 2, 3))
    for data in ("rafdb", "ferplus"):
        (ours,) = first.loc[(first["model"] == "Conv-cut") & (first["data"] == data), "value"]
        assert second.loc[(second["model"] == "both") & (second["data"] == data), "value"].tolist() == [ours]
    assert third.query("model == 'two layers' and metric == 'accuracy'")["value"].item() == max(
        values("convcut_table1", "rafdb")
    )
    ivsa = read_published("ivsa_table1").set_index("model")["value"]
    blocks = read_published("ivsa_table3").set_index("model")["value"]
    assert (ivsa["IVSA"], ivsa["IVSA without SAB"]) == (blocks["sab"], blocks["plain"])


def test_only_figures_known_to_mix_neighbours_are_marked_so():
    table = read_published("convcut_table1")
    assert set(table.loc[table["protocol"].str.contains("batch attention"), "model"]) == {"Conv-cut", "PAtt-Lite"}


def test_every_rival_says_how_it_was_judged_or_why_that_is_not_known():
    table = read_published("convcut_table1")
    assert (
        table["protocol"]
        .str.contains("test accuracy|best on test|chosen on test|no public code|no official code")
        .all()
    )
    known = set(table.loc[table["protocol"].str.startswith("every face alone"), "model"])
    assert known == {"DMUE", "EAC", "POSTER", "APViT", "LNSU-Net", "CEPrompt"}
    f1 = read_published("convcut_table3").query("metric == 'macro_f1'")
    assert f1["note"].str.contains("macro average").all() and len(f1) == 3
    cross = read_published("ivsa_table2").set_index("model")["note"]
    assert cross[["LDL-ALSG", "IPA2LT", "AGRA"]].str.contains("not like with like").all()


def test_ours_stand_beside_the_papers_with_their_protocols():
    table = comparison("ferplus", RESULTS)
    assert table["accuracy"].is_monotonic_decreasing
    (theirs,) = table[table["source"] == "Conv-cut, Table 1"].query("model == 'Conv-cut'").to_dict("records")
    assert theirs["accuracy"] == 95.69
    released = table[table["source"] == "results/convcut_ferplus.json"].iloc[0]
    report = json.loads((RESULTS / "convcut_ferplus.json").read_text())["metrics"]["accuracy"]
    assert released["accuracy"] == pytest.approx(100 * report["value"]) and released["protocol"] == ALONE
    compared = json.loads((RESULTS / "protocols.json").read_text())["entries"]
    place = ("ferplus", "convcut", "mobilenetv1_100")
    (entry,) = (entry for entry in compared if (entry["data"], entry["model"], entry["backbone"]["name"]) == place)
    rows = table[table["model"].str.startswith("Conv-cut, frozen MobileNetV1")].set_index("model")
    for one in (entry["protocols"][0], entry["protocols"][3]):
        (row,) = (row for name, row in rows.iterrows() if name.endswith(one["name"]))
        assert row["accuracy"] == pytest.approx(100 * one["metrics"]["accuracy"]["value"])
        assert (row["protocol"] == ALONE) == (one["batching"]["batch_order"] == "single")
    with pytest.raises(UserError, match=r"no report .*; give the folder that holds it"):
        comparison("ferplus", RESULTS / "nowhere")
    assert len(comparison("rafdb", RESULTS)) == len(values("convcut_table1", "rafdb"))  # which we do not have
    table = comparison("fer2013", RESULTS)
    networks = ("ivsa_full_width", "ivsa_full_width_ten_crop", "ivsa_fer2013", "ivsa_fer2013_ten_crop")
    ours = {f"results/{name}.json" for name in (*networks, "convcut_fer2013_head")}
    assert set(table["source"]) == {"IVSA, Table I", *ours}
    best = table.iloc[0]  # the network of the paper's size, as the paper reads it
    assert best["model"] == "IVSA at full width, ten crops" and round(best["accuracy"], 1) == 72.8
    assert len(comparison("ckplus", RESULTS)) == 5
