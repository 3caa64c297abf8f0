"""`python -m ferlib calibrate`: a model's temperature and prediction sets, fitted on validation faces."""

import argparse

from ferlib.cli.data_options import add_data_options, load_for


def add_calibrate(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    calibrate = commands.add_parser("calibrate", help="fit temperature and prediction sets on validation faces")
    calibrate.add_argument("model", metavar="MODEL", help="a released model's name or a model folder")
    add_data_options(calibrate)
    calibrate.add_argument("--device", default="auto", help="auto (default: a GPU if there is one), cpu, cuda …")
    calibrate.set_defaults(run=run_calibrate)


def run_calibrate(options: argparse.Namespace) -> int:
    """`ferlib calibrate`."""
    from ferlib.models.registry import load_model
    from ferlib.release.calibration import calibrate, changeable, check_own_data
    from ferlib.runtime.prediction_sets import FILE, stored_coverages

    folder = changeable(options.model)
    data = load_for(options, load_model(folder).config)
    check_own_data(options.model, data)
    temperature, before, after = calibrate(folder, data, options.device)
    print(
        f"temperature {temperature:.4f}; calibration error on validation {before:.4f} without it, {after:.4f} with it"
    )
    print(f"prediction sets of coverage {', '.join(map(str, stored_coverages(folder)))}: {folder / FILE}")
    return 0
