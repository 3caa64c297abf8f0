"""`python -m ferlib label`: from photos to faces in folders, a class each, as a model proposes; people correct it."""

import argparse
import shlex
import sys
from pathlib import Path

from ferlib.cli.settings import Several
from ferlib.names import counted


def add_label(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    label = commands.add_parser("label", help="cut the faces out of photos into folders by class, to be corrected")
    label.add_argument("photos", type=Path, metavar="PHOTOS", help="folder with photos, best one folder a person")
    label.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the faces")
    label.add_argument("--model", metavar="NAME_OR_DIR", help="who proposes: a released model's name or a model folder")
    label.add_argument(
        "--classes",
        nargs="+",
        action=Several,
        default=(),
        metavar="CLASS",
        help="classes of your own: nothing is proposed unless --model is given, all faces go to DIR/unsorted",
    )
    label.set_defaults(run=run_label)


def run_label(options: argparse.Namespace) -> int:
    """`ferlib label`."""
    from ferlib import labels
    from ferlib.annotation.proposals import PROPOSALS, UNSORTED, propose_labels, read_proposals
    from ferlib.predict import DEFAULT_MODEL, Predictor
    from ferlib.utils.files import search_pictures, skipped_note

    asked = options.model or not options.classes
    predictor = Predictor.load(options.model or DEFAULT_MODEL) if asked else None
    before = set()
    if (options.out / PROPOSALS).exists():
        earlier = read_proposals(options.out)
        before = set(earlier["photo"][earlier["problem"] == ""])
    table = propose_labels(options.photos, options.out, predictor, options.classes)
    inside = search_pictures(options.photos)
    known = sum(path.relative_to(options.photos).as_posix() in before for path in inside.pictures)
    notes = skipped_note([(path, kind) for path, kind in inside.skipped if options.out not in path.parents])
    if known:
        notes.append(
            f"{known:,} photos stand in {PROPOSALS} by their path below {options.photos}, and were left as they are"
        )
    notes += [f"did you mean {guess} by {name!r}?" for name in options.classes if (guess := labels.near_miss(name))]
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    found, problems = table[table["file"] != ""], table[table["problem"] != ""]
    people = found["person"].where(found["person"] != "").nunique()
    who = "1 person" if people == 1 else f"{people:,} people" if people else "nobody named"
    who += "" if people else " (photos in one folder a person would say who)"
    print(f"{counted(len(found), 'face')} in {counted(found['photo'].nunique(), 'photo')}, {who}, in {options.out}")
    for name, count in found["proposed"].replace("", UNSORTED).value_counts().items():
        print(f"  {name:<12} {count:>6,}")
    for row in problems.itertuples():
        print(f"  not used: {row.photo}: {row.problem}".encode(errors="backslashreplace").decode())  # broken bytes
    print(
        f"Now move what is wrong to the right folder; {options.out / PROPOSALS} lists the least sure faces first. "
        f"Then: python -m ferlib train convcut --data folder --root {shlex.quote(str(options.out))} --out runs/mine "
        "--backbone-weights convcut_ferplus --set backbone=tf_efficientnet_lite0 input_size=112 grey=true "
        "epochs=16 schedule=onecycle"
    )
    return 0
