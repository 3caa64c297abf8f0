"""`python -m ferlib train`: a model trained by a recipe."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ferlib.cli.data_options import add_data_options, load_for
from ferlib.cli.settings import Several, parse_settings
from ferlib.errors import UserError


class Help(argparse.Action):
    """`--help` with the recipes' names, which are looked up only when it is asked for: that takes seconds."""

    def __init__(self, option_strings: Sequence[str], dest: str):
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help="show this and the recipes")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from ferlib.training.recipes import RECIPES

        parser.epilog = f"recipes: {', '.join(RECIPES)}"
        parser.print_help()
        parser.exit()


def add_train(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    train = commands.add_parser("train", help="train a model by a recipe", add_help=False)
    train.add_argument("-h", "--help", action=Help)
    train.add_argument("recipe", metavar="RECIPE", help="a recipe's name, see below, or a recipe.json")
    add_data_options(train)
    train.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="run folder (default: runs/RECIPE; of a recipe.json runs/ and its folder's name, of another file its own)",
    )
    train.add_argument(
        "--backbone-weights",
        metavar="WEIGHTS",
        help="of the backbone: a .safetensors file, a released model's name, a model folder, imagenet (downloaded by "
        "timm, the default where there is a backbone) or none (the default of IVSA and what it is compared with)",
    )
    train.add_argument("--trunk-weights", dest="backbone_weights", help=argparse.SUPPRESS)  # its name in older commands
    train.add_argument("--resume", action="store_true", help="continue the run in --out")
    train.add_argument(
        "--set", nargs="*", action=Several, default=[], metavar="FIELD=VALUE", help="change fields of the recipe"
    )
    train.set_defaults(run=run_train)


def run_train(options: argparse.Namespace) -> int:
    """`ferlib train`, in one process or, under `accelerate launch`, in several."""
    from ferlib.evaluation.kept_epoch import best_epoch
    from ferlib.models.baselines import BaselineConfig
    from ferlib.models.registry import MODELS
    from ferlib.training.phases import fit_phases, phases
    from ferlib.training.recipes import fitted_recipe

    settings = parse_settings(options.set)
    for name, source in (("classes", "come from the data"), ("first_epoch", "follows from the phases")):
        if name in settings:
            raise UserError(f"{name} {source} and cannot be set")
    out = options.out or _default_folder(options)
    recipes = phases(options.recipe, settings)
    recipe = recipes[-1]
    data = load_for(options, recipe.config, recipe.protocol == "published")
    recipes = [fitted_recipe(one, data, settings) for one in recipes]
    say = print if os.environ.get("RANK", "0") == "0" else lambda text: None  # one of several processes speaks
    say(data)
    if options.data == "folder":
        say(f"pictures read at {recipe.config.side}x{recipe.config.side}")
    scratch = isinstance(recipe.config, BaselineConfig)  # IVSA's paper trains what it is compared with so, too
    usual = "imagenet" if MODELS[recipe.config.architecture].model.has_backbone and not scratch else "none"
    weights = options.backbone_weights or (options.resume and _noted_weights(out)) or usual
    if options.resume and not (out / "recipe.json").exists() and not (out / "phase1").exists():
        say(f"there is no run in {out} to go on with; a new one begins")
    try:
        model, history = fit_phases(recipes, data, out, None if weights == "none" else weights, resume=options.resume)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("the same command with --resume goes on after the last finished epoch") from stop
    best = history.loc[best_epoch(history, least_gain=recipe.kept_gain)]
    chosen_on = "TEST, as published" if recipe.protocol == "published" else "validation"
    figures = ", ".join(f"{name} {best[name]:.4f}" for name in ("accuracy", "balanced_accuracy", "macro_f1"))
    say(f"best epoch {int(best['epoch']) + 1} of {len(history)} on {chosen_on}: {figures}; model in {out / 'best'}")
    if model.config.mean:
        say(f"pixels normalised by mean {model.config.mean}, std {model.config.std}")
    return 0


def _noted_weights(out: Path) -> str | None:
    """The pretrained weights that the run in a folder was started from, as an option; None where none are recorded.

    Raises:
        UserError: they are of a file, of which the run has no more than the name.
    """
    from ferlib.runtime.released import released_models
    from ferlib.utils.old_names import renamed_fields

    started = next((part for part in (out / "phase1", out) if (part / "environment.json").is_file()), None)
    if started is None:
        return None
    first = renamed_fields(json.loads((started / "environment.json").read_text())[0])
    name = (first.get("backbone_weights") or {}).get("name")
    if name is not None and name not in ("imagenet", "none", *released_models()):
        raise UserError(f"the run in {out} was started from the weights {name}; give them again (--backbone-weights)")
    return name


def _default_folder(options: argparse.Namespace) -> Path:
    """The run folder where none is given.

    Raises:
        UserError: it is that of the very run whose recipe is taken, which would be lost.
    """
    file = Path(options.recipe)
    if file.suffix != ".json":
        return Path("runs") / file
    folder = file.resolve().parent
    out = Path("runs") / (folder.name if file.name == "recipe.json" else file.stem)
    if out.resolve() == folder and not options.resume:
        raise UserError(f"{out} is the run that {file} is of; give the new one a folder with --out, or --resume")
    return out
