"""Checks that a frozen dataclass holds what its annotations promise: settings may come from JSON or a command line."""

import math
from collections.abc import Mapping
from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from ferlib.errors import UserError

MOST: dict[type, float] = {int: 10**9, float: 1e30}  # of a number without a bound of its own


def check_types(settings: Any) -> None:
    """Assert that every field of a dataclass instance is of the type its annotation names.

    Whole numbers pass for float, true and false for nothing but bool.

    Raises:
        ValueError: with the field's name, what it must be, and what it is.
    """
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        value = getattr(settings, field.name)
        if not _fits(value, hints[field.name]):
            raise UserError(f"{field.name} must be {_words(hints[field.name])}, not {value!r}")


def check_range(settings: Any, low: float, high: float, *names: str, exclusive: bool = False) -> None:
    """Assert that these fields, where they are not None, lie in low..high; `exclusive` shuts out the ends.

    Where `high` is infinity, `MOST` is the most: no setting has a use for more, and training would fail at more.

    Raises:
        ValueError: with the field's name and the range.
    """
    for name in names:
        value = getattr(settings, name)
        if value is None:
            continue
        inside = low < value < high if exclusive else low <= value <= high
        if inside and high == math.inf and value > (greatest := MOST[int] if isinstance(value, int) else MOST[float]):
            raise UserError(f"{name} must be at most {greatest:g}, not {_short(value)}")
        if not inside:
            least = f"above {low:g}" if exclusive else f"at least {low:g}"
            most = "" if high == float("inf") else f" and below {high:g}" if exclusive else f" and at most {high:g}"
            raise UserError(f"{name} must be {least}{most}, not {_short(value)}")


def _short(value: float) -> str:
    """A number in words of an error; Python refuses to write whole numbers of thousands of digits."""
    return f"{value!r}" if not isinstance(value, int) or abs(value) < 10**30 else "one of more than thirty digits"


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:  # tuple[X, ...], the only form used
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping)
    if arguments:  # X | Y
        return any(_fits(value, part) for part in arguments)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def _words(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return f"a list, each {_words(arguments[0])}"
    if origin is Mapping:
        return "a table of names and values"
    if arguments:
        return " or ".join(_words(part) for part in arguments)
    names = {int: "a whole number", float: "a number", str: "a word", bool: "true or false", NoneType: "null"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))
