"""Optional packages and programs, looked for without importing or starting them."""

import shutil
from importlib.util import find_spec

from ferlib.errors import MissingPackage

# the extra of ferlib that brings a package
_EXTRAS = {
    "av": "video", "scipy": "video", "pyarrow": "parquet", "plotly": "notebooks", "pandas": "notebooks",
    "fsspec": "bulk", "ray": "cluster",
}  # fmt: skip


def is_installed(*names: str) -> bool:
    """True where all of these top-level packages are installed."""
    try:
        return all(find_spec(name) is not None for name in names)
    except ImportError:
        return False


def chromium() -> str | None:
    """Path of an installed Chromium; None without one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def lab_is_installed() -> bool:
    """True where PyTorch and timm are, so that models can be trained, measured and opened up."""
    return is_installed("torch", "timm")


def needs_lab(what: str) -> str:
    """The sentence for something that only the lab can do."""
    return f"{what} needs PyTorch, which is not installed: pip install 'ferlib[lab]'"


def require(purpose: str, *packages: str) -> None:
    """Assert that packages are installed.

    Raises:
        MissingPackage: one is not; the sentence says how to install it.
    """
    for package in packages:
        if not is_installed(package):
            raise MissingPackage(f"{purpose} needs {package}, not installed: pip install 'ferlib[{_EXTRAS[package]}]'")
