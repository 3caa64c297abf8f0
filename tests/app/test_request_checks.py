"""What a client calls, before Gradio sees it."""

import pytest

from ferlib.app.request_checks import Refused, check_id, picture


@pytest.mark.parametrize("value", ["a" * 64, "k3x9_a", "7b1c2d3e-0000-4000-8000-1234567890ab"])
def test_names_of_sessions_and_uploads(value):
    check_id(value)


@pytest.mark.parametrize("value", ["a" * 65, "", "a b", "ä", "\ud800", 7, ["a"]])
def test_what_is_no_name_of_a_session_is_refused(value):
    with pytest.raises(Refused, match="at most 64") as refusal:
        check_id(value)
    assert refusal.value.status == 422


@pytest.mark.parametrize("part", ["path", "url"])
def test_half_a_character_in_a_path_is_refused(part):
    with pytest.raises(Refused, match="no path has") as refusal:
        picture({part: "/tmp/\ud800"})
    assert refusal.value.status == 422
    assert picture({part: "/tmp/ä b.jpg", "orig_name": "\ud800.jpg"})["orig_name"] == "\N{REPLACEMENT CHARACTER}.jpg"
