"""The page's texts in other languages."""

import re

from ferlib.app.tabs.webcam import LIVE_HTML, SCRIPT
from ferlib.app.translations import LANGUAGES, TEXTS, TRANSLATIONS, WEBCAM_TEXTS, say, webcam_words


def test_every_text_is_there_in_every_language_and_has_the_same_form():
    """Headings stay headings, and HTML keeps its tags."""
    first, *others = TRANSLATIONS.translations_dict.values()
    assert all(first.keys() == other.keys() for other in others) and len(first) == len(TEXTS)
    for texts in TEXTS:
        assert len(texts) == 3 and all(texts)
        for mark in ("#", "<", ">"):
            assert len({text.count(mark) for text in texts}) == 1, texts


def test_all_that_the_webcam_says_of_itself_is_translated():
    """Where a text is a key of `words`, and what goes wrong; what it says of faces is in English."""
    script = SCRIPT.read_text(encoding="utf-8")
    problems = {*re.findall(r'stop\("(.+?)"\)', script), *re.findall(r'return "(.+?)"', script)}
    called = set(re.findall(r'word\("(.+?)"\)', script))
    english = {text[0] for text in WEBCAM_TEXTS}
    assert len(problems) == 6 and problems | called <= english
    assert english - problems - called == {text for text in english if f">{text}<" in LIVE_HTML}
    assert all(words.keys() == english for words in webcam_words().values()) and len(webcam_words()) == 2
    assert LANGUAGES[1:] == tuple(webcam_words())


def test_what_has_no_translation_stays_as_it_is():
    assert say("A text of somebody else") == "A text of somebody else"
    assert say("About") != "About"
