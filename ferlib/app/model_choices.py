"""The models by plain names, with what a visitor chooses by: how often each is right, and how long a face takes."""

from ferlib.app.messages import percent
from ferlib.app.service import Service
from ferlib.names import display_name

TITLES = {
    "convcut_ferplus": "Standard",
    "convcut_ferplus_mirror": "Rare expressions",
    "ferlib-l": "Most accurate",
    "ferlib-m": "Accurate and small",
    "ferlib-s": "Smallest",
    "ivsa_fer2013": "IVSA",
}  # a model of one's own keeps its name


def model_title(name: str) -> str:
    """A model's plain name: "Standard"."""
    return TITLES.get(name, name)


def model_choices(service: Service) -> list[tuple[str, str]]:
    """The models for a dropdown, the default first: [("Standard, 87 % on FERPlus · 3 ms", "convcut_ferplus"), ...].

    The accuracy is that of the model's report on a data set's test faces, where it has one: labels of different data
    sets are of different quality. The time is that of one face on this machine, measured when the models were loaded.
    """
    choices = []
    for name in service.models:
        _, report = service.card(name)
        right = (
            f", {percent(report['metrics']['accuracy']['value'])} on {display_name(report['data'])}" if report else ""
        )
        choices.append((f"{model_title(name)}{right} · {service.milliseconds[name]:.0f} ms", name))
    return choices
