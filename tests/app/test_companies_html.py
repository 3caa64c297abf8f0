"""The HTML of one face among different neighbours."""

import numpy as np
from balanced import Balanced
from people import SOMEBODY

from ferlib.app.batch_demo import Companies, Company
from ferlib.app.companies_html import companies_report, most_changed, verdict

PICTURES = (np.zeros((48, 48, 3), np.uint8),)


def scores(**given: float) -> dict[str, float]:
    return {"fear": 0.0, "happiness": 0.0, "surprise": 0.0, "neutral": 0.0} | given


def among(honest: tuple[str, ...] = ("fear",) * 4, **companies: dict[str, float]) -> Companies:
    """A face, alone and among companies, as the published model judges it, and as ours does."""
    rows = [
        Company(None if name == "alone" else name, PICTURES, one, scores(**{ours: 0.9}))
        for (name, one), ours in zip(companies.items(), honest, strict=False)
    ]
    return Companies(SOMEBODY, tuple(rows))


def test_a_face_that_flips_is_told_in_one_sentence_and_one_picture():
    """Rather with a company that gives its own name away than with a neutral one, where the change is larger."""
    found = among(
        alone=scores(fear=0.6, neutral=0.3),
        happiness=scores(fear=0.5, happiness=0.4),
        surprise=scores(surprise=0.7, fear=0.2),
        neutral=scores(neutral=0.9),
    )
    assert most_changed(found).expression == "surprise"
    said = "this face is fear when alone and surprise beside 15 surprised faces; ours stays the same."
    html = companies_report(found)
    assert f'<h2 role="status">To the published model {said}</h2>' in html
    seen, folded = html.split('<details class="more">')
    assert seen.count("<span>and 14 more</span>") == 1  # a face alone has none
    assert seen.count('class="tag"') == 4 and folded.count('class="tag"') == 8 and "attend to the" in folded
    assert not Balanced(html).open


def test_a_face_that_stays_is_told_with_how_sure_it_was():
    found = among(
        alone=scores(fear=0.9), happiness=scores(fear=0.8), surprise=scores(fear=0.5), neutral=scores(fear=0.7)
    )
    said = "this face stays fear, but goes from 90 % to 50 % beside 15 surprised faces; ours stays the same."
    assert verdict(found) == f"To the published model {said}"


def test_nothing_is_hidden_if_ours_changes_too():
    found = among(("fear", "happiness"), alone=scores(fear=0.9), happiness=scores(happiness=0.5))
    assert verdict(found).endswith("happy faces; ours changes too.")
