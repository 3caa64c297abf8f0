"""All models by name: `create_model`, `list_models`, and `load_model` for trained ones."""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from ferlib.errors import UserError
from ferlib.models.apvit import APViT, APViTConfig
from ferlib.models.base import FaceModel, ModelConfig
from ferlib.models.baselines import Baseline, BaselineConfig
from ferlib.models.convcut import ConvCut, ConvCutConfig
from ferlib.models.ddamfn import DDAMFN, DDAMFNConfig
from ferlib.models.ivsa import IVSA, IVSAConfig
from ferlib.models.pattlite import PAttLite, PAttLiteConfig
from ferlib.models.pretrained import noted_normalisation, weights_record
from ferlib.models.two_depth_vit import TwoDepthViT, TwoDepthViTConfig
from ferlib.models.vtff import VTFF, VTFFConfig
from ferlib.runtime.released import WEIGHTS, model_folder, released_models, released_onnx

__all__ = [
    "MODELS", "WEIGHTS", "Entry", "build_model", "create_model", "list_models", "load_model", "released_models",
    "register_model", "released_onnx",
]  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A named variant: its class, its config, and a line about it."""

    model: type[FaceModel]
    config: ModelConfig
    about: str


_PUBLISHED = ConvCutConfig(
    "convcut_published",
    cut="published",
    detail_norm="none",
    bottleneck=32,
    attention="batch",
    learned_scale=True,
    dropout=0.2,
    head_dropout=0.2,
)
MODELS = {
    "convcut": Entry(ConvCut, ConvCutConfig(), "Conv-cut with attention over the positions of one image"),
    "convcut_channel": Entry(
        ConvCut, ConvCutConfig("convcut_channel", attention="channel"), "Conv-cut, Algorithm 1 literally: over channels"
    ),
    "convcut_none": Entry(ConvCut, ConvCutConfig("convcut_none", attention="none"), "Conv-cut without attention"),
    "convcut_batch": Entry(
        ConvCut, ConvCutConfig("convcut_batch", attention="batch"), "Conv-cut, attention ACROSS THE BATCH, for audits"
    ),
    "convcut_published": Entry(ConvCut, _PUBLISHED, "the authors' code as run: attention ACROSS THE BATCH, for audits"),
    "linear_probe": Entry(
        ConvCut,
        ConvCutConfig("linear_probe", detail_layers=0, attention="none", dropout=0.0),
        "one linear layer on the pooled map of a backbone",
    ),
    "ivsa": Entry(IVSA, IVSAConfig(), "improved VGG with Salient Attention Blocks"),
    "ivsa_cbam": Entry(IVSA, IVSAConfig("ivsa_cbam", block="cbam"), "the same VGG with CBAM"),
    "ivsa_plain": Entry(IVSA, IVSAConfig("ivsa_plain", block="none"), "the same VGG without attention"),
    "pattlite": Entry(PAttLite, PAttLiteConfig(), "PAtt-Lite with attention over the positions of one image"),
    "pattlite_channel": Entry(
        PAttLite, PAttLiteConfig("pattlite_channel", attention="channel"), "PAtt-Lite, attention over channels"
    ),
    "pattlite_none": Entry(PAttLite, PAttLiteConfig("pattlite_none", attention="none"), "PAtt-Lite without attention"),
    "pattlite_published": Entry(
        PAttLite,
        PAttLiteConfig("pattlite_published", attention="batch"),
        "the authors' code as run: attention ACROSS THE BATCH, for audits",
    ),
    "vgg16": Entry(Baseline, BaselineConfig("vgg16", backbone="vgg16", dropout=0.5), "VGG-16 with batch norm"),
    "resnet18": Entry(Baseline, BaselineConfig(), "ResNet-18"),
    "googlenet": Entry(Baseline, BaselineConfig("googlenet", backbone="googlenet", dropout=0.2), "GoogLeNet"),
    "inception_v3": Entry(
        Baseline,
        BaselineConfig("inception_v3", backbone="inception_v3", dropout=0.5, input_size=299),
        "Inception v3",
    ),
    "ddamfn": Entry(DDAMFN, DDAMFNConfig(), "DDAMFN's head: two coordinate-attention heads over the whole map"),
    "apvit": Entry(APViT, APViTConfig(), "APViT's attentive pooling of positions and tokens in a small transformer"),
    "two_depth_vit": Entry(
        TwoDepthViT, TwoDepthViTConfig(), "POSTER++ without landmarks: two depths as tokens of a small transformer"
    ),
    "vtff": Entry(VTFF, VTFFConfig(), "VTFF: the face and its local binary patterns, fused, in a small transformer"),
}


def register_model(name: str, model: type[FaceModel], config: ModelConfig, about: str = "") -> None:
    """Make a model of one's own known by a name: for `create_model`, recipes, `load_model` and the command line.

    Args:
        name: as in `config.architecture`, by which saved models are recognised.
        model: its class; `model(config)` builds it, with `backbone_weights=` too where `has_backbone` is true.
        config: its settings.
        about: a line about it.

    Raises:
        UserError: the name is taken by another model, or is not the config's.
    """
    if config.architecture != name:
        raise UserError(f"the config of the model {name} calls itself {config.architecture}")
    entry = Entry(model, config, about)
    if MODELS.setdefault(name, entry) != entry:
        raise UserError(f"there is a model {name} already: {MODELS[name].model.__name__}")


def differing_settings(name: str, other: str) -> dict[str, Any]:
    """Fields of the config of the model `other` that are not as in that of the model `name`; both are of one class."""
    own = vars(MODELS[name].config)
    return {field: value for field, value in vars(MODELS[other].config).items() if own[field] != value}


def list_models() -> list[str]:
    """Names for `create_model`."""
    return list(MODELS)


def create_model(
    name: str, *, pretrained: bool = False, backbone_weights: str | Path | None = None, **overrides: Any
) -> FaceModel:
    """A new, untrained model by name.

    Args:
        name: one of `list_models()`.
        pretrained: start the backbone from ImageNet weights, downloaded by timm. Raises when they cannot be had.
        backbone_weights: start the backbone from this .safetensors file, released model or model folder instead.
        **overrides: fields of the model's config, e.g. `backbone="tf_efficientnet_lite0"`, `keep_stages=2`.

    Raises:
        ValueError: unknown name, field or value.
        RuntimeError: the weights could not be had or do not fit.
    """
    if name not in MODELS:
        raise UserError(f"unknown model {name!r}, expected one of {', '.join(MODELS)}")
    entry = MODELS[name]
    known = {field.name for field in fields(entry.config)}
    unknown = sorted(overrides.keys() - known)
    if unknown:
        raise UserError(f"{name} has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    weights = backbone_weights if backbone_weights is not None else "imagenet" if pretrained else None
    return build_model(replace(entry.config, **overrides), weights)


@torch.inference_mode(False)  # a model made inside it could be neither trained nor explained
def build_model(config: ModelConfig, backbone_weights: str | Path | None = None) -> FaceModel:
    """A new, untrained model from its config.

    Args:
        config: names the architecture, a key of `MODELS`, and says how it is built. Where it leaves mean and std to the
            backbone, the model's config has them in numbers.
        backbone_weights: of the pretrained part: "imagenet" (downloaded by timm), a .safetensors file, a released
            model's name or a model folder, or None for random ones.

    Raises:
        ValueError: a value of the config is impossible, or weights are given to a model without a pretrained part.
        RuntimeError: the weights could not be had or do not fit.
    """
    weights = weights_source(backbone_weights)
    model_class, config = MODELS[config.architecture].model, with_normalisation(config, weights)
    model = model_class(config, backbone_weights=weights) if weights is not None else model_class(config)
    model.started_from = weights_record(weights)
    if weights is not None:
        model.started_from["name"] = Path(
            backbone_weights or ""
        ).name  # a released model's name says more than its file's
    return model


def weights_source(backbone_weights: str | Path | None) -> str | Path | None:
    """Resolve weights as `build_model` takes them: a released model's name or a folder becomes its weights file."""
    if backbone_weights is None or backbone_weights == "imagenet":
        return backbone_weights
    folder = released_models().get(str(backbone_weights), Path(backbone_weights))
    return folder / "model.safetensors" if folder.is_dir() else folder


def with_normalisation(config: ModelConfig, backbone_weights: str | Path | None) -> ModelConfig:
    """The config with mean and std in numbers, which it may leave to its backbone.

    Those noted in the weights file or in the config of the model it is of come first; else timm's for the backbone.
    """
    if config.mean is not None:
        return config
    weights = weights_source(backbone_weights)
    noted = noted_normalisation(Path(weights)) if weights is not None and weights != "imagenet" else None
    if noted and len(noted[0]) != config.channels:  # of another kind of network; loading the file will say so
        noted = None
    mean, std = noted or config.own_normalisation()
    return replace(config, mean=mean, std=std)


@torch.inference_mode(False)
def load_model(name_or_dir: str | Path) -> FaceModel:
    """A trained model, in evaluation mode.

    Args:
        name_or_dir: a released model's name, a folder written by `save_pretrained`, or "owner/name" on the hub.

    Raises:
        ValueError: there is no such model, or the folder is damaged.
    """
    folder = model_folder(name_or_dir)
    if not (folder / "config.json").exists():
        best = f"; it is a run, whose model is {folder / 'best'}" if (folder / "best" / "config.json").exists() else ""
        raise UserError(f"{folder} is no model's folder: it has no config.json{best}")
    try:
        architecture = json.loads((folder / "config.json").read_text())["architecture"]
        return MODELS[architecture].model.from_pretrained(str(folder)).eval()
    except Exception as error:  # damaged JSON, unknown fields, missing tensors, truncated safetensors
        raise UserError(f"the model in {folder} cannot be read: {error}") from error
