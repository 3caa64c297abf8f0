"""`python -m ferlib ladder` and `python -m ferlib ablate`: many runs, kept in a work folder, and one table of them."""

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ferlib.cli.data_options import add_data_options, add_reading_options, load_from
from ferlib.errors import UserError
from ferlib.utils.atomic import atomic_write, write_json

if TYPE_CHECKING:
    from ferlib.data.dataset import FaceDataset
    from ferlib.experiments.runner import Backbone

SEEDS = (0, 1, 2)
LADDER = ("batch", "token")  # networks that no ladder can do without
#: What tells the entries of a results file apart.
LADDER_KEYS, TABLE_KEYS = ("data", "model", "backbone"), ("table", "data", "backbone")


def add_studies(commands: argparse._SubParsersAction) -> None:
    """Put both commands into the parser of `ferlib.cli`."""
    ladder = commands.add_parser("ladder", help="from a published figure to an honest one, one leak less a rung")
    ladder.add_argument("--data", required=True, nargs="+", metavar="SET", help="data sets' names")
    ladder.add_argument(
        "--models", nargs="+", choices=["convcut", "pattlite"], default=["convcut", "pattlite"], help="default: both"
    )
    ladder.add_argument(
        "--networks", nargs="+", metavar="NETWORK", help="only these: batch and token, and perhaps none and code"
    )
    add_reading_options(ladder)
    _common(ladder)
    ladder.set_defaults(run=run_ladder)

    ablate = commands.add_parser("ablate", help="the papers' ablation tables, each row under both protocols")
    ablate.add_argument(
        "table",
        choices=["convcut-attention", "convcut-layers", "convcut-backbone", "pattlite-attention", "ivsa-attention"],
        help="which table",
    )
    add_data_options(ablate)
    ablate.add_argument(
        "--within-seeds", nargs="*", type=int, help="seeds of the networks with attention within a face (default: all)"
    )
    ablate.add_argument("--rows", nargs="+", metavar="ROW", help="only these rows")
    _common(ablate)
    ablate.set_defaults(run=run_ablate)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.json", help="results; a .csv goes beside it")
    parser.add_argument("--work", type=Path, default=Path("runs"), metavar="DIR",
                        help="folder of the runs; processes that share it share the work (default: runs)")  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="default: 0 1 2")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--train-faces", type=int, metavar="N", help="train on so many faces, drawn at random")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", metavar="NAME", help="a timm model's name")
    parser.add_argument("--backbone-weights", metavar="FILE", default="imagenet",
                        help=".safetensors, imagenet (downloaded by timm, the default) or none")  # fmt: skip
    for new in ("backbone", "backbone_weights"):  # their names in older commands
        old = f"--{new.replace('_', '-').replace('backbone', 'trunk')}"
        parser.add_argument(old, dest=new, help=argparse.SUPPRESS, default=argparse.SUPPRESS)
    parser.add_argument("--keep-stages", type=int, default=3, help="stages of the backbone kept: 2, 3 (default) or 4")
    parser.add_argument("--input-size", type=int, default=224, metavar="PX", help="side of the pictures, default 224")


def _backbone(options: argparse.Namespace) -> "Backbone":
    from ferlib.experiments.runner import Backbone

    weights = None if options.backbone_weights == "none" else options.backbone_weights
    return Backbone(options.backbone, options.keep_stages, options.input_size, weights)


def _command(options: argparse.Namespace, name: str, *first: str) -> str:
    """The command line, without where things are on this machine."""
    words = ["python", "-m", "ferlib", name, *first]
    words += ["--backbone", options.backbone, "--backbone-weights", Path(options.backbone_weights).name]
    words += ["--keep-stages", str(options.keep_stages), "--input-size", str(options.input_size)]
    words += ["--epochs", str(options.epochs)] if options.epochs else []
    words += ["--train-faces", str(options.train_faces)] if options.train_faces else []
    words += ["--labels", *options.labels] if options.labels else []
    words += ["--skip-broken"] if options.skip_broken else []
    return shlex.join([*words, "--seeds", *map(str, options.seeds), "--out", options.out.name])


def _load(options: argparse.Namespace, name: str) -> "FaceDataset":
    """A data set with everything a study needs."""
    from ferlib.experiments.runner import check_splits

    data = load_from(options, name)
    check_splits(data)
    return data


def run_ladder(options: argparse.Namespace) -> int:
    """`ferlib ladder`. Whatever cannot work is refused before anything is trained."""
    from ferlib.experiments import protocols
    from ferlib.experiments.runner import subsampled, watched_runs

    for model in options.models if options.networks else ():
        if unknown := sorted(set(options.networks) - set(protocols.NETWORKS[model])):
            raise UserError(
                f"{model} has no network {', '.join(unknown)}; it has {', '.join(protocols.NETWORKS[model])}"
            )
        if missing := [name for name in LADDER if name not in options.networks]:
            raise UserError(f"a ladder needs the network {missing[0]} too: --networks {' '.join(LADDER)} ...")
    backbone = _backbone(options)
    _entries(options.out, LADDER_KEYS)
    for name, whole in [(name, _load(options, name)) for name in options.data]:
        data = subsampled(whole, options.train_faces)
        for model in options.models:
            recipes = protocols.ladder_recipes(model, data, backbone, options.epochs or 10, options.seeds)
            if options.networks:
                recipes = {key: recipe for key, recipe in recipes.items() if key[1] in options.networks}
            runs = dict(
                zip(recipes, watched_runs(list(recipes.values()), data, options.work, backbone.weights), strict=True)
            )
            entry = protocols.ladder_entry(model, backbone, recipes, runs, data, whole)
            networks = ("--networks", *options.networks) if options.networks else ()
            entry["command"] = _command(options, "ladder", "--data", name, "--models", model, *networks)
            entries = _merge(options.out, entry, LADDER_KEYS, protocols.__doc__)
            with atomic_write(options.out.with_suffix(".csv")) as csv:
                protocols.ladder_table(entries).to_csv(csv, index=False, float_format="%.5f")
            print(protocols.sentence(entry), flush=True)
    return 0


def run_ablate(options: argparse.Namespace) -> int:
    """`ferlib ablate`. Whatever cannot work is refused before anything is trained."""
    from ferlib.experiments import ablation
    from ferlib.experiments.runner import subsampled, watched_runs

    rows = {row.name: row for row in ablation.TABLES[options.table]}
    if unknown := sorted(set(options.rows or ()) - set(rows)):
        raise UserError(f"{options.table} has no row {', '.join(unknown)}; it has {', '.join(rows)}")
    if unknown_seeds := sorted(set(options.within_seeds or ()) - set(options.seeds)):
        raise UserError(f"--within-seeds has {unknown_seeds[0]}, which is not among --seeds")
    _entries(options.out, TABLE_KEYS)
    data, backbone = subsampled(_load(options, options.data), options.train_faces), _backbone(options)
    recipes, runs = {}, {}
    for name in options.rows or rows:
        recipes[name] = ablation.row_recipes(options.table, rows[name], data, backbone, options.epochs, options.seeds)
        if options.within_seeds is not None:
            kept = {(seed, "within") for seed in options.within_seeds}
            recipes[name] = {key: recipe for key, recipe in recipes[name].items() if key[1] == "model" or key in kept}
        found = watched_runs(list(recipes[name].values()), data, options.work, backbone.weights)
        runs[name] = dict(zip(recipes[name], found, strict=True))
    entry = ablation.table_entry(options.table, backbone, recipes, runs, data)
    within = () if options.within_seeds is None else ("--within-seeds", *map(str, options.within_seeds))
    entry["command"] = _command(options, "ablate", options.table, "--data", options.data, *within)
    entries = _merge(options.out, entry, TABLE_KEYS, ablation.__doc__)
    table = ablation.ablation_table(entries)
    with atomic_write(options.out.with_suffix(".csv")) as csv:
        table.to_csv(csv, index=False, float_format="%.5f")
    shown = table[(table["table"] == options.table) & (table["data"] == options.data) & (table["metric"] == "accuracy")]
    print(shown[["row", "protocol", "value", "low", "high", "seeds", "paper"]].to_string(index=False))
    return 0


def _entries(path: Path, keys: Sequence[str]) -> list[dict]:
    """The entries of a results file, none where new; its folder is made. A file that cannot be used is refused."""
    if path.suffix == ".csv":
        raise UserError(f"--out {path}: the results are JSON, and a .csv of the same name goes beside them")
    path.parent.mkdir(parents=True, exist_ok=True)
    for file in (path, path.with_suffix(".csv")):
        new = not file.exists()
        file.open("a").close()  # the system's own error says what is wrong: a folder, no rights
        if new:
            file.unlink()
    if not path.exists():
        return []
    try:
        entries = json.loads(path.read_text())["entries"]
        if all(key in entry for entry in entries for key in keys):
            return entries
    except (json.JSONDecodeError, KeyError, TypeError):
        pass
    raise UserError(f"{path} is not a results file of this command; take another --out")


def _merge(path: Path, entry: dict, keys: Sequence[str], about: str) -> list[dict]:
    """Put an entry into a results file, in place of the one with the same keys or at the end; returns all entries."""
    by_keys: dict[str, dict] = {}
    for one in [*_entries(path, keys), entry]:
        by_keys[json.dumps([one[key] for key in keys], sort_keys=True)] = one
    entries = list(by_keys.values())
    write_json(path, {"about": about.strip(), "entries": entries})
    return entries
