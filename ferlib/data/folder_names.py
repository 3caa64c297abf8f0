"""From the names of folders to those of classes, with a question where a name is probably a slip."""

import shlex
from collections.abc import Collection, Mapping

from ferlib import labels
from ferlib.data.dataset import DataError
from ferlib.errors import UserError
from ferlib.labels import spelled

KEEP = "keep"


def class_names(names: Collection[str], answers: Mapping[str, str] | str | None = None) -> dict[str, str]:
    """The class each name stands for: the project's name of an expression, else the name itself in lower case.

    Args:
        names: of the class folders.
        answers: what names mean, e.g. {"suprise": "surprise"}; a name that means itself is a class of its own. "keep"
            makes a class of each name that is no known one of an expression.

    Raises:
        DataError: a name is a number, or close to an expression's without being one, and no answer says what is meant;
            or an answer is for a name that is not there. The message has the options to choose from. Or a class would
            have the name of another column of a table.
    """
    meanings = _meanings(names, answers)
    try:
        labels.require_class_names(sorted(set(meanings.values())))
    except UserError as error:
        raise DataError(f"{error}; rename the class folder, or say with labels= or --labels what it means") from None
    return meanings


def _meanings(names: Collection[str], answers: Mapping[str, str] | str | None) -> dict[str, str]:
    if answers == KEEP:
        return {name: labels.canonical(name) for name in names}
    if isinstance(answers, str):
        raise DataError(f"labels must be pairs of a folder's name and its class, or {KEEP!r}, not {answers!r}")
    given = {spelled(name): meaning for name, meaning in (answers or {}).items()}
    if unknown := sorted(given.keys() - {spelled(name) for name in names}):
        raise DataError(f"no class folder is called {', '.join(unknown)}; there are {', '.join(sorted(names))}")
    numbers = sorted((name for name in names if name.isdecimal() and spelled(name) not in given), key=int)
    if numbers:
        raise DataError(_numbers_question(numbers))
    meanings = {name: given.get(spelled(name), name) for name in names}
    own = {name for name, meaning in meanings.items() if spelled(name) in given and spelled(meaning) == spelled(name)}
    doubts = {
        name: guess for name, meaning in meanings.items() if name not in own and (guess := labels.near_miss(meaning))
    }
    if doubts:
        raise DataError(_slips_question(doubts, meanings))
    return {name: spelled(name) if name in own else labels.canonical(meaning) for name, meaning in meanings.items()}


def merged_notes(meanings: Mapping[str, str]) -> list[str]:
    """A sentence a class that several names stand for, as they are given by `class_names`."""
    named: dict[str, list[str]] = {}
    for name, meaning in meanings.items():
        named.setdefault(meaning, []).append(name)
    notes = []
    for meaning, names in named.items():
        if len({spelled(name) for name in names}) > 1:
            other = max(name for name in names if spelled(name) != meaning)
            apart = f"{_pairs({other: other})} keeps one apart"
            notes.append(f"the folders {', '.join(sorted(names))} are one class, {meaning} ({apart})")
    return notes


def _pairs(meanings: Mapping[str, str]) -> str:
    """The option that answers a question."""
    return "--labels " + " ".join(shlex.quote(f"{name}={meaning}") for name, meaning in meanings.items())


def _slips_question(doubts: Mapping[str, str], meanings: Mapping[str, str]) -> str:
    asked = ", ".join(f"{meanings[name]!r} {guess}" for name, guess in doubts.items())
    return (
        f"is {asked}? If so, rename the class folders or add {_pairs(doubts)} (in Python labels={dict(doubts)}); "
        f"if not, {_pairs({name: name for name in doubts})} makes classes of their own of these, --labels {KEEP} of all"
    )


def _numbers_question(numbers: Collection[str]) -> str:
    orders = {
        f"{_pairs({name: order[int(name)] for name in numbers})} (the order of {source})"
        for source, order in labels.NUMBERINGS.items()
        if all(int(name) in order for name in numbers)
    }
    choices = [*sorted(orders), f"--labels {KEEP} (classes called by their numbers)"]
    return (
        f"the class folders {', '.join(numbers)} are numbers, which mean other expressions in every data set; rename "
        f"them, or say which with labels= or one of these options:\n  " + "\n  ".join(choices)
    )
