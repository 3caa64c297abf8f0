"""A small training run that `torchrun` can start; a helper of test_scale_out.py and test_resume.py, not a test.

run_of_processes.py SETTINGS_AS_JSON OUT [resume] [odd] [stop]

With `odd` it first tries a batch of 15 faces, which two processes cannot share, in a folder of that name beside OUT.
With `stop` it ends before its second epoch is saved.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from ferlib.data.synthetic import load_synthetic
from ferlib.models.registry import build_model
from ferlib.training.loop import fit
from ferlib.training.recipes import RECIPES


def main() -> None:
    settings, out, *flags = sys.argv[1:]
    faces = load_synthetic(20)
    recipe = RECIPES["convcut"].override({"classes": faces.classes} | json.loads(settings))
    if "odd" in flags:
        try:
            fit(build_model(recipe.config), faces, replace(recipe, batch_size=15), Path(out).with_name("odd"))
        except ValueError as error:
            print(error, file=sys.stderr)
    epochs: list[int] = []

    def observe(_: object) -> dict:
        epochs.append(len(epochs))
        if "stop" in flags and len(epochs) == 2:
            sys.exit(0)
        return {}

    torch.manual_seed(recipe.seed)
    fit(build_model(recipe.config), faces, recipe, Path(out), resume="resume" in flags, observe=observe)


if __name__ == "__main__":
    main()
