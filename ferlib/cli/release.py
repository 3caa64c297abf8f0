"""`python -m ferlib release`: a finished run made a released model."""

import argparse
from pathlib import Path

from ferlib.cli.data_options import add_data_options, load_for, load_from
from ferlib.errors import UserError


def add_release(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    release = commands.add_parser("release", help="make a finished run a released model, or measure one again")
    release.add_argument("name", metavar="NAME", help="of the released model; without --run, also a released folder")
    add_data_options(release, "the data set it was trained on")
    release.add_argument("--run", dest="run_folder", type=Path, metavar="RUN", help="run folder of `ferlib train`; "
                         "without it or --from, a released model is calibrated and measured again")  # fmt: skip
    release.add_argument("--from", dest="source", metavar="MODEL", help="released model, or folder made by this "
                         "command, of which NAME is another form: with --int8, --tau or --mirror")  # fmt: skip
    release.add_argument("--out", type=Path, metavar="DIR", help="where NAME is made (default: ferlib/weights "
                         "of a checkout, else the current folder)")  # fmt: skip
    release.add_argument("--replace", action="store_true", help="a new model takes the place of one of its name")
    release.add_argument("--licence", metavar="ID", help="of the weights, for the card: Apache-2.0, CC-BY-NC-4.0 …")
    release.add_argument("--about", metavar="TEXT", help="for the card, what the run does not know: whose pictures "
                         "these are and what may be done with them, what the model is for")  # fmt: skip
    release.add_argument("--mirror", action="store_true", help="of a new model: it answers with the mean over a face "
                         "and its mirror image")  # fmt: skip
    release.add_argument("--tau", type=float, metavar="T", help="of a new model: shift its logits towards rare "
                         "classes by this much (logit adjustment), beside a shift that it has")  # fmt: skip
    release.add_argument("--int8", action="store_true", help="of a new model: store its weights in eight bits, "
                         "which makes its files a quarter as large")  # fmt: skip
    release.add_argument("--onnx", action=argparse.BooleanOptionalAction, default=True,
                         help="with model.onnx, which answers without PyTorch (default)")  # fmt: skip
    release.add_argument("--sets-only", action="store_true", help="of a released model, calibrate and measure "
                         "the prediction sets alone, and write the card again")  # fmt: skip
    release.add_argument("--device", default="auto", help="auto (default: a GPU if there is one), cpu, cuda …")
    release.set_defaults(run=run_release)


def run_release(options: argparse.Namespace) -> int:
    """`ferlib release`."""
    from ferlib.models.registry import load_model
    from ferlib.release.calibration import calibrate_sets, changeable
    from ferlib.release.release import release

    run, source = options.run_folder, options.source
    if run and source:
        raise UserError("a new model comes from --run or from --from, not from both")
    if run and (lacking := [name for name in ("recipe.json", "metrics.json", "best") if not (run / name).exists()]):
        hint = f"; did you mean {run.parent}?" if (run.parent / "recipe.json").exists() else ""
        raise UserError(f"{run} is not the folder of a finished run: it has no {lacking[0]}{hint}")
    changed = options.int8 or options.mirror or bool(options.tau)
    if options.sets_only and (run or source or options.out):
        raise UserError("--sets-only is for a model that was released before, where it stands")
    if options.sets_only and (changed or options.licence or options.about or not options.onnx):
        raise UserError("--sets-only measures the prediction sets alone; leave the other options out")
    if source and not changed:
        raise UserError("another form differs by --int8, --mirror or a --tau above 0; give one of them")
    if options.data == "folder":
        data = load_for(options, load_model(run / "best" if run else source or options.name).config)
    else:
        data = load_from(options)
    if options.sets_only:
        folder = changeable(options.name)
        calibrate_sets(folder, data, options.device)
        print(folder)
        return 0
    said = {"licence": options.licence, "about": options.about}
    changes = {"mirror": options.mirror, "tau": options.tau or None, "int8": options.int8}
    how = {"source": source, "onnx": options.onnx, "device": options.device, "replace": options.replace}
    print(release(options.name, data, run, options.out, **how, **said, **changes))
    return 0
