"""What a Grad-CAM costs on top of a prediction: our one pass against pytorch-grad-cam, and 1,000 calls in a row.

    python benchmarks/explain_timing.py --out results/explain_timing.json

Four things are timed in turn, again and again, so that a busy machine slows all of them: seconds of processor time, one
thread, medians, and ratios of medians.

    predict     logits, without a graph
    ours        logits and Grad-CAM from one pass through the backbone (ferlib.explain.cam)
    theirs      pytorch-grad-cam alone, which computes logits on its way
    plain       a prediction, then pytorch-grad-cam: what most scripts do

On random weights the maps mean nothing, but they cost the same. pytorch-grad-cam needs gradients down to the layer it
looks at, so the backbone is unfrozen for it; on a frozen one it fails.
"""

import argparse
import gc
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from torch import Tensor

from ferlib.explain.cam import predict_with_cam
from ferlib.models.base import FaceModel, to_device
from ferlib.models.registry import create_model, load_model
from ferlib.utils.commit import commit


def predict(model: FaceModel, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(x)


def theirs(model: FaceModel, x: Tensor) -> np.ndarray:
    with GradCAM(model, [model.cam_layer]) as cam:
        return cam(x, None)


def plain(model: FaceModel, x: Tensor) -> tuple[Tensor, np.ndarray]:
    return predict(model, x), theirs(model, x)


def timed(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def compare(frozen: FaceModel, free: FaceModel, batch: int, runs: int) -> dict:
    """Medians in seconds and ratios of the four, interleaved."""
    side = frozen.config.input_size
    x = torch.randn(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    calls = {
        "predict": lambda: predict(frozen, x),
        "ours": lambda: predict_with_cam(frozen, x),
        "theirs": lambda: theirs(free, x),
        "plain": lambda: plain(free, x),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for run in range(runs + 1):
        for name, call in calls.items():
            taken = timed(call)
            if run:  # the first round warms up
                seconds[name].append(taken)
    free.zero_grad(set_to_none=True)
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    return {
        "batch": batch,
        "runs": runs,
        "median_processor_seconds": {name: round(value, 5) for name, value in median.items()},
        "ours_to_predict": round(median["ours"] / median["predict"], 3),
        "plain_to_ours": round(median["plain"] / median["ours"], 3),
        "theirs_to_ours": round(median["theirs"] / median["ours"], 3),
    }


def endurance(model: FaceModel, calls: int) -> dict:
    """Hooks, tensors and resident memory after many calls, minus those before (Linux)."""

    def state() -> tuple[int, int, int]:
        gc.collect()
        hooks = sum(len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules())
        tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        return hooks, tensors, int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    side = model.config.input_size
    x = torch.randn(1, 3, side, side)
    for _ in range(20):
        predict_with_cam(model, x)
    before = state()
    for _ in range(calls):
        predict_with_cam(model, x)
    grown = [after - earlier for after, earlier in zip(state(), before, strict=True)]
    return {"calls": calls, "hooks": grown[0], "tensors": grown[1], "resident_MB": round(grown[2] / 2**20, 2)}


def released() -> tuple[FaceModel, FaceModel]:
    """Its backbone is not frozen: one model does for both."""
    model = load_model(RELEASED)
    to_device(model, "cpu")
    return model, model


def convnext_base() -> tuple[FaceModel, FaceModel]:
    """Conv-cut on the paper's truncated backbone, random weights: frozen, and the same with gradients."""
    frozen, free = (create_model("convcut", freeze_backbone=freeze).eval() for freeze in (True, False))
    for model in (frozen, free):
        to_device(model, "cpu")
    free.load_state_dict(frozen.state_dict())
    return frozen, free


RELEASED = "convcut_ferplus"
MODELS = {RELEASED: released, "convnext_base": convnext_base}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="the others' figures stay")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--calls", type=int, default=1000)
    options = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    result = json.loads(options.out.read_text()) if options.out.exists() else {"models": {}}
    result["command"] = "python benchmarks/explain_timing.py --out results/explain_timing.json"
    result["threads"] = 1
    for name in options.models:
        frozen, free = MODELS[name]()
        if name == RELEASED:
            result["endurance"] = endurance(frozen, options.calls) | {"commit": commit()}
            print(result["endurance"], flush=True)
        runs = options.runs * (5 if name == RELEASED else 1)  # milliseconds: more of them
        result["models"][name] = [compare(frozen, free, batch, runs) | {"commit": commit()} for batch in (1, 8)]
        print(name, result["models"][name], flush=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
