"""Recipes: what they refuse, and that each of them can be run."""

import json
from dataclasses import replace

import pytest

from ferlib.models.registry import MODELS
from ferlib.training.recipes import RECIPES, Recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"epochs": 2.5}, "epochs must be a whole number, not 2.5"),
        ({"epochs": True}, "epochs must be a whole number, not True"),
        ({"batch_size": "many"}, "batch_size must be a whole number, not 'many'"),
        ({"lr": 0}, "lr must be above 0, not 0"),
        ({"lr": float("nan")}, "lr must be above 0, not nan"),
        ({"lr": "fast"}, "lr must be a number, not 'fast'"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0"),
        ({"max_grad_norm": 0}, "max_grad_norm must be above 0"),
        ({"ema_decay": 1.0}, "ema_decay must be above 0 and below 1, not 1.0"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"patience_on": "mood"}, "patience_on must be one of score, train_accuracy"),
        ({"epochs": 3, "first_epoch": 3}, "first_epoch must be at least 0 and at most 2, not 3"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"optimizer": "magic"}, "optimizer must be one of"),
        ({"protocol": "wishful"}, "protocol must be one of honest, published"),
        ({"precision": "int1"}, "precision must be one of"),
        ({"colour": 1}, "no setting colour"),
        ({"attention": "psychic"}, "attention must be one of"),
        ({"input_size": "big"}, "input_size must be a whole number, not 'big'"),
        ({"mean": [0.5, "x", 0.5]}, "mean must be a list, each a number"),
        ({"freeze_backbone": 1}, "freeze_backbone must be true or false, not 1"),
        ({"backbone": 5}, "backbone must be a word, not 5"),
        ({"method": []}, r"method must be a word, not \[\]"),
        ({"lr": 1e38}, "lr must be at most 1e\\+30, not 1e\\+38"),
        ({"lr": float("inf")}, "lr must be"),
        ({"epochs": 10**400}, "epochs must be at most 1e\\+09"),
        ({"seed": -(10**5000)}, "seed must be at least 0"),
    ],
)
def test_impossible_recipes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RECIPES["convcut"].override(settings)


def test_another_architecture_brings_what_makes_it_another_one():
    plain = RECIPES["ivsa"].override({"architecture": "ivsa_plain"}).config
    assert plain == replace(RECIPES["ivsa"].config, architecture="ivsa_plain", block="none")
    batch = RECIPES["convcut_ferplus"].override({"architecture": "convcut_batch"}).config
    assert batch == replace(RECIPES["convcut_ferplus"].config, architecture="convcut_batch", attention="batch")
    vgg = RECIPES["resnet18"].override({"architecture": "vgg16"}).config
    assert (vgg.backbone, vgg.dropout) == ("vgg16", 0.5)
    given = RECIPES["ivsa"].override({"architecture": "ivsa_cbam", "block": "sab", "hidden": 32}).config
    assert (given.architecture, given.block, given.hidden) == ("ivsa_cbam", "sab", 32)
    assert RECIPES["ivsa"].override({"architecture": "ivsa"}) == RECIPES["ivsa"]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_goes_through_json_and_names_a_model(name):
    recipe = RECIPES[name]
    stored = json.loads(json.dumps(recipe.to_json()))
    config = type(recipe.config)(**stored.pop("config"))
    assert Recipe(config=config, **stored) == recipe
    assert recipe.config.architecture in MODELS


def test_published_recipes_say_so():
    published = {name for name, recipe in RECIPES.items() if recipe.protocol == "published"}
    assert published == {"convcut_published_phase1", "convcut_published", "pattlite_published"}
    assert all(RECIPES[name].config.attention == "batch" for name in published)
