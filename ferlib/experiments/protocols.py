"""A published figure taken apart: the same networks under one protocol after another, one leak removed at every step.

The first four protocols read the *same* trained networks, those with batch attention, in four ways. The fifth trains
the honest reading of the attention instead; the last leaves out test faces that also stand elsewhere. An epoch is
chosen by the accuracy that the protocol's own way of batching gives on the protocol's split, so validation faces are
batched like test faces.

Backbone, optimiser, epochs and data are the same throughout, and so is the network but for its attention. Conv-cut is
Algorithm 1 with its one line of attention read over the batch, over the positions of a face, or left out, and in all
three a batch norm before the classifier, which the paper does not print. Mixtures of many faces are all alike; the
batch norm stretches what is left between them, and with it the published figure comes about on small backbones. What
remains without it is a reference beside the protocols. So is the network of the authors' code, which differs in more
(no norm before the convolutions, a dense layer of 32 with batch norm before the attention, a learned scale, more
dropout); it is trained like the others and read as the code does: the epoch chosen in batches of 16, the figure from
batches of 32. The protocols keep 16 for both, so that one thing changes at a time. PAtt-Lite is its authors' network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.data.duplicates import find_flaws
from ferlib.evaluation.bootstrap import RESAMPLES, Resampling, difference, people_in
from ferlib.evaluation.metrics import METRICS, confusion
from ferlib.experiments.prediction_logger import FINAL, SHUFFLED, SINGLE, SORTED, WIDE, Batching, LoggedRun
from ferlib.experiments.runner import BackboneChoice, judge_runs
from ferlib.models.base import ModelConfig
from ferlib.models.convcut import ConvCutConfig
from ferlib.models.registry import MODELS, with_normalisation
from ferlib.training.recipes import RECIPES, Recipe, fitted_config
from ferlib.utils.commit import commit

EPOCHS = 6  # after so many the published figure is there
#: What is trained, in this order. "batch", "token" and "none" differ in the attention alone; "letter" is "batch"
#: without the batch norm, which Algorithm 1 does not print; "code" is what Conv-cut's authors ran.
NETWORKS = {"convcut": ("batch", "token", "none", "letter", "code"), "pattlite": ("batch", "token", "none")}


@dataclass(frozen=True)
class Protocol:
    """One way to come to a figure.

    Attributes:
        name: of the protocol.
        network: see `NETWORKS`.
        batching: of the faces that are predicted, in the test and in the validation split.
        selected_on: the split that chooses the epoch, or "last": nothing is chosen.
        clean: only faces without a flaw, see `ferlib.data.duplicates.find_flaws`.
        chosen_in: batching of the faces that choose the epoch, where it is another.
    """

    name: str
    network: str
    batching: Batching
    selected_on: str = "validation"
    clean: bool = False
    chosen_in: Batching | None = None


COMPARED = (
    Protocol("published protocol", "batch", SORTED, selected_on="test"),
    Protocol("epoch chosen on validation", "batch", SORTED),
    Protocol("test faces shuffled", "batch", SHUFFLED),
    Protocol("one face at a time", "batch", SINGLE),
    Protocol("attention within a face", "token", SINGLE),
    Protocol("duplicates removed", "token", SINGLE, clean=True),
)
#: Beside them, for reference, where there is such a network.
REFERENCES = (
    Protocol("no attention", "none", SINGLE),
    Protocol("class-sorted batches, last epoch", "batch", SORTED, selected_on="last"),
    Protocol("published protocol, batches of 64", "batch", WIDE, selected_on="test"),
    Protocol("without batch norm, published protocol", "letter", SORTED, selected_on="test"),
    Protocol("without batch norm, one face at a time", "letter", SINGLE),
    Protocol("authors' code, published protocol", "code", FINAL, selected_on="test", chosen_in=SORTED),
    Protocol("authors' code, one face at a time", "code", SINGLE),
)


def on_backbone(config: ModelConfig, backbone: BackboneChoice) -> ModelConfig:
    """A Conv-cut's or PAtt-Lite's config on this backbone, cut after its stage, fed as the backbone was trained."""
    place: dict[str, Any] = {
        "backbone": backbone.name,
        "keep_stages": backbone.keep_stages,
        "input_size": backbone.input_size,
        "cut": "stage",
    }
    return with_normalisation(replace(config, **place), backbone.weights)


def variant(model: str, network: str, backbone: BackboneChoice) -> ModelConfig:
    """A Conv-cut or PAtt-Lite on this backbone, see `NETWORKS`."""
    batch = "pattlite_published" if model == "pattlite" else "convcut_batch"
    names = {"batch": batch, "token": model, "none": f"{model}_none", "letter": batch, "code": f"{model}_published"}
    config = on_backbone(MODELS[names[network]].config, backbone)
    return with_head_norm(config) if network in ("batch", "token", "none") else config


def with_head_norm(config: ModelConfig) -> ModelConfig:
    """The config with a batch norm before the classifier, if it is one of Conv-cut's."""
    return replace(config, head_norm=True) if isinstance(config, ConvCutConfig) else config


def protocol_recipes(
    model: str, data: FaceDataset, backbone: BackboneChoice, epochs: int, seeds: Sequence[int]
) -> dict[tuple[int, str], Recipe]:
    """(seed, network) -> recipe, whole seeds first; Conv-cut's training for all: batch 16, Adam 1e-3, flips."""
    return {
        (seed, network): replace(
            RECIPES["convcut"],
            config=fitted_config(variant(model, network, backbone), data),
            epochs=epochs,
            seed=seed,
        )
        for seed in seeds
        for network in NETWORKS[model]
    }


def compare_protocols(
    runs: Mapping[tuple[int, str], LoggedRun], data: FaceDataset, resamples: int = RESAMPLES
) -> dict[str, list[dict]]:
    """Every protocol's figures, read from the logged predictions of the same runs.

    Args:
        runs: by (seed, network), every seed with the same networks.
        data: the data set they were trained and tested on, or on a part of whose training faces they were: duplicates
            are looked for in all of it.
        resamples: of the bootstrap.

    Returns:
        "protocols" and "references": for each its definition, the faces judged, the metrics with intervals, those of
        every seed, the chosen epochs (from 1), and for protocols the difference to the one before.
    """
    seeds, networks = sorted({seed for seed, _ in runs}), {network for _, network in runs}
    draws = Resampling(data.split("test"), len(seeds), resamples)
    flawed = find_flaws(data).any(axis=1).to_numpy()[(data.frame["split"] == "test").to_numpy()]
    everyone = np.ones(len(flawed), bool)
    report: dict[str, list[dict]] = {}
    for part, protocols in (("protocols", COMPARED), ("references", REFERENCES)):
        report[part], before = [], None
        for one in (one for one in protocols if one.network in networks):
            own = {seed: runs[seed, one.network] for seed in seeds}
            kept = ~flawed if one.clean else everyone
            found, exact, resampled = judge_runs(own, one.selected_on, one.batching, draws, kept, one.chosen_in)
            entry = asdict(one) | {"faces": int(kept.sum())} | found
            if part == "protocols" and before:
                entry["minus_previous"] = difference((exact, resampled), before)
            report[part].append(entry)
            before = exact, resampled
    return report


def protocols_entry(
    model: str,
    backbone: BackboneChoice,
    recipes: Mapping[tuple[int, str], Recipe],
    runs: Mapping[tuple[int, str], LoggedRun],
    data: FaceDataset,
    whole: FaceDataset | None = None,
) -> dict:
    """The protocols of one model on one backbone with everything that tells how they were made, JSON-ready.

    Args:
        model: "convcut" or "pattlite".
        backbone: that all networks stand on.
        recipes: (seed, network) -> recipe, see `protocol_recipes`.
        runs: (seed, network) -> run.
        data: trained and tested on.
        whole: the data set before training faces were left out, in all of which duplicates are looked for.
    """
    sizes = data.frame["split"].value_counts()
    classes = len(data.classes)
    return {
        "table": "protocols",
        "data": data.name,
        "model": model,
        "backbone": backbone.to_json(),
        "seeds": sorted({seed for seed, _ in runs}),
        "epochs": next(iter(recipes.values())).epochs,
        "faces": {split: int(count) for split, count in sizes.items()},
        "classes": list(data.classes),
        "intervals": "faces" if people_in(data.split("test")) is None else "people",
        **compare_protocols(runs, data if whole is None else whole),
        "recipes": {
            network: recipe.to_json() for (seed, network), recipe in recipes.items() if seed == min(recipes)[0]
        },
        "confusion": {COMPARED[i].name: _confusion(COMPARED[i], runs, classes) for i in (0, 3, 4)},
        "commit": commit(),
    }


def _confusion(protocol: Protocol, runs: Mapping[tuple[int, str], LoggedRun], classes: int) -> list[list[int]]:
    """Confusion matrix (rows true) under a protocol, summed over the seeds."""
    counts = np.zeros((classes, classes), np.int64)
    for (_, network), run in runs.items():
        if network == protocol.network:
            best = run.best_epoch(protocol.selected_on, protocol.batching)
            predicted = run.predicted["test", str(protocol.batching)][best]
            counts += confusion(run.labels["test"], predicted, classes)
    return counts.tolist()


def protocols_table(entries: Sequence[dict]) -> pd.DataFrame:
    """One row an entry, protocol or reference, and metric: value, low, high, and the difference to the one before."""
    return pd.DataFrame(
        {
            "table": "protocols",
            "data": entry["data"],
            "model": entry["model"],
            "backbone": entry["backbone"]["name"],
            "part": part[:-1],
            "protocol": one["name"],
            "network": one["network"],
            "batching": str(Batching(**one["batching"])),
            "selected_on": one["selected_on"],
            "clean": one["clean"],
            "faces": one["faces"],
            "seeds": len(entry["seeds"]),
            "metric": metric,
        }
        | one["metrics"][metric]
        | {f"minus_previous_{key}": v for key, v in one.get("minus_previous", {}).get(metric, {}).items()}
        for entry in entries
        for part in ("protocols", "references")
        for one in entry[part]
        for metric in METRICS
    )


def sentence(entry: dict) -> str:
    """The outcome of an entry in one sentence."""
    accuracies = [one["metrics"]["accuracy"] for one in entry["protocols"]]
    first, *_, alone, honest, _ = ({key: 100 * value for key, value in found.items()} for found in accuracies)
    references = {one["name"]: 100 * one["metrics"]["accuracy"]["value"] for one in entry["references"]}
    plain = references.get("no attention")
    none = "" if plain is None else f" without any attention they reach {plain:.1f} %,"
    return (
        f"On {entry['data']} the same {entry['model']} networks on {entry['backbone']['name']} score "
        f"{first['value']:.1f} % ({first['low']:.1f} to {first['high']:.1f}) under the published protocol and "
        f"{alone['value']:.1f} % ({alone['low']:.1f} to {alone['high']:.1f}) when every face stands alone;{none} "
        f"with attention inside the face {honest['value']:.1f} %."
    )
