"""The papers' figure 4 on real faces: features of a full backbone, a truncated one and Conv-cut, and how pure they are.

    python benchmarks/explain_embeddings.py --backbone-weights tf_efficientnet_lite0.safetensors \\
        --out results/explain_embeddings.json

FERPlus PrivateTest, up to --per-class faces of every class, drawn at random. "full backbone" and "truncated backbone"
are the pooled last maps of the ImageNet backbone (stride 32 and 16), "Conv-cut" the released model's features before
its last layer, "Conv-cut, softmax outputs" its answers: what the published code draws. Purity: fraction of a face's ten
nearest neighbours with its label, over faces and as the mean of the classes' means; `chance_purity` is that of faces in
random order.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ferlib.data.registry import load_dataset
from ferlib.evaluation.means import mean_estimate
from ferlib.explain.embed import PROJECTIONS, extract_features, project, purity, silhouette
from ferlib.models.convcut import ConvCutConfig
from ferlib.models.registry import create_model, load_model
from ferlib.utils.commit import commit

RELEASED = "convcut_ferplus"


def scores(points: np.ndarray, labels: np.ndarray) -> dict:
    shares = purity(points, labels)
    by_class = [shares[labels == label].mean() for label in np.unique(labels)]
    return {
        "purity": mean_estimate(shares),
        "purity_of_classes": round(float(np.mean(by_class)), 4),
        "silhouette": round(silhouette(points, labels), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone-weights", required=True, help="the whole ImageNet backbone, .safetensors")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--root", help="where FERPlus is")
    parser.add_argument("--per-class", type=int, default=90)
    options = parser.parse_args()

    data = load_dataset("ferplus", options.root).split("test")
    all_labels, rng = data.frame["label"].to_numpy(), np.random.default_rng(0)
    rows = np.concatenate(
        [rng.permutation(np.flatnonzero(all_labels == c))[: options.per_class] for c in range(len(data.classes))]
    )
    pixels, labels = data.pixels[torch.from_numpy(rows)], all_labels[rows]
    released = load_model(RELEASED)
    assert isinstance(released.config, ConvCutConfig)
    settings: dict[str, Any] = {
        "backbone": released.config.backbone,
        "input_size": 112,
        "downscale_to": 48,
        "grey": True,
    }
    spaces = {}
    for title, stages in (("full backbone", 4), ("truncated backbone", 3)):
        probe = create_model("linear_probe", keep_stages=stages, backbone_weights=options.backbone_weights, **settings)
        spaces[title] = extract_features(probe.eval(), pixels)[0]
    spaces["Conv-cut"], spaces["Conv-cut, softmax outputs"] = extract_features(released, pixels)

    found: dict[str, dict] = {}
    for title, features in spaces.items():
        planes = PROJECTIONS if "softmax" not in title else ("tsne",)
        found[title] = {"dimensions": features.shape[1], "original": scores(features, labels), "planes": {}}
        for method in planes:
            points = project(features, method)
            found[title]["planes"][method] = scores(points, labels) | {"points": points.round(2).tolist()}
            print(f"{title}, {method}: purity {found[title]['planes'][method]['purity']['value']:.3f}", flush=True)
    shares = np.bincount(labels, minlength=len(data.classes)) / len(labels)
    result = {
        "command": "python benchmarks/explain_embeddings.py --backbone-weights tf_efficientnet_lite0.safetensors --out "
        "results/explain_embeddings.json",
        "data": "FERPlus PrivateTest",
        "faces": len(labels),
        "classes": list(data.classes),
        "chance_purity": round(float((shares**2).sum()), 4),
        "accuracy": round(float((spaces["Conv-cut, softmax outputs"].argmax(axis=1) == labels).mean()), 4),
        "runs": 1,
        "commit": commit(),
        "labels": labels.tolist(),
        "spaces": found,
    }
    options.out.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
