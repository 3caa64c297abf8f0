"""The sentences for where an optional package that films need is missing."""

from ferlib.utils.packages import require

__all__ = ["require"]
