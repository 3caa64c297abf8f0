"""The backbone of an npm package as timm's network: its answers beside the graph, computed by hand."""

import json
import sys
from itertools import pairwise
from pathlib import Path

import face_backbone
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file

from ferlib.models.registry import create_model

WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """A package's model.json with its weights in half precision, and the weights."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("package")
    weights = {"conv1/convolution/merged_input": rng.normal(0, 0.01, (3, 3, 3, 32))}
    weights["conv1_bn/batchnorm_1/sub"] = rng.normal(0, 0.5, 32)
    for i, (before, after) in enumerate(pairwise(WIDTHS), start=1):
        weights[f"conv_dw_{i}/depthwise_kernel"] = rng.normal(0, 0.4, (3, 3, before, 1))
        weights[f"conv_dw_{i}_bn/batchnorm_1/mul"] = rng.uniform(0.5, 1.5, before)
        weights[f"conv_dw_{i}_bn/batchnorm_1/sub"] = rng.normal(0, 0.5, before)
        weights[f"conv_pw_{i}/convolution/merged_input"] = rng.normal(0, (2 / before) ** 0.5, (1, 1, before, after))
        weights[f"conv_pw_{i}_bn/batchnorm_1/sub"] = rng.normal(0, 0.5, after)
    weights = {name: values.astype(np.float16) for name, values in weights.items()}
    listed = [
        {"name": name, "shape": list(values.shape), "dtype": "float32", "quantization": {"dtype": "float16"}}
        for name, values in weights.items()
    ]
    axes = np.array([1, 2], np.int32)  # what the mean at the graph's end goes over
    listed.append({"name": "axes", "shape": [2], "dtype": "int32"})
    stored = [values.tobytes() for values in weights.values()]
    (folder / "faceres.bin").write_bytes(b"".join([*stored, axes.tobytes()]))
    manifest = [{"paths": ["faceres.bin"], "weights": listed}]
    (folder / "faceres.json").write_text(json.dumps({"weightsManifest": manifest}))
    return folder / "faceres.json", weights


def by_hand(weights: dict[str, np.ndarray], x: torch.Tensor) -> torch.Tensor:
    """The graph's map for images, an operation at a time."""
    w = {name: torch.from_numpy(values.astype(np.float32)) for name, values in weights.items()}

    def shifted(x: torch.Tensor, name: str) -> torch.Tensor:
        return (x + w[f"{name}/batchnorm_1/sub"].view(1, -1, 1, 1)).clamp(0, 6)

    kernel = w["conv1/convolution/merged_input"].permute(3, 2, 0, 1)
    x = shifted(F.conv2d(x, kernel, stride=2, padding=1), "conv1_bn")
    for i, stride in enumerate(STRIDES, start=1):
        kernel = w[f"conv_dw_{i}/depthwise_kernel"].permute(2, 3, 0, 1)
        x = F.conv2d(x, kernel, stride=stride, padding=1, groups=x.shape[1])
        x = shifted(x * w[f"conv_dw_{i}_bn/batchnorm_1/mul"].view(1, -1, 1, 1), f"conv_dw_{i}_bn")
        kernel = w[f"conv_pw_{i}/convolution/merged_input"].permute(3, 2, 0, 1)
        x = shifted(F.conv2d(x, kernel), f"conv_pw_{i}_bn")
    return x


def test_the_file_has_the_graphs_answers_and_the_faces_statistics(graph, tmp_path, monkeypatch, capsys):
    model, weights = graph
    out = tmp_path / "mobilenet.safetensors"
    words = [str(model), "--data", "synthetic", "--faces", "96", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["face_backbone.py", *words])
    face_backbone.main()
    network = face_backbone.folded_network(face_backbone.read_graph(model))
    network.load_state_dict(load_file(out))
    x = 255 * torch.rand(8, 3, 112, 112, generator=torch.Generator().manual_seed(1)) - 120
    with torch.inference_mode():
        expected = by_hand(weights, x)
        assert torch.allclose(network.eval().forward_features(x), expected, atol=1e-4 * expected.abs().max())
    with safe_open(out, framework="pt") as file:
        assert json.loads(file.metadata()["mean"]) == list(face_backbone.MEAN)
    assert "answers moved by" in capsys.readouterr().out
    config = create_model("linear_probe", backbone="mobilenetv1_100", keep_stages=4, backbone_weights=out).config
    assert config.mean == face_backbone.MEAN and config.std == face_backbone.STD


def test_in_training_the_network_starts_where_it_answers(graph):
    """With a folded batch norm's mean 0 and variance 1 it would be another network."""
    network = face_backbone.folded_network(face_backbone.read_graph(graph[0]))
    x = 255 * torch.rand(64, 3, 112, 112, generator=torch.Generator().manual_seed(2)) - 120
    face_backbone.unfold(network, x)
    with torch.inference_mode():
        alone, together = network.eval().forward_features(x), network.train().forward_features(x)
    assert (alone - together).abs().max() < 1e-3 * alone.abs().max()


def test_weights_that_are_not_all_there_are_told(graph, tmp_path):
    listed = json.loads(graph[0].read_text())
    (tmp_path / "faceres.json").write_text(json.dumps(listed))
    (tmp_path / "faceres.bin").write_bytes(graph[0].with_name("faceres.bin").read_bytes() + b"more")
    with pytest.raises(SystemExit, match=r"lists .* bytes of weights, there are"):
        face_backbone.read_graph(tmp_path / "faceres.json")
