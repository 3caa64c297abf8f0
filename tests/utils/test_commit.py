"""The commit in a report is the project's, never that of the repository somebody works in."""

import subprocess
from pathlib import Path

import pytest

from ferlib import __version__
from ferlib.utils import commit as module
from ferlib.utils.commit import commit


@pytest.fixture
def repository(tmp_path):
    """Somebody's repository with one commit, and the package below it, in an environment that git is told to ignore."""

    def git(*words: str) -> str:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        return subprocess.run(["git", *who, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "--quiet")
    (tmp_path / ".gitignore").write_text(".venv/\n")
    package = tmp_path / ".venv" / "site-packages" / "ferlib" / "utils"
    package.mkdir(parents=True)
    (package / "commit.py").write_text(Path(module.__file__).read_text())
    git("add", ".gitignore")
    git("commit", "--quiet", "--message", "mine")
    return package / "commit.py", git


def test_an_installed_package_names_its_version(repository, monkeypatch):
    file, git = repository
    monkeypatch.setattr(module, "__file__", str(file))
    assert commit() == f"ferlib {__version__}"
    git("add", "--force", str(file))
    git("commit", "--quiet", "--message", "a copy of it kept with the rest")
    assert commit() == git("rev-parse", "--short=12", "HEAD").strip()
    file.write_text("changed")
    assert commit() == git("rev-parse", "--short=12", "HEAD").strip() + "+"


def test_without_git_too(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit() == f"ferlib {__version__}"
