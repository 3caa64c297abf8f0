"""What the rivals' entries say beside each other, on entries whose figures are known."""

import pytest
from rival_entries import entry, row, with_noise

from ferlib.evaluation.report_format import in_points
from ferlib.experiments.published import read_rivals
from ferlib.experiments.rival_tables import claims_table, noise_table, sentence


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SCN", "SCN: helps, +2.0 points (+1.0 to +3.0)"),
        ("LTNet", "LTNet: harms, -3.0 points (-4.0 to -2.0)"),
        ("mixup", "mixup: cannot be told, +0.1 points (-0.9 to +1.1)"),
        ("plain", "plain: what the others are compared with"),
    ],
)
def test_sentences(name, said):
    assert sentence(row(name, 0.8)) == sentence(row(name, 0.8), "macro_f1") == said


def test_a_row_that_is_not_compared_says_so():
    alone = row("SCN", 0.8)
    del alone["minus_plain"]
    assert sentence(alone) == "SCN: not compared yet, plain training has none of its seeds"


def test_an_end_says_on_which_side_of_nothing_it_lies():
    assert in_points({"value": -0.0001, "low": -0.0004, "high": 0.0}) == "-0.01 (-0.04 to +0.0)"
    assert in_points({"value": -0.00001, "low": -0.00004, "high": 0.00003}) == "+0.0 (+0.0 to +0.0)"
    assert in_points({"value": -0.0006, "low": -0.012, "high": 0.0005}) == "-0.1 (-1.2 to +0.1)"


def test_flipped_labels_stand_beside_none_where_all_else_is_alike():
    table = noise_table(with_noise()).query("metric == 'accuracy'")
    assert set(table["data"]) == {"ferplus"} and set(table["table"]) == {"methods-frozen"}
    values = table.pivot(index="row", columns="flipped", values="value")
    assert values.loc["plain"].tolist() == pytest.approx([0.8, 0.75, 0.7])
    assert values.loc["SCN"].tolist() == pytest.approx([0.82, 0.77, 0.72])
    assert values.loc["LTNet"].isna().tolist() == [True, False, False], "it has the other annotator's labels there"
    assert set(values.index) == {"plain", "SCN", "LTNet"}, "rows that the noisy tables do not have stand nowhere"
    assert table.drop_duplicates("flipped")["flipped"].tolist() == [0, 0.1, 0.2]


def test_another_recipe_or_backbone_is_no_fraction_nought():
    *noisy, clean = with_noise()
    for other in (entry(epochs=9), clean | {"backbone": {"name": "other"}}, clean | {"table": "methods"}):
        assert set(noise_table([*noisy, other])["flipped"]) == {0.1, 0.2}
    assert noise_table([clean]).empty


def test_other_tables_of_a_results_file_are_passed_over():
    others = [
        {"table": "protocols", "data": "ferplus", "backbone": {"name": "x"}, "recipe": {}, "protocols": []},
        {"table": "ivsa-table3", "data": "ferplus", "backbone": None, "recipe": {}, "rows": [{"paper": {}}]},
        {"table": "annotators", "data": "ferplus", "backbone": {"name": "x"}, "recipe": {}, "rows": [{"name": "a"}]},
    ]
    for table in (noise_table, claims_table):
        assert table([*others, *with_noise()]).equals(table(with_noise()))


def test_claims_are_the_papers_beside_ours():
    table = claims_table(with_noise()).set_index("row")
    assert list(table.index) == ["SCN", "LTNet", "DDAMFN"], "no row of flipped labels, none without a published figure"
    published = read_rivals().query("metric == 'accuracy'").set_index(["model", "data"])["value"]
    for name, place in (("SCN", "ferplus"), ("LTNet", "ckplus"), ("DDAMFN", "ferplus")):
        assert table.loc[name, "claimed_on"] == place
        assert table.loc[name, "claimed"] == pytest.approx(published[name, place] / 100)
    scn = table.loc["SCN"]
    assert (scn["value"], scn["chosen_on_test"], scn["minus_plain"]) == pytest.approx((0.82, 0.824, 0.02))
    assert scn["verdict"] == "helps"
    variant = claims_table([entry(rows=("plain", "SCN")) | {"data": "ferplus_most_votes"}]).set_index("row")
    assert variant.loc["SCN", "claimed_on"] == "ferplus"
    assert claims_table([entry(rows=("plain", "mixup"))]).empty
