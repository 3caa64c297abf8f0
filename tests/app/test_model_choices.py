"""The models as a visitor chooses among them."""

import re

from ferlib.app.model_choices import TITLES, model_choices
from ferlib.app.service import Service
from ferlib.evaluation.report_format import read_report
from ferlib.names import display_name
from ferlib.runtime.released import released_models


def test_every_released_model_has_a_plain_name_its_accuracy_and_its_time():
    assert TITLES.keys() == set(released_models())
    service = Service()
    service.load()
    choices = model_choices(service)
    assert [name for _, name in choices] == list(service.models)
    for label, name in choices:
        title, right, data, took = re.fullmatch(r"(.+), (\d+) % on (\S+) · (\d+) ms", label).groups()
        report = read_report(released_models()[name] / "report.json")
        assert data == display_name(report["data"]) == ("FER2013" if name == "ivsa_fer2013" else "FERPlus")
        assert title == TITLES[name] and int(right) == round(100 * report["metrics"]["accuracy"]["value"])
        assert int(took) == round(service.milliseconds[name]) < 1000
