"""The command line: `python -m ferlib COMMAND`. Every command prints its result to stdout and its complaints to stderr.

Exit codes: 0 done, 1 something could not be done (a sentence says what) or an audit failed, 2 wrong usage, 130
interrupted, by Ctrl-C or by whoever ends the process (SIGTERM). One file a command.
"""

import argparse
import io
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from ferlib.cli.app import add_app
from ferlib.cli.calibrate import add_calibrate
from ferlib.cli.ceiling import add_ceiling
from ferlib.cli.coverage import add_coverage
from ferlib.cli.data import add_data
from ferlib.cli.evaluate import add_evaluate
from ferlib.cli.export import add_export
from ferlib.cli.label import add_label
from ferlib.cli.models import add_models
from ferlib.cli.predict import add_predict
from ferlib.cli.release import add_release
from ferlib.cli.reproduce import add_reproduce
from ferlib.cli.train import add_train
from ferlib.cli.video import add_video
from ferlib.errors import UserError

COMMANDS = (
    add_predict, add_video, add_app, add_models, add_export, add_data, add_label, add_train, add_evaluate,
    add_calibrate, add_coverage, add_ceiling, add_reproduce, add_release,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):  # names of files may hold what the terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if arguments is None:  # a cluster, a container or `kill`: half-made files are cleared away then as well
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    warnings.formatwarning = _said
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = _parsed(words)
    options.words = words  # for a command that starts itself again
    try:
        return options.run(options)
    except ModuleNotFoundError as error:
        if options.debug or not error.name or error.name.partition(".")[0] == "ferlib":
            raise
        print(f"ferlib: this needs {error.name}, which is not installed: pip install 'ferlib[lab]'", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        sys.stdout = None
        return 0
    except (UserError, OSError) as error:  # any other exception is a fault of ours and keeps its traceback
        if options.debug:
            raise
        print(f"ferlib: {getattr(error, 'command_line', None) or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"ferlib: interrupted; {stop}" if stop.args else "ferlib: interrupted", file=sys.stderr)
        return 130


_format = warnings.formatwarning


def _said(message: Warning | str, category: type[Warning], *place: Any, **line: Any) -> str:
    """A warning as people see it: a sentence of ours without the place in the code."""
    return f"ferlib: {message}\n" if category is UserWarning else _format(message, category, *place, **line)


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = build_parser()
    if "" in words:  # of a shell's variable that is not set; as an option's value it would mean the default
        parser.error("a word of the command is empty; is a variable not set?")
    return parser.parse_args(words)


def build_parser() -> argparse.ArgumentParser:
    """All commands; each sets `run`, which takes the parsed options and returns the exit code."""
    parser = argparse.ArgumentParser(prog="ferlib", description="Facial expression recognition, honestly measured.")
    parser.add_argument("--debug", action="store_true", help="show where an error came from (before COMMAND)")
    parser.set_defaults(run=lambda _: print(parser.format_help(), end="") or 2)  # without a command
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return parser
