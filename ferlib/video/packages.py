"""The optional packages that films need, and the sentences for where they are missing."""

from ferlib.errors import MissingPackage
from ferlib.utils.packages import is_installed

_EXTRAS = {"av": "video", "scipy": "video", "pyarrow": "parquet", "plotly": "notebooks", "pandas": "notebooks"}


def require(purpose: str, *packages: str) -> None:
    """Assert that packages are installed.

    Raises:
        MissingPackage: one is not; the sentence says how to install it.
    """
    for package in packages:
        if not is_installed(package):
            raise MissingPackage(f"{purpose} needs {package}, not installed: pip install 'ferlib[{_EXTRAS[package]}]'")
