"""`python -m ferlib export`: a model as an ONNX file, compared with PyTorch."""

import argparse
from pathlib import Path

from ferlib.errors import RunError, UserError


def add_export(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    export = commands.add_parser("export", help="write a model as an ONNX file and compare it with PyTorch")
    export.add_argument("model", metavar="MODEL", help="a released model's name or a model folder")
    export.add_argument("--out", required=True, type=Path, metavar="FILE.onnx", help="the file to write")
    export.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """`ferlib export`; an error when the file does not compute what the model does."""
    from ferlib.models.registry import load_model
    from ferlib.release.onnx_export import TOLERANCE, export_onnx, largest_difference
    from ferlib.synthetic.render import sample_faces
    from ferlib.utils.atomic import atomic_write, require_writable

    if options.out.suffix != ".onnx" and not options.out.is_dir():
        raise UserError(f"--out {options.out}: the name of an ONNX file ends in .onnx")
    require_writable(options.out)
    model = load_model(options.model)
    faces, _, _ = sample_faces(1, grey=False)
    with atomic_write(options.out) as partial:  # a file that is there gives way to one that is right alone
        export_onnx(model, partial)
        difference, size = largest_difference(model, partial, faces), partial.stat().st_size
        print(f"{options.out}, {size / 1e6:.1f} MB, at most {difference:.1e} from PyTorch in a logit or heat map "
              f"({len(faces)} synthetic faces)")  # fmt: skip
        if not difference <= TOLERANCE:  # not a number, too
            raise RunError(
                f"{options.out} is not written: the export does not compute what the model does; rounding explains "
                f"{TOLERANCE:.0e} at most"
            )
    return 0
