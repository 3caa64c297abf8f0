"""Class vocabularies: their order, names, colours, and how one maps onto another. The only place for them.

Every expression has one name in this project (the noun: "happiness", not "happy" or "joy"); each data set has its
own order of them, which is the order of a model's outputs.
"""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from unicodedata import normalize

from ferlib.errors import UserError

# FERPlus (Barsoum et al. 2016), the column order of fer2013new.csv
FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
# FER2013 (Goodfellow et al. 2013), ids 0 to 6 of the csv
FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
# RAF-DB (Li and Deng 2019), ids 1 to 7 of list_patition_label.txt, so index = id - 1
RAFDB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
# CK+ (Lucey et al. 2010), ids 0 to 7 of ckextended.csv
CKPLUS = (*FER2013, "contempt")
# the eight labels of muxspace/facial_expressions, in the order of FERPlus
FACIAL_EXPRESSIONS = FERPLUS
# the synthetic faces of ferlib.synthetic.render
SYNTHETIC = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")

#: One colour per expression, the same in every figure (Okabe-Ito, readable with colour-vision deficiency).
COLOURS = {
    "neutral": "#7f7f7f",
    "happiness": "#e69f00",
    "surprise": "#56b4e9",
    "sadness": "#0072b2",
    "anger": "#d55e00",
    "disgust": "#009e73",
    "fear": "#cc79a7",
    "contempt": "#8c6d31",
}

#: Spellings found in data sets and folders of users, beside the names themselves.
SYNONYMS = {
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "happy": "happiness",
    "joy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
    "contemptuous": "contempt",
    "neutrality": "neutral",
}

#: Words that most likely mean an expression, but may well be a class of somebody's own: asked about, never replaced.
LIKELY = {
    "amazed": "surprise",
    "astonished": "surprise",
    "shocked": "surprise",
    "surprising": "surprise",
    "cheerful": "happiness",
    "glad": "happiness",
    "joyful": "happiness",
    "smile": "happiness",
    "smiling": "happiness",
    "sorrow": "sadness",
    "unhappy": "sadness",
    "furious": "anger",
    "mad": "anger",
    "rage": "anger",
    "disgusting": "disgust",
    "frightened": "fear",
    "frightening": "fear",
    "scared": "fear",
    "scary": "fear",
    "terrified": "fear",
    "disdain": "contempt",
    "scorn": "contempt",
    "natural": "neutral",
}
#: Names of the other columns that tables of photos and of films have: a class would stand in a column of that name.
RESERVED = {
    *("photo", "image", "face", "frame", "time", "seconds", "track", "x0", "y0", "x1", "y1", "roll", "label", "margin"),
    *("answer", "coverage", "prediction_set", "warnings", "error", "overlay"),
    *("yaw", "pitch", "eye_openness", "mouth_openness"),
}
_SMOOTHED = "smoothed_"  # the beginning of the names of columns that a film's table has beside the classes'
_ALIKE = 0.75  # of difflib: that of four letters with two swapped

#: What numbers in place of names mean, by the data set that numbers so: a number's class.
NUMBERINGS = {
    "FER2013 and CK+": dict(enumerate(CKPLUS)),
    "FERPlus": dict(enumerate(FERPLUS)),
    "RAF-DB": dict(enumerate(RAFDB, start=1)),
}


def canonical(name: str) -> str:
    """The project's name of an expression: "Happy" -> "happiness". Unknown names are returned in lower case."""
    name = spelled(name)
    return SYNONYMS.get(name, name)


def spelled(name: str) -> str:
    """A name in the form in which names are compared: lower case, and é one letter, which is two on a Mac."""
    return normalize("NFC", name.strip().lower())


def require_class_names(names: Iterable[str]) -> None:
    """Assert that tables can have columns of these names.

    Raises:
        UserError: one is the name of another column.
    """
    if taken := [name for name in names if name in RESERVED or name.startswith(_SMOOTHED)]:
        raise UserError(f"a class cannot be called {' or '.join(taken)}: tables of results have a column of that name")


def near_miss(name: str) -> str | None:
    """The expression that an unknown name probably means, "suprise" -> "surprise"; None for a known or unlike name."""
    if canonical(name) in FERPLUS:
        return None
    words = {word: word for word in FERPLUS} | SYNONYMS | LIKELY
    bare = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", name.lower())  # "0_angry" -> "angry"
    alike = get_close_matches(bare, words, n=1, cutoff=_ALIKE)
    return words[alike[0]] if alike else None


def mapping(source: Sequence[str], target: Sequence[str]) -> list[int]:
    """Index in `target` of every class of `source`, -1 where `target` has no such class.

    >>> mapping(("anger", "contempt"), ("neutral", "anger"))
    [1, -1]
    """
    places = {name: index for index, name in enumerate(target)}
    return [places.get(name, -1) for name in source]
