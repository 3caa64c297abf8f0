"""Settings on the command line: `--set FIELD=VALUE ...`."""

import json
from collections.abc import Sequence
from typing import Any

from ferlib.errors import UserError
from ferlib.utils.old_names import renamed_fields


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """["epochs=3", "attention=none"] -> {"epochs": 3, "attention": "none"}; values are JSON where they can be.

    Fields may have the names of earlier editions, as in commands noted then.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UserError(f"--set takes FIELD=VALUE, not {pair!r}")
        try:
            settings[name] = json.loads(text)
        except json.JSONDecodeError:
            settings[name] = text
    return renamed_fields(settings)
