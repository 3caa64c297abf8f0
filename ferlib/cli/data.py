"""`python -m ferlib data`: the data sets; `data get NAME` downloads one, `data check NAME` reads one."""

import argparse

from ferlib.cli.data_options import add_reading_options, load_from


def add_data(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    data = commands.add_parser("data", help="list the data sets; `data get NAME` gets one, `data check NAME` reads one")
    data.add_argument("--root", metavar="DIR", help="look here instead of $FERLIB_DATA and the user's cache")
    data.set_defaults(run=run_data)
    actions = data.add_subparsers(metavar="get NAME or check NAME")
    check = actions.add_parser("check", help="read it; say how many faces it has, and what was left out")
    check.add_argument("name", metavar="NAME", help="a data set's name")
    add_reading_options(check, root=argparse.SUPPRESS)  # or it would undo `data --root DIR check NAME`
    check.set_defaults(run=run_data_check)
    get = actions.add_parser("get", help="download it, or say where to apply for it")
    get.add_argument("name", metavar="NAME", help="a data set's name")
    get.add_argument("--root", metavar="DIR", default=argparse.SUPPRESS, help="put it below this folder")
    get.add_argument("--from", dest="address", metavar="ADDRESS", help="download from here, a mirror say")
    get.set_defaults(run=run_data_get)


def run_data(options: argparse.Namespace) -> int:
    """`ferlib data`."""
    from ferlib.data.registry import SOURCES, find_dataset

    for name, source in SOURCES.items():
        folder = find_dataset(name, options.root)
        print(f"{name:<20} {f'found in {folder}' if folder else f'not found; to get it: {source.how_to_get}'}")
    print(f"{'folder':<20} pictures of your own in DIR/[<split>/]<class>/*: --data folder --root DIR")
    print(f"{'synthetic':<20} synthetic faces, always there")
    return 0


def run_data_check(options: argparse.Namespace) -> int:
    """`ferlib data check`."""
    data = load_from(options, options.name)
    print(data.counts().to_string())
    return 0


def run_data_get(options: argparse.Namespace) -> int:
    """`ferlib data get`."""
    from ferlib.data.download import download_dataset
    from ferlib.data.registry import SOURCES, find_dataset

    folder = find_dataset(options.name, options.root) if options.name in SOURCES else None
    if folder:
        print(f"{options.name} is already there, complete, in {folder}")
    else:
        print(f"{options.name} is now in {download_dataset(options.name, options.root, options.address)}")
    return 0
