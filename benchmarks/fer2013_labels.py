"""The released FERPlus model against FER2013's own labels, its classifier refitted to them.

    python benchmarks/fer2013_labels.py --out results/convcut_ferplus_refit_fer2013.json

FERPlus moved a third of FER2013's labels, so a model trained on the one is wrong about the other wherever the labels
differ. Here everything up to the classifier stays as released; only a logistic regression on the vector before it is
fitted, to the labels of the training rows. Its regularisation is chosen on PublicTest; PrivateTest is read once.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from ferlib import labels
from ferlib.data.catalogue import load_dataset
from ferlib.data.dataset import FaceDataset
from ferlib.data.transforms import Preprocess
from ferlib.evaluation.evaluate import commit
from ferlib.evaluation.metrics import bootstrap_intervals, summary
from ferlib.models.base import FaceModel
from ferlib.models.zoo import load_model


@torch.inference_mode()
def vectors(model: FaceModel, data: FaceDataset) -> np.ndarray:
    """What the classifier sees, (N, D)."""
    preprocess = Preprocess.of(model.config)
    parts = data.pixels.split(64)
    heads = [model.forward_head(model.forward_features(preprocess(part)), pre_logits=True) for part in parts]
    return torch.cat(heads).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    model, data, ferplus = load_model("convcut_ferplus"), load_dataset("fer2013"), load_dataset("ferplus")
    place = np.array(labels.mapping(data.classes, ferplus.classes))
    same = place[data.frame["label"]][ferplus.frame["row"]] == ferplus.frame["label"]
    splits = {name: data.split(name) for name in ("train", "validation", "test")}
    x = {name: vectors(model, part) for name, part in splits.items()}
    y = {name: part.labels().numpy() for name, part in splits.items()}

    fits = [LogisticRegression(C=c, max_iter=300).fit(x["train"], y["train"]) for c in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)]
    scores = [fit.score(x["validation"], y["validation"]) for fit in fits]
    best = fits[int(np.argmax(scores))]
    probabilities = best.predict_proba(x["test"])
    intervals = bootstrap_intervals(y["test"], probabilities.argmax(axis=1), len(data.classes))
    metrics = {
        key: {"value": value} | dict(zip(("low", "high"), intervals.get(key, ()), strict=False))
        for key, value in summary(y["test"], probabilities).items()
    }
    result = {
        "name": "convcut_ferplus, classifier refitted to FER2013's labels",
        "data": "fer2013",
        "split": "test",
        "faces": len(y["test"]),
        "labels_equal_to_ferplus": float(same.mean()),
        "chosen_C": best.C,
        "validation_accuracy": {str(fit.C): score for fit, score in zip(fits, scores, strict=True)},
        "metrics": metrics,
        "commit": commit(),
    }
    print(json.dumps(result, indent=1))
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
