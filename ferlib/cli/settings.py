"""Options with several values on the command line, and settings: `--set FIELD=VALUE ...`."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from ferlib.errors import UserError
from ferlib.utils.old_names import renamed_fields


class Several(argparse.Action):
    """Values of an option; where it is given again, those of every time. The default holds only where it is not."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        """Add the values of one time."""
        given = getattr(namespace, self.dest)
        setattr(namespace, self.dest, values if given is self.default else [*given, *values])


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
