"""Training in phases: each goes on from the best weights of the one before, with a model and an optimiser of its own.

Conv-cut's authors train so: a head with a layer norm first, then the same without it, with more dropout and at a
hundredth of the rate (`convcut_published` in recipes.py, which comes `after` another recipe). Of epochs with equal
scores we keep the last, where their Keras keeps the first: `ferlib.evaluation.kept_epoch.best_epoch`.

Every phase is a run of `fit` in a folder of its own, and what it starts from stands on disk when it starts. So phases
can be killed at any moment and resumed like any run.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ferlib.data.dataset import FaceDataset
from ferlib.errors import RunError, UserError
from ferlib.models.base import FaceModel, ModelConfig
from ferlib.models.registry import build_model
from ferlib.training.checkpoint import RunFolder
from ferlib.training.loop import fit
from ferlib.training.methods import METHODS
from ferlib.training.recipes import RECIPES, Recipe, read_recipe


def phases(name: str, settings: Mapping[str, Any] | None = None) -> list[Recipe]:
    """The recipes that training by this one runs, in order: those that it comes `after`, and itself.

    Args:
        name: a key of `ferlib.training.recipes.RECIPES`, or a file, see `ferlib.training.recipes.read_recipe`.
        settings: fields to change in each, see `Recipe.override`.

    Raises:
        ValueError: there is no such recipe or field, a value is impossible, or a recipe comes after itself.
    """
    chain: dict[str, Recipe] = {}  # the last one first
    changes = dict(settings or {})
    following: str | None = name
    while following:
        if following in chain:
            raise UserError(f"the recipe {following} would come after itself")
        if following in RECIPES:
            recipe = RECIPES[following]
            before = recipe.after
        elif Path(following).suffix == ".json":
            recipe = replace(read_recipe(Path(following)), first_epoch=0)  # `fit_phases` sets it anew
            before = _recorded_before(Path(following)) or recipe.after
        else:
            raise UserError(f"unknown recipe {following!r}, expected one of {', '.join(RECIPES)}, or a recipe.json")
        chain[following] = recipe.override(_for_phase(recipe, changes, next(iter(chain.values()), None)))
        following = changes.pop("after", before)  # it is of the last one
    found = [*chain.values()][::-1]
    if len({recipe.protocol for recipe in found}) > 1:
        raise UserError("the phases of a training choose their epochs by one protocol")
    return found


def _recorded_before(file: Path) -> str | None:
    """The recipe of the phase before, where the file is that of a run which recorded one: a name may mean another."""
    run, number = file.parent, len(list(file.parent.glob("phase*/recipe.json")))
    if phase := re.fullmatch(r"phase(\d+)", run.name):
        run, number = run.parent, int(phase[1]) - 1
    before = run / f"phase{number}" / "recipe.json"
    return str(before) if file.name == "recipe.json" and before.is_file() else None


def _for_phase(recipe: Recipe, changes: Mapping[str, Any], last: Recipe | None) -> dict[str, Any]:
    """The changes that a phase takes: settings of the last one's method are not for a phase with another method."""
    if last is None or "method" in changes or recipe.method == last.method:
        return dict(changes)
    own, others = ({f.name for f in fields(METHODS[one.method].Settings)} for one in (recipe, last))
    return {name: value for name, value in changes.items() if name not in others - own}


def fit_phases(
    recipes: Sequence[Recipe],
    data: FaceDataset,
    out: Path,
    backbone_weights: str | Path | None = None,
    *,
    resume: bool = False,
    select_by: str = "accuracy",
    observe: Callable[[FaceModel], Mapping[str, float]] | None = None,
) -> tuple[FaceModel, pd.DataFrame]:
    """Train a new model by one recipe after the other; the model of the last one's best epoch, and its history.

    As in the authors' code, a phase counts its epochs on from `patience` epochs before the end of the one before, which
    is that one's best epoch if patience ended it. A method that shifts the logits of the finished model (`post_hoc`)
    does so once, in the last phase.

    Args:
        recipes: see `phases`; one alone is a plain run.
        data: see `fit`.
        out: run folder of the last phase; those before have `phase1` and so on in it.
        backbone_weights: of the first model's pretrained part, see `build_model`.
        resume, select_by, observe: see `fit`; for every phase.

    Raises:
        RuntimeError: a phase's model has parameters that the one before has not; or as `build_model` and `fit` do.
    """
    if len(recipes) > 1 and RunFolder(out).last.exists() and not RunFolder(out / "phase1").last.exists():
        raise FileExistsError(f"{out} already holds a run of another kind; choose another folder (--out)")
    torch.manual_seed(recipes[0].seed)
    model = build_model(recipes[0].config, backbone_weights)
    fit_phase = partial(fit, resume=resume, select_by=select_by, observe=observe)
    first_epoch = 0
    for number, (recipe, following) in enumerate(pairwise(recipes), start=1):
        recipe = replace(recipe, first_epoch=first_epoch)
        if METHODS[recipe.method].post_hoc:
            recipe = replace(recipe, method="plain", method_settings={})
        history = fit_phase(model, data, recipe, out / f"phase{number}")
        model = continued(model, following.config)
        first_epoch += max(len(history) - (recipe.patience or 0), 0)
        first_epoch = min(first_epoch, following.epochs - 1)  # one epoch at least
        torch.manual_seed(following.seed)  # what the method draws at first is the same after a phase that was finished
    return model, fit_phase(model, data, replace(recipes[-1], first_epoch=first_epoch), out)


def continued(model: FaceModel, config: ModelConfig) -> FaceModel:
    """A model of this config with the weights of another, fed alike; what it has no place for is left out.

    Raises:
        RuntimeError: it has parameters that the other has not, or of another shape.
    """
    follower = build_model(replace(config, mean=model.config.mean, std=model.config.std))
    state, own = model.state_dict(), follower.state_dict()
    unlike = sorted(key for key in own if key not in state or own[key].shape != state[key].shape)
    if unlike:
        raise RunError(f"the next phase's model cannot go on from this one: {unlike[0]} is new or of another shape")
    follower.load_state_dict({key: state[key] for key in own})
    follower.started_from = model.started_from
    return follower
