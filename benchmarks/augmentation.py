"""What augmentation buys on spoilt faces, and what it costs on clear ones.

    python benchmarks/augmentation.py --backbone-weights mobilenetv1_100_vggface2.safetensors \\
        --out results/augmentation.json

One network, MobileNetV1 pretrained on faces with a linear classifier, is fine-tuned whole on FERPlus's training faces
at 64 px, once with every augmentation and seed; all else is the recipe of the rivals' table. The epoch is chosen on
PublicTest by macro-F1. Then each is asked for the faces of FERPlus-C (`robustness.py`), right or not in every
condition. Noise, blur, light and contrast are what "flip_affine_erase_spoil" draws in training, in strengths of its own
and nothing else; weather, JPEG, tilts beyond 10°, glasses and masks are new to all.

Runs and answers are kept below --work: several processes with other --seeds or --augment share it, and each writes into
--out what is finished so far.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine, typed_command
from peers import common
from robustness import CLEAR, COMMON, KINDS, OTHERS, Conditions

from ferlib.data.registry import load_dataset
from ferlib.evaluation.means import mean_estimate
from ferlib.experiments.rivals import FINE_TUNED, PLAIN, RIVALS, SELECT_BY, rival_recipe
from ferlib.experiments.runner import BackboneChoice, computed_once
from ferlib.models.inference import run_model
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import build_model, load_model
from ferlib.training.loop import fit
from ferlib.training.recipes import read_recipe
from ferlib.utils.atomic import write_json

ARMS = ("none", "flip", "flip_affine", "flip_affine_erase", "flip_affine_erase_spoil")
REFERENCE = "flip_affine_erase"  # of the released models
BACKBONE = ("mobilenetv1_100", 4, 64)  # stages that are kept, pixels
FACES_OF: dict[str, Any] = {"mean": (0.485, 0.458, 0.408), "std": (1 / 255,) * 3}  # as the weights were trained


def trained(augment: str, seed: int, weights: Path, work: Path, epochs: int) -> Path:
    """The folder of a run, which is finished if it is not."""
    data, plain = load_dataset("ferplus"), next(rival for rival in RIVALS if rival.name == PLAIN)
    settings = FACES_OF | {"augment": augment, "precision": "float32"}
    recipe = rival_recipe(plain, data, BackboneChoice(*BACKBONE, str(weights)), epochs, seed, settings)
    folder = work / f"{augment}-{seed}"
    torch.manual_seed(seed)
    if not (folder / "metrics.json").exists():  # of those that are kept nothing else is left to go on from
        fit(build_model(recipe.config, weights), data, recipe, folder, resume=True, select_by=SELECT_BY)
    return folder


def right(folder: Path, conditions: Conditions) -> np.ndarray:
    """Which faces a run's network is right about, bool, in the order of `Conditions.faces`; computed once."""

    def found() -> np.ndarray:
        model = load_model(folder / "best")
        preprocess = Preprocess.of(model.config)
        pixels = torch.frombuffer(bytearray(conditions.faces), dtype=torch.uint8).view(-1, 1, 48, 48)
        scores = run_model(model, lambda batch: model(preprocess(batch)).softmax(dim=1), pixels)
        probabilities = common(torch.cat(list(scores)).cpu().numpy(), model.config.classes)
        truth = np.concatenate([conditions.truth[used] for used in conditions.used.values()])
        return probabilities.argmax(axis=1) == truth

    return computed_once(folder / f"right-{conditions.digest}.npy", found)


def answered(augment: str, work: Path, conditions: Conditions, epochs: int) -> np.ndarray:
    """What `right` found of an augmentation so far, (S, faces): of all runs below `work` of so many epochs."""
    paths = sorted(work.glob(f"{augment}-[0-9]*/right-{conditions.digest}.npy"))
    return np.array([np.load(path) for path in paths if read_recipe(path.with_name("recipe.json")).epochs == epochs])


def together(answers: np.ndarray, conditions: Conditions) -> dict[str, np.ndarray]:
    """How often each clear face is answered rightly, (N,), under every kind of condition.

    Args:
        answers: of the seeds, (S, faces).
        conditions: the faces.
    """
    share = {name: answers[:, rows].mean(axis=0) for name, rows in conditions.rows.items()}
    named = {CLEAR: [CLEAR], **{kind: [*names] for kind, names in KINDS.items()}, "all fifteen": [*COMMON]}
    named |= {name: [name] for name in OTHERS}
    return {
        kind: np.mean([share[one] for name in names for one in conditions.strengths(name)], axis=0)
        for kind, names in named.items()
    }


def compared(arms: Mapping[str, np.ndarray], conditions: Conditions) -> dict[str, dict]:
    """Accuracy of every arm under every kind of condition, and less that of `REFERENCE`, with intervals over faces.

    Args:
        arms: right or not, (S, faces) for S seeds; they may differ in S.
        conditions: the faces.
    """
    shares = {name: together(answers, conditions) for name, answers in arms.items()}
    reference = shares.get(REFERENCE)
    table: dict[str, dict] = {}
    for name, kinds in shares.items():
        table[name] = {"seeds": len(arms[name]), "kinds": {}}
        for kind, own in kinds.items():
            table[name]["kinds"][kind] = {"accuracy": mean_estimate(own)}
            if reference and name != REFERENCE:
                table[name]["kinds"][kind][f"less {REFERENCE}"] = mean_estimate(own - reference[kind])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone-weights", type=Path, required=True, help="mobilenetv1_100_vggface2.safetensors")
    parser.add_argument("--augment", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=FINE_TUNED.epochs)
    parser.add_argument("--faces", type=int, default=1000, help="of FERPlus-C, default 1000")
    parser.add_argument("--runs", type=Path, default=Path("runs/peers"), help="of `robustness.py`")
    parser.add_argument("--work", type=Path, default=Path("runs/augmentation"), help="for the runs")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    conditions = Conditions(options.faces, options.runs)
    for seed in options.seeds:
        for augment in options.augment:
            right(trained(augment, seed, options.backbone_weights, options.work, options.epochs), conditions)
            arms = {arm: answered(arm, options.work, conditions, options.epochs) for arm in ARMS}
            write_json(
                options.out,
                {"command": typed_command(), **machine(), "epochs": options.epochs, "faces": len(conditions.truth)}
                | {"arms": compared({arm: answers for arm, answers in arms.items() if len(answers)}, conditions)},
            )


if __name__ == "__main__":
    main()
