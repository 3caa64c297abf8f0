"""Names that settings and weights had in the first edition, translated where files saved then are read."""

from collections.abc import Collection
from typing import Any

FIELDS = {  # of configs and recipes
    "trunk": "backbone",
    "freeze_trunk": "freeze_backbone",
    "source_size": "downscale_to",
    "mirror": "flip_tta",
    "average": "ema_decay",
    "clip_norm": "max_grad_norm",
    "teacher_share": "teacher_fraction",
    "remedy": "method",
    "trunk_weights": "backbone_weights",  # in environment.json
}
VALUES = {("remedy", "none"): "plain"}
PREFIXES = {"trunk.": "backbone."}  # of parameters


def renamed_fields(settings: Any, own: Collection[str] = ()) -> Any:
    """Settings read from JSON, with today's names at every depth, and a method's own in their place.

    Args:
        settings: as JSON has them.
        own: names that stay, as whoever reads the settings has fields of these names.
    """
    if isinstance(settings, dict):
        now = {
            name if name in own else FIELDS.get(name, name): VALUES.get((name, value), value)
            if isinstance(value, str)
            else value
            if name == "method_settings"  # they have never had other names
            else renamed_fields(value, own)
            for name, value in settings.items()
        }
        if "tau" in now and "config" in now:  # of a recipe, in which every method had it
            tau = now.pop("tau")
            now["method_settings"] = {"tau": tau} if now.get("method", "").startswith("logit_adjusted") else {}
        return now
    return [renamed_fields(value, own) for value in settings] if isinstance(settings, list) else settings


def renamed_parameter(name: str) -> str:
    """Today's name of a model's parameter."""
    for old, new in PREFIXES.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
