"""`python -m ferlib ceiling`: how often one of FERPlus's annotators agrees with the majority of the other nine."""

import argparse
from pathlib import Path

ABOUT = (
    "One annotator of FERPlus against the label that the majority rule makes of the other nine votes, every annotator "
    "of every face in turn; faces where the nine have no majority for an expression are left out. 'kept': of the faces "
    "alone that the majority rule keeps by all ten votes, those of the published figures."
)


def add_ceiling(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    ceiling = commands.add_parser("ceiling", help="how often one annotator of FERPlus agrees with the other nine")
    ceiling.add_argument("--root", metavar="DIR", help="where FERPlus is")
    ceiling.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON here")
    ceiling.set_defaults(run=run_ceiling)


def run_ceiling(options: argparse.Namespace) -> int:
    """`ferlib ceiling`."""
    from ferlib.data.fer2013 import majority, read_votes
    from ferlib.data.registry import dataset_folder
    from ferlib.evaluation.annotator_ceiling import annotator_ceiling
    from ferlib.evaluation.report_format import in_percent
    from ferlib.utils.atomic import require_writable, write_json
    from ferlib.utils.commit import commit

    if options.out:
        require_writable(options.out)
    votes, split = read_votes(dataset_folder("ferplus", options.root))
    kept, splits = majority(votes)[2], {}
    for name in ("validation", "test"):
        own = split == name
        splits[name] = annotator_ceiling(votes[own]) | {"kept": annotator_ceiling(votes[own & kept])}
    for name, found in splits.items():
        print(f"{name}: {found['answers']:,} answers to {found['faces']:,} faces")
        rows = {"all": found["agreement"], "mean over the classes": found["balanced_agreement"]} | found["per_class"]
        rows["all, faces of the published figures alone"] = found["kept"]["agreement"]
        for row, estimate in rows.items():
            print(f"  {row:<42} {in_percent(estimate)}")
    if options.out:
        command = f"python -m ferlib ceiling --out {options.out.as_posix()}"
        write_json(options.out, {"about": ABOUT, "command": command, "commit": commit(), "splits": splits})
    return 0
