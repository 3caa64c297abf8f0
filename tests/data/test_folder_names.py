"""Names of class folders: slips and numbers are asked about, words of one's own are left alone."""

import pytest

from ferlib import labels
from ferlib.data.dataset import DataError
from ferlib.data.folder_names import class_names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("suprise", "surprise"),
        ("Surprize", "surprise"),
        ("hapiness", "happiness"),
        ("angyr", "anger"),
        ("sadnes", "sadness"),
        ("nuetral", "neutral"),
        ("natural", "neutral"),
        ("contemp", "contempt"),
        ("disgusting", "disgust"),
        ("scared", "fear"),
        ("Frightened", "fear"),
        ("unhappy", "sadness"),
        ("0_angry", "anger"),
        ("happy2", "happiness"),
    ],
)
def test_a_slip_is_asked_about(name, meant):
    assert labels.near_miss(name) == meant
    with pytest.raises(DataError) as caught:
        class_names([name, "neutral"])
    assert f"is {name!r} {meant}? If so, rename" in str(caught.value)
    assert f"--labels {name}={meant} " in str(caught.value) and "--labels keep" in str(caught.value)
    assert class_names([name, "neutral"], {name: meant})[name] == meant
    assert class_names([name], {name: name}) == {name: name.lower()} == class_names([name], "keep")


@pytest.mark.parametrize(
    "name",
    ["tired", "laughing", "laughing out loud", "boredom", "zest", "pleased", "not pleased", "heads", "tails", "calm",
     "excited", "serious", "hungry", "pain", "yawning", "focused", "unsorted", "other"],
)  # fmt: skip
def test_words_of_ones_own_are_not(name):
    assert class_names([name]) == {name: name}


@pytest.mark.parametrize("name", [*labels.FERPLUS, *labels.SYNONYMS, " Happy "])
def test_known_names_are_not(name):
    assert class_names([name]) == {name: labels.canonical(name)}


def test_all_slips_are_asked_about_at_once_and_answered_in_any_case():
    with pytest.raises(DataError, match=r"is 'Suprise' surprise, 'scared' fear\?"):
        class_names(["Suprise", "scared", "sad"])
    found = class_names(["Suprise", "scared", "sad"], {"suprise": "Surprised", "SCARED": "scared"})
    assert found == {"Suprise": "surprise", "scared": "scared", "sad": "sadness"}


def test_numbers_are_asked_about_with_every_order_that_fits():
    with pytest.raises(DataError) as caught:
        class_names([str(i) for i in range(7)])
    text = str(caught.value)
    assert "--labels 0=anger 1=disgust 2=fear 3=happiness 4=sadness 5=surprise 6=neutral (the order of FER2013" in text
    assert "--labels 0=neutral 1=happiness 2=surprise" in text and "RAF-DB" not in text and "--labels keep" in text
    with pytest.raises(DataError, match=r"--labels 1=surprise 2=fear 3=disgust .* 7=neutral \(the order of RAF-DB"):
        class_names([str(i) for i in range(1, 8)])
    with pytest.raises(DataError) as caught:
        class_names(["0", "9"])
    assert "the order of" not in str(caught.value)
    assert class_names(["0", "9"], "keep") == {"0": "0", "9": "9"}
    assert class_names(["0", "9"], {"0": "angry", "9": "high"}) == {"0": "anger", "9": "high"}


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"sacred": "fear"}, "no class folder is called sacred; there are happy, scared"),
        ({"scared": "faer"}, r"is 'faer' fear\?"),
        ("yes", "pairs of a folder's name and its class, or 'keep'"),
    ],
)
def test_answers_may_be_wrong_too(answers, message):
    with pytest.raises(DataError, match=message):
        class_names(["scared", "happy"], answers)


@pytest.mark.parametrize("answers", [None, "keep"])
def test_the_name_of_a_tables_column_is_no_class(answers):
    with pytest.raises(DataError, match=r"a class cannot be called face or label: .*; rename the class folder"):
        class_names(["Label", "face", "happy"], answers)
    assert class_names(["label"], {"label": "labelled"}) == {"label": "labelled"}


def test_the_option_can_be_pasted_into_a_shell():
    with pytest.raises(DataError, match="--labels 'happy 2=happiness' "):
        class_names(["happy 2"])
