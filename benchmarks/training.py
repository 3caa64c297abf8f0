"""How fast training is, and what it costs in memory: the figures behind chapter 3.

    python benchmarks/training.py --out results/training_speed.json [--parts cache augmentation overhead memory gpu]

cache: 50 epochs of Conv-cut with the frozen-feature cache beside the published way, a pass through the backbone in
    every step, and how far the cached maps are from those the backbone gives. Measured whole on few faces with an
    EfficientNet-Lite0 backbone, and put together from the times of single steps for ConvNeXt-Base at 224 px; both costs
    grow in proportion to the faces, so the ratio does not depend on their number.
augmentation: IVSA's augmentation, on the device in batches, beside a DataLoader with torchvision's transforms image by
    image; images a second.
overhead: an epoch of `fit` beside a bare PyTorch loop over the same batches.
memory: the largest memory of a process that trains IVSA with FER2013 in it, and that builds caches of growing size.
gpu: images a second and fraction of the card's bfloat16 peak, for IVSA's training and for Conv-cut's backbone, and the
    seconds that IVSA's 100 epochs of FER2013 take. Left out where there is none.

What is compared runs in turns in one process, and is told as medians and their ratio. The data are synthetic faces
(their number and size matter here, not what they show); weights are random, as times do not depend on them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from machine import machine
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from ferlib import labels
from ferlib.data.augmentation import augmentation
from ferlib.data.dataset import FaceDataset
from ferlib.data.synthetic import load_synthetic
from ferlib.models.base import FaceModel, ModelConfig, to_device
from ferlib.models.preprocess import Preprocess
from ferlib.models.profile import count_flops
from ferlib.models.registry import build_model, create_model
from ferlib.training.batch_sources import PixelSource
from ferlib.training.features import FeatureCache
from ferlib.training.loop import fit
from ferlib.training.recipes import RECIPES, Recipe
from ferlib.utils.devices import choose_device

EPOCHS, REPEATS = 50, 7
FER2013 = {"train": 28_709, "validation": 3_589}  # faces
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40": 181e12, "4090": 165e12}  # dense bfloat16, FLOP/s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/training_speed.json"))
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    options = parser.parse_args()
    report = json.loads(options.out.read_text()) if options.out.exists() else {}
    os.environ["FERLIB_CACHE"] = tempfile.mkdtemp(prefix="ferlib-bench-")  # with no cache in it from before
    for part in options.parts:
        if part == "gpu" and not torch.cuda.is_available():
            print("gpu: none is here; what is there stays", flush=True)
            continue
        print(f"{part} ...", flush=True)
        report[part] = {"command": f"python benchmarks/training.py --parts {part}"} | machine() | PARTS[part]()
        print(json.dumps(report[part], indent=1), flush=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def noise(faces: dict[str, int], classes: tuple[str, ...] = labels.FER2013) -> FaceDataset:
    """Grey 48 px noise in the splits' numbers, for measuring time alone."""
    rng, count = np.random.default_rng(0), sum(faces.values())
    frame = pd.DataFrame({"label": rng.integers(len(classes), size=count), "group": -1, "row": range(count)})
    frame["split"] = np.repeat(list(faces), list(faces.values()))
    return FaceDataset(
        "noise", classes, frame, torch.from_numpy(rng.integers(256, size=(count, 1, 48, 48), dtype=np.uint8))
    )


def train(recipe: Recipe, data: FaceDataset) -> pd.DataFrame:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        return fit(build_model(recipe.config), data, recipe, Path(folder) / "run")


def cache() -> dict:
    """The feature cache: whole runs on a small backbone, step times on ConvNeXt-Base, agreement of the maps."""
    faces = load_synthetic(30)
    settings = {"classes": faces.classes, "backbone": "tf_efficientnet_lite0", "epochs": EPOCHS}
    ours = RECIPES["convcut"].override(settings)
    published = replace(ours, augment="flip_contrast")  # the published augmentation; no cache can hold it
    times = {name: seconds(partial(train, plan, faces)) for name, plan in (("cached", ours), ("published", published))}
    return {
        "small backbone, whole runs": {
            "backbone": "tf_efficientnet_lite0, 3 stages, 224 px",
            "faces": {split: len(faces.split(split)) for split in ("train", "validation")},
            "epochs": EPOCHS,
            "runs": 1,
            **{f"{name}, s": round(value, 1) for name, value in times.items()},
            "ratio": round(times["published"] / times["cached"], 1),
        },
        "convnext_base, from step times": step_times(faces),
    }


def step_times(faces: FaceDataset, batch: int = 16) -> dict:
    """ConvNeXt-Base: a published step, a pass of the cache, a cached step; then 50 epochs of each."""
    recipe = RECIPES["convcut"].override({"classes": faces.classes})
    model = build_model(recipe.config)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-3)
    part = faces.subset(range(batch))
    x, y = Preprocess.of(model.config)(part.pixels[:]), part.labels()
    features = FeatureCache.build(model, part)
    rows, views = torch.arange(batch), torch.randint(2, (batch,))
    with torch.inference_mode():
        exact = torch.stack([model.forward_features(x), model.forward_features(x.flip(-1))], dim=1)
    stored = features.maps.float()
    rounding = ((stored - exact).abs() / exact.abs().clamp_min(2**-14)).max()  # below 2^-14 fp16 is denormal

    def step(inputs: Callable[[], torch.Tensor], network: Callable) -> None:
        loss = F.cross_entropy(network(inputs()), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def pass_both_views() -> None:
        with torch.inference_mode():
            for view in (x, x.flip(-1)):
                model.forward_features(view).half()

    model.train()
    work = {
        "published step": lambda: step(lambda: x, model),
        "cache of a batch": pass_both_views,
        "cached step": lambda: step(lambda: features.read(rows, views), model.forward_head),
    }
    times = {name: median(values) for name, values in in_turns(work, 5).items()}
    published = EPOCHS * times["published step"]
    cached = times["cache of a batch"] + EPOCHS * times["cached step"]
    return {
        "backbone": "convnext_base, 3 stages, 224 px",
        "batch": batch,
        "runs": 5,
        **{f"{name}, s": round(value, 4) for name, value in times.items()},
        "ratio of 50 epochs": round(published / cached, 1),
        "ratio of 50 epochs when the cache is there": round(published / (EPOCHS * times["cached step"]), 1),
        "largest relative rounding of a map": float(rounding),
        "of half precision": 2**-11,
    }


def in_turns(work: Mapping[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, list[float]]:
    """Seconds of each, all in turns; the first turn warms up and is not told."""
    turns = [{name: seconds(call) for name, call in work.items()} for _ in range(repeats + 1)]
    return {name: [turn[name] for turn in turns[1:]] for name in work}


class OneByOne(Dataset):
    """The usual way: torchvision's transforms, image by image, in a DataLoader's workers."""

    def __init__(self, data: FaceDataset, config: ModelConfig):
        self.pixels, self.labels = data.pixels, data.labels()
        self.change = v2.Compose(
            [
                v2.ToDtype(torch.float32, scale=True),
                v2.RandomHorizontalFlip(),
                v2.RandomApply([v2.RandomAffine(0, scale=(0.8, 1.2))]),
                v2.RandomApply([v2.RandomAffine(0, translate=(0.2, 0.2))]),
                v2.RandomApply([v2.RandomAffine(10)]),
                v2.RandomCrop(config.input_size),
                v2.Normalize(config.mean, config.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.change(self.pixels[index]), self.labels[index]


def augmenting() -> dict:
    """IVSA's augmentation: ours for some steps at once and step by step, and image by image in a DataLoader."""
    config, data = RECIPES["ivsa"].config, noise({"train": 6400, "validation": 0})
    device = choose_device()
    source = PixelSource(data, Preprocess.of(config), "ivsa", device)
    workers = os.cpu_count() or 1
    loader = DataLoader(OneByOne(data, config), 64, shuffle=True, num_workers=workers, persistent_workers=True)
    small = augmentation("ivsa", config.input_size)
    preprocess = Preprocess.of(config)

    def ours() -> None:
        *_, (x,) = source.training_batches(torch.randperm(len(data)).view(100, 64), slice(None))
        x.sum().item()  # waits for the device

    def step_by_step() -> None:
        for rows in torch.randperm(len(data)).view(100, 64):
            x = preprocess.normalise(small(preprocess.scale(source.pixels[rows.to(device)])))
        x.sum().item()

    def usual() -> None:
        for x, _ in loader:
            x = x.to(device)
        x.sum().item()

    times = in_turns({"some steps at once": ours, "step by step": step_by_step, "DataLoader": usual})
    rates = {name: round(len(data) / median(values)) for name, values in times.items()}
    return {
        "faces": len(data),
        "device": str(device),
        "DataLoader workers": workers,
        "runs": REPEATS,
        "images a second": rates,
        "ratio to the DataLoader": round(rates["some steps at once"] / rates["DataLoader"], 1),
    }


def overhead() -> dict:
    """The steps of an epoch of `fit`, without judging and saving, beside a bare loop."""
    data = noise({"train": 1280, "validation": 64})
    recipe = RECIPES["ivsa"].override({"epochs": 1, "widths": (32, 64, 128, 256)})
    train_part = data.split("train")
    device = choose_device()

    def bare() -> float:
        torch.manual_seed(0)
        model = build_model(recipe.config).train()
        to_device(model, device)
        optimizer = torch.optim.SGD(model.parameters(), recipe.lr, 0.9, weight_decay=1e-4, nesterov=True)
        source = PixelSource(train_part, Preprocess.of(recipe.config), recipe.augment, device)
        targets = train_part.labels().to(device)
        began = time.perf_counter()
        order = torch.randperm(len(train_part)).view(-1, recipe.batch_size)
        for rows, (x,) in zip(order, source.training_batches(order, slice(None)), strict=True):
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = model(x)
            loss = F.cross_entropy(logits.float(), targets[rows.to(device)])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        loss.item()
        return time.perf_counter() - began

    times: dict[str, list[float]] = {"fit": [], "bare loop": []}
    for _ in range(REPEATS + 1):
        times["bare loop"].append(bare())
        times["fit"].append(float(train(recipe, data)["train_seconds"].iloc[0]))
    values = {name: median(runs[1:]) for name, runs in times.items()}
    ratios = [ours / theirs for ours, theirs in zip(times["fit"][1:], times["bare loop"][1:], strict=True)]
    return {
        "model": "ivsa, half widths",
        "faces": len(train_part),
        "runs": REPEATS,
        **{f"{name}, s": round(value, 3) for name, value in values.items()},
        "overhead": round(median(ratios) - 1, 3),
        "all ratios": [round(ratio, 3) for ratio in ratios],
    }


def memory() -> dict:
    """The largest resident memory of fresh processes, MB."""
    return {
        "training IVSA with FER2013 in memory, MB": peak("ivsa"),
        "building a cache, MB": {f"{count} faces": peak("cache", count) for count in (100, 400, 1600)},
        "a cached face, KB": 2 * 2 * 40 * 28 * 28 / 1000,
    }


def peak(kind: str, count: int = 0) -> int:
    script = Path(__file__).with_name("training_memory.py")
    done = subprocess.run([sys.executable, str(script), kind, str(count)], capture_output=True, text=True, check=True)
    return round(float(done.stdout.split()[-1]))


def gpu() -> dict:
    """IVSA's training and Conv-cut's backbone on a graphics card: images a second, fraction of its peak, 100 epochs."""
    data, name = noise(FER2013), torch.cuda.get_device_name()
    peak_flops = next((value for key, value in PEAKS.items() if key in name), None)
    rows = []
    for batch_size, mode in ((64, "no"), (64, "reduce-overhead"), (1024, "no"), (1024, "default")):
        recipe = RECIPES["ivsa"].override({"epochs": 4, "batch_size": batch_size, "compile": mode})
        history = train(recipe, data).iloc[1:]  # the first compiles and warms up
        rate = FER2013["train"] / history["train_seconds"].median()
        rows.append(
            {"batch": batch_size, "compile": mode, "images a second": round(rate)}
            | share_of_peak(3 * count_flops(build_model(recipe.config)) * rate, peak_flops)
            | {"100 epochs, s": round(100 * float(history["seconds"].median()), 1)}
        )
        print(rows[-1], flush=True)
    return {"ivsa training": rows, "convnext_base backbone": backbone_speed(create_model("convcut"), peak_flops)}


def backbone_speed(model: FaceModel, peak_flops: float | None) -> dict:
    to_device(model.eval(), "cuda")
    x = torch.randn(256, 3, 224, 224, device="cuda").contiguous(memory_format=torch.channels_last)

    def work() -> None:
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
            for _ in range(5):
                model.forward_features(x)
        torch.cuda.synchronize()

    rate = 5 * len(x) / median(in_turns({"backbone": work})["backbone"])
    return {"batch": len(x), "images a second": round(rate)} | share_of_peak(count_flops(model) * rate, peak_flops)


def share_of_peak(flops: float, peak_flops: float | None) -> dict:
    return (
        {"fraction of the bf16 peak": round(flops / peak_flops, 3)}
        if peak_flops
        else {"TFLOP/s": round(flops / 1e12, 1)}
    )


PARTS = {"cache": cache, "augmentation": augmenting, "overhead": overhead, "memory": memory, "gpu": gpu}


if __name__ == "__main__":
    main()
