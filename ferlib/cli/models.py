"""`python -m ferlib models`: all models with their sizes and test figures."""

import argparse
import json


def add_models(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    models = commands.add_parser("models", help="list the models, released and untrained, with sizes and test figures")
    models.add_argument("--format", choices=["table", "json"], default="table", help="default: table")
    models.set_defaults(run=run_models)


def run_models(options: argparse.Namespace) -> int:
    """`ferlib models`."""
    from dataclasses import asdict

    from ferlib.release.listing import model_rows

    rows = model_rows()
    if options.format == "json":
        for row in rows:
            print(json.dumps(asdict(row)))
        return 0
    table = [("model", "params, M", "GFLOPs", "px", "weights", "accuracy, %", "balanced, %", "measured on", "about")]
    for row in rows:
        sizes = f"{row.parameters / 1e6:.2f}", f"{row.flops / 1e9:.2f}", str(row.input_size)
        figures = "", "", ""
        if test := row.test:
            figures = (
                f"{100 * test.accuracy:.1f}",
                f"{100 * test.balanced_accuracy:.1f}",
                f"{test.data}, {test.split}, {test.faces:,} faces",
            )
        weights = row.licence or "no licence named" if row.trained else "untrained"
        table.append((row.name, *sizes, weights, *figures, row.about))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        columns = zip(cells, widths, "<>>><>><<", strict=True)
        print("  ".join(f"{cell:{align}{width}}" for cell, width, align in columns).rstrip())
    print("\nGFLOPs (2 per multiply-add): convolutions and matrix products for one face of px × px.")
    print("Untrained: architectures for `create_model` and recipes, here with their default backbone.")
    return 0
