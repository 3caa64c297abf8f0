"""Progress bars: in a terminal, not in a log file."""

import sys

import pytest

from ferlib.utils.progress import progress


@pytest.mark.parametrize(
    ("terminal", "visible", "drawn"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_a_bar_is_drawn_where_somebody_sees_it(terminal, visible, drawn, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert list(progress((i for i in range(3)), "counting", "step", visible, total=3)) == [0, 1, 2]
    found = capsys.readouterr()
    assert ("counting" in found.err and "/3" in found.err) == drawn and found.out == ""
