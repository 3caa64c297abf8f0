"""Files that are written whole, and what they may take the place of."""

import os

import pytest

from ferlib.utils.atomic import atomic_write, require_writable, write_json


def test_a_link_stays_and_its_file_is_written(tmp_path):
    (tmp_path / "of_today.json").write_text("old")
    (tmp_path / "latest.json").symlink_to("of_today.json")
    require_writable(tmp_path / "latest.json")
    write_json(tmp_path / "latest.json", {"new": 1})
    assert (tmp_path / "latest.json").is_symlink() and "new" in (tmp_path / "of_today.json").read_text()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe is no file"):
        require_writable(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe is no file"), atomic_write(tmp_path / "pipe"):
        pass
    assert (tmp_path / "pipe").is_fifo() and list(tmp_path.iterdir()) == [tmp_path / "pipe"]
