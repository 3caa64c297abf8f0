"""The options that say which faces of a picture are wanted."""

import argparse

from ferlib.detection.main_face import FACES


def add_wanted_faces(parser: argparse.ArgumentParser) -> None:
    """Put `--faces` and `--min-face` into a command's parser."""
    parser.add_argument(
        "--faces",
        choices=FACES,
        default="all",
        help="all (default), or main: the largest, most central one alone, which in a film stays until another is 1.3 "
        "times as prominent",
    )
    parser.add_argument(
        "--min-face", type=float, metavar="PIXELS", help="find faces down to this side, leave out smaller ones"
    )
