"""A small training run that `torchrun` can start; a helper of test_scale_out.py and test_resume.py, not a test.

run_of_processes.py SETTINGS_AS_JSON OUT [resume]
"""

import json
import sys
from pathlib import Path

import torch

from ferlib.data.synthetic_dataset import load_synthetic
from ferlib.models.zoo import build_model
from ferlib.training.loop import fit
from ferlib.training.recipes import RECIPES


def main() -> None:
    settings, out, *resume = sys.argv[1:]
    faces = load_synthetic(20)
    recipe = RECIPES["convcut"].override({"classes": faces.classes} | json.loads(settings))
    torch.manual_seed(recipe.seed)
    fit(build_model(recipe.config), faces, recipe, Path(out), resume=bool(resume))


if __name__ == "__main__":
    main()
