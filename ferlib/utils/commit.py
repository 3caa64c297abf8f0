"""The version of the code that made a result."""

import subprocess
from pathlib import Path

from ferlib import __version__


def commit() -> str:
    """The git commit that the project's code is in, with "+" when files differ from it; else "ferlib 0.1.0" or so.

    The repository around an installed package is its user's: this file must be one of those that git tracks there.
    """
    file = Path(__file__)
    git = ["git", "-C", str(file.parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", file.name], capture_output=True, check=True)
        describe = [*git, "describe", "--always", "--dirty=+", "--abbrev=12"]
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"ferlib {__version__}"
