"""Estimates in words."""

import pytest

from ferlib.evaluation.report_format import in_percent


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        ({"value": 0.7304, "low": 0.715, "high": 0.7441}, "73.0 (71.5 to 74.4)"),
        ({"value": 0.346}, "34.6"),
        ({"value": 1.0, "low": 0.9996, "high": 1.0}, "100.0 (100.0 to 100.0)"),
    ],
)
def test_an_estimate_in_percent(estimate, words):
    assert in_percent(estimate) == words
