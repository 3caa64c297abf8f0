"""How far to shift a released model's logits towards the rare classes: its figures on validation faces for every τ.

    python benchmarks/chosen_tau.py ferlib-l --data ferplus --int8 --out results/chosen_tau.json

τ is that of a logit adjustment (Menon et al. 2021, eq. 9), beside the one that the model has; with `--int8`, of the
model with its weights in eight bits. No test face is read. `ferlib release NAME --from MODEL --tau T` makes the model
that is chosen.
"""

import argparse
from pathlib import Path

import numpy as np
from machine import machine, typed_command

from ferlib.data.registry import load_dataset
from ferlib.evaluation.calibration import adjusted, temperature_scaled
from ferlib.evaluation.evaluate import predict_dataset
from ferlib.evaluation.metrics import summary
from ferlib.models.int8 import dequantised, quantised
from ferlib.models.registry import load_model
from ferlib.utils.atomic import write_json

TAUS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="released model or model folder")
    parser.add_argument("--data", required=True, metavar="SET")
    parser.add_argument("--int8", action="store_true", help="of its weights in eight bits")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    options = parser.parse_args()
    model, dataset = load_model(options.model), load_dataset(options.data)
    if options.int8:
        model.load_state_dict(dequantised(quantised(model.state_dict())))
    part = dataset.split("validation")
    plain = temperature_scaled(predict_dataset(model, part, classes=part.classes), 1 / model.config.temperature)
    prior = np.bincount(dataset.split("train").labels().numpy(), minlength=plain.shape[1])
    truth, names = part.labels().numpy(), ("accuracy", "balanced_accuracy", "macro_f1")
    found = {tau: summary(truth, adjusted(plain, prior / prior.sum(), tau, 1)) for tau in TAUS}
    write_json(
        options.out,
        {"command": typed_command(), **machine()}
        | {"model": options.model, "int8": options.int8, "data": options.data, "split": "validation"}
        | {"faces": len(part), "taus": {str(tau): {name: one[name] for name in names} for tau, one in found.items()}},
    )


if __name__ == "__main__":
    main()
