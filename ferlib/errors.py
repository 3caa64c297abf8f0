"""The errors that a user can mend: a wrong option, a missing file, data that do not fit.

The command line prints the message of a `UserError` as one line. Any other exception is a fault of this project and
keeps its traceback.
"""


class UserError(ValueError):
    """Something the user can mend; the message is a sentence that says what.

    Attributes:
        command_line: the same in the words of the command line, where a way out has another name there; or None.
    """

    command_line: str | None = None


class MissingPackage(UserError, ImportError):
    """An optional package that is needed is not installed; the message says how to install it."""


class RunError(UserError, RuntimeError):
    """Something could not be done with what was given: weights that do not fit, a training that diverged."""
