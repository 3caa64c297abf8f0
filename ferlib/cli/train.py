"""`python -m ferlib train`: a model trained by a recipe."""

import argparse
import os
from pathlib import Path

from ferlib.cli.data_options import add_data_options, load_from
from ferlib.cli.settings import parse_settings
from ferlib.errors import UserError


def add_train(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    train = commands.add_parser("train", help="train a model by a recipe")
    train.add_argument("recipe", metavar="RECIPE", help="a recipe's name, see ferlib/training/recipes.py")
    add_data_options(train)
    train.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: runs/RECIPE)")
    train.add_argument(
        "--trunk-weights",
        metavar="FILE",
        help=".safetensors of the trunk, imagenet (downloaded by timm, the default where there is a trunk) or none",
    )
    train.add_argument("--resume", action="store_true", help="continue the run in --out")
    train.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="change fields of the recipe")
    train.set_defaults(run=run_train)


def run_train(options: argparse.Namespace) -> int:
    """`ferlib train`, in one process or, under `accelerate launch`, in several."""
    import torch

    from ferlib.models.zoo import MODELS, build_model
    from ferlib.training.loop import fit
    from ferlib.training.recipes import RECIPES
    from ferlib.training.run_folder import best_epoch

    if options.recipe not in RECIPES:
        raise UserError(f"unknown recipe {options.recipe!r}, expected one of {', '.join(RECIPES)}")
    recipe = RECIPES[options.recipe].override(parse_settings(options.set))
    data = load_from(options)
    recipe = recipe.override({"classes": data.classes})
    say = print if os.environ.get("RANK", "0") == "0" else lambda text: None  # one of several processes speaks
    say(data)
    torch.manual_seed(recipe.seed)
    weights = options.trunk_weights or ("imagenet" if MODELS[recipe.config.architecture].model.has_trunk else "none")
    model = build_model(recipe.config, None if weights == "none" else weights)
    out = options.out or Path("runs") / options.recipe
    try:
        history = fit(model, data, recipe, out, resume=options.resume)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("the same command with --resume goes on after the last finished epoch") from stop
    best = history.loc[best_epoch(history)]
    chosen_on = "TEST, as published" if recipe.protocol == "published" else "validation"
    figures = ", ".join(f"{name} {best[name]:.4f}" for name in ("accuracy", "balanced_accuracy", "macro_f1"))
    say(f"best epoch {int(best['epoch']) + 1} of {len(history)} on {chosen_on}: {figures}; model in {out / 'best'}")
    return 0
