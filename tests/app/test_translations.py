"""The page's texts in other languages."""

from ferlib.app.translations import TEXTS, TRANSLATIONS, say


def test_every_text_is_there_in_every_language_and_has_the_same_form():
    """Headings stay headings, and HTML keeps its tags."""
    first, *others = TRANSLATIONS.translations_dict.values()
    assert all(first.keys() == other.keys() for other in others) and len(first) == len(TEXTS)
    for texts in TEXTS:
        assert len(texts) == 3 and all(texts)
        for mark in ("#", "<", ">"):
            assert len({text.count(mark) for text in texts}) == 1, texts


def test_what_has_no_translation_stays_as_it_is():
    assert say("A text of somebody else") == "A text of somebody else"
    assert say("About") != "About"
