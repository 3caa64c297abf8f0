"""`python -m ferlib evaluate`: a model on a split, by the honest or the published protocol, and its audit."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferlib.cli.data_options import add_data_options, load_for
from ferlib.cli.settings import Several, parse_settings
from ferlib.errors import UserError
from ferlib.utils.atomic import read_json, require_writable, write_json

if TYPE_CHECKING:
    from ferlib.data.dataset import FaceDataset
    from ferlib.evaluation.audit import AuditReport
    from ferlib.evaluation.external_model import AnyModel
    from ferlib.evaluation.report_format import Report, Slice

EXTERNAL = "MODULE:CALLABLE"


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    evaluate = commands.add_parser("evaluate", help="measure a model on a split, and audit it")
    evaluate.add_argument(
        "model",
        metavar="MODEL",
        help=f"a released model's name, a model folder, or {EXTERNAL}, which is imported, called and returns a model",
    )
    add_data_options(evaluate)
    evaluate.add_argument("--split", choices=["train", "validation", "test"], default="test", help="default: test")
    evaluate.add_argument(
        "--without", nargs="*", action=Several, default=[], metavar="CLASS", help="leave these classes out"
    )
    evaluate.add_argument("--clean", action="store_true", help="leave duplicates and blank images out")
    evaluate.add_argument("--ten-crop", action="store_true", help="average over ten crops of every face (IVSA)")
    evaluate.add_argument(
        "--protocol",
        choices=["honest", "published"],
        default="honest",
        help="honest (default): every face alone; published: in class-sorted batches, as the papers' code",
    )
    evaluate.add_argument(
        "--batch-size", type=int, metavar="N", help="of --protocol published; default: 32, that of the papers' code"
    )
    evaluate.add_argument(
        "--audit",
        action="store_true",
        help="also predict in sorted and shuffled batches of several sizes, and without duplicates; "
        "exit code 1 when the answer for a face depends on the others",
    )
    evaluate.add_argument(
        "--history",
        type=Path,
        metavar="CSV",
        help="for the audit: what choosing on test would claim; a row an epoch, "
        "with accuracy (of validation) and test_accuracy, which `fit(observe=…)` can write",
    )
    evaluate.add_argument(
        "--slices",
        metavar="CSV",
        help="also accuracy by columns about the faces: a table with a column file or row, or the word measured, for "
        "what can be measured on the pictures: brightness, sharpness, pose of the head, openness of eyes and mouth",
    )
    evaluate.add_argument(
        "--set",
        nargs="*",
        action=Several,
        default=[],
        metavar="FIELD=VALUE",
        help=f"for a {EXTERNAL} without a config: classes, input_size (224), grey (false), mean and std (ImageNet's) …",
    )
    evaluate.add_argument("--device", default="auto", help="auto (default: a GPU if there is one), cpu, cuda …")
    evaluate.add_argument("--format", choices=["table", "json"], default="table", help="default: table")
    evaluate.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON here")
    evaluate.set_defaults(run=run_evaluate)


def run_evaluate(options: argparse.Namespace) -> int:
    """`ferlib evaluate`; 1 when the audit fails."""
    from ferlib.evaluation.audit import audit
    from ferlib.evaluation.evaluate import PUBLISHED_BATCH, evaluate
    from ferlib.labels import canonical, spelled
    from ferlib.models.base import to_device
    from ferlib.utils.devices import choose_device

    device = choose_device(options.device)
    _check(options)
    history = _history(options.history) if options.history else {}
    if options.out:
        require_writable(options.out)
    model, data, chosen_on = _model_and_data(options, parse_settings(options.set))
    # a folder's class may be called as another expression's second name: happiness, and joy apart from it
    without = [own if (own := spelled(name)) in data.classes else canonical(name) for name in options.without]
    to_device(model, device)
    measured = evaluate(
        model,
        data,
        options.split,
        without,
        options.clean,
        options.ten_crop,
        options.protocol,
        PUBLISHED_BATCH if options.batch_size is None else options.batch_size,
        chosen_on,
        options.slices,
    )
    result: Report = {"name": str(options.model), **measured}
    report = None
    if options.audit:
        report = audit(model, data, options.split, without=without, clean=options.clean, **history)
        result["audit"] = report.to_json()
    if options.out:
        write_json(options.out, result)
    if options.format == "json":
        print(json.dumps(result))
    else:
        _print_table(options, result)
        if report:
            _print_audit(report)
    return int(report is not None and not report.passed)


def _model_and_data(
    options: argparse.Namespace, settings: dict[str, Any]
) -> "tuple[AnyModel, FaceDataset, str | None]":
    """The model, the data set that it is measured on, and the split that chose the model's epoch, where it is known."""
    from ferlib.data.dataset import described
    from ferlib.evaluation.external_model import call_for_model, with_config
    from ferlib.labels import FERPLUS
    from ferlib.models.registry import load_model
    from ferlib.runtime.released import model_folder
    from ferlib.training.checkpoint import selected_on

    if ":" in options.model and not Path(options.model).is_dir():
        external = call_for_model(options.model)
        data = load_for(options, with_config(external, options.model, FERPLUS, settings).config)  # for its side alone
        return with_config(external, options.model, data.classes, settings), data, None
    if settings:
        raise UserError(f"--set is for a {EXTERNAL} without a config; {options.model} has one")
    model = load_model(options.model)
    data = load_for(options, model.config)
    return model, data, selected_on(model_folder(options.model), described(data))


def _check(options: argparse.Namespace) -> None:
    """Assert that the options go together; raises a UserError where they do not."""
    if options.batch_size is not None and options.protocol != "published":
        raise UserError("--batch-size is for --protocol published; an honest figure does not depend on it")
    if options.history and not options.audit:
        raise UserError("--history is for the audit: give --audit too")
    if options.audit and options.ten_crop:
        raise UserError("the audit looks at whole faces: give --audit and --ten-crop one at a time")


def _history(path: Path) -> "dict[str, Any]":
    """A run's history for `audit`, and how it chose its epoch, by the files beside it: metrics.json and recipe.json."""
    import pandas as pd

    from ferlib.evaluation.audit import selection_bias
    from ferlib.evaluation.kept_epoch import recorded_gain

    try:
        history = pd.read_csv(path)
    except ValueError as error:
        raise UserError(f"{path} is not the history of a run ({error})") from error
    recipe = path.parent / "recipe.json"
    least_gain = recorded_gain(recipe) if recipe.is_file() else 0.0
    figures = path.parent / "metrics.json"
    select_by = read_json(figures).get("select_by", "accuracy") if figures.is_file() else "accuracy"
    selection_bias(history, select_by, least_gain=least_gain)
    return {"history": history, "select_by": select_by, "least_gain": least_gain}


def _print_table(options: argparse.Namespace, result: "Report") -> None:
    import pandas as pd

    print(f"{options.model} on {options.data}, {options.split}, {result['faces']:,} faces")
    print(f"protocol: {result['protocol']}")
    for name, metric in result["metrics"].items():
        interval = f"  [{metric['low']:.4f}, {metric['high']:.4f}]"
        print(f"  {name:<18} {metric['value']:.4f}{interval}")
    table = pd.DataFrame(result["per_class"]).T
    print(table.to_string(float_format="{:.3f}".format, formatters={"support": "{:.0f}".format}))
    for note in result.get("notes", []):
        print(f"note: {note}")
    if "slices" in result:
        _print_slices(result["slices"], result["slice_notes"])


def _print_slices(found: "list[Slice]", notes: list[str]) -> None:
    from ferlib.evaluation.slices import FALSE_DISCOVERIES, slice_lines

    if found:
        print("\naccuracy by slices, beside what is expected from the classes in them")
        print(slice_lines(found).to_string(index=False))
        many = sum(one["more_than_noise"] for one in found)
        print(
            f"{many} of {len(found)} differences are more than noise "
            f"(at a false discovery rate of {FALSE_DISCOVERIES:g})"
        )
    for note in notes:
        print(f"note: {note}")


def _print_audit(report: "AuditReport") -> None:
    shares = dict.fromkeys(("accuracy", "moved", "changed"), "{:.4f}".format)
    print("\naudit: the same faces in other batches, against each face alone")
    print(report.frame().to_string(index=False, formatters=shares | {"furthest": "{:.0e}".format}))
    print(f"\n{report.verdict}")
