"""The check of numbers drawn from the texts: what it finds, what it leaves out by rule, and what it would notice."""

import re
import sys

import check_numbers
import numpy as np
import pytest
from check_numbers import Place, drawn, exception, holds, in_text

KINDS = (check_numbers.pages, check_numbers.notebooks, check_numbers.cards)


def numbers_of(text: str, *values: float) -> dict[str, str]:
    """Number -> the rule that leaves it out, or the place it is found in among these values alone."""
    own = (Place("here", np.array(values)),)
    found = {}
    for number in in_text(text, "somewhere", own):
        places = tuple(place for place in number.places if place.name in ("here", "sentence"))
        hit = next((place.name for place in places if holds(place.values, number.text, number.percent)), "not found")
        found[number.text] = number.exception or hit
    return found


@pytest.mark.parametrize(
    ("value", "text", "percent", "there"),
    [
        (0.8674, "86.7 %", True, True),
        (0.8674, "86.7", True, True),  # "86.7 and 90.1 %"
        (0.8674, "86.8 %", True, False),
        (0.8674, "0.867", False, True),
        (0.8674, "86.7", False, False),
        (86.7, "86.7 %", True, True),
        (2867, "2,867", False, True),
        (2867, "2,868", False, False),
        (7_712_345, "7.7 MB", False, True),
        (0.0056, "5.6 ms", False, True),
        (5400, "1.5 hours", False, True),
        (-0.021, "2.1 points", True, True),
        (3.5, "350 %", True, False),  # no fraction
    ],
)
def test_rounding_and_units(value, text, percent, there):
    assert holds(np.array([value]), text, percent) is there


def test_a_wrong_number_is_noticed_and_a_right_one_found():
    text = "The model has 86.7 % (0.3 more than before) on 3,153 faces, 12.5 % of them fear, in 41 minutes."
    found = numbers_of(text, 0.8674, 0.3, 3153, 0.136)
    assert found == {"86.7 %": "here", "0.3": "here", "3,153": "here", "12.5 %": "not found", "41 minutes": "not found"}
    assert numbers_of("It rises from 60.5 to 95.7 %, by 35.2 points.", 0.605, 0.957)["35.2 points"] == "sentence"


def test_what_is_left_out_by_rule():
    text = """# Heading 77

In 2022 (section 5.4, Table 3 and figure 17) they had 3 models, `--size 112`, k = 40, with 95 % intervals.

1. At $\\alpha = 0.55$, 14 × 14 maps, see [a page 66](https://example.org/88), and in Python 3.11.
"""
    found = numbers_of(text)
    assert found.keys() == {"2022", "5.4", "3", "17", "40", "95 %", "14", "66", "3.11"}
    assert [text for text, rule in found.items() if rule == "not found"] == ["66"]
    assert exception("on ", "2022", " faces") is None


def test_draws_are_repeatable_and_from_every_kind_of_text():
    kinds = [[number for number in kind() if number.exception is None] for kind in KINDS]
    few, again, other = (drawn(kinds, 50, seed) for seed in (3, 3, 4))
    assert [id(number) for number in few] == [id(number) for number in again] != [id(number) for number in other]
    names = [re.split(r"[/.]", number.where)[0] for number in few]
    assert len(names) == 50 and names.count("notebooks") == 17 and names.count("ferlib") == 16


def test_nearly_every_number_of_the_texts_is_found(capsys, monkeypatch):
    """What is not found is looked up by hand: facts such as the number of points of a mesh, products in exercises."""
    sought = [number for kind in KINDS for number in kind() if number.exception is None]
    missing = [(number.text, number.where) for number in sought if number.found() is None]
    assert len(sought) > 800 and len(missing) < 0.01 * len(sought), missing
    monkeypatch.setattr(sys, "argv", ["check_numbers.py", "--draw", "9", "--exceptions", "--show"])
    check_numbers.main()
    assert "9 drawn, found in:" in (said := capsys.readouterr().out) and "\na year: '20" in said
