"""A timm backbone cut after one of its stages, and what the models that stand on one share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ferlib.errors import UserError
from ferlib.models.base import FaceModel, ModelConfig, Normalisation
from ferlib.models.layers import ATTENTIONS
from ferlib.models.pretrained import check_timm_name, load_timm_weights, timm_normalisation

if TYPE_CHECKING:
    from timm.models._features import FeatureGetterNet


#: What stands before the names of a backbone's parameters in a model of this project.
OWN = "backbone.net.model."


class Backbone(nn.Module):
    """The first stages of a timm backbone, (B, 3, H, W) -> (B, channels, H/stride, W/stride).

    Stages are counted as in ConvNeXt, by stride: 2 stages end at stride 8, 3 at stride 16, 4 at stride 32. For
    backbones with a stage at stride 2 (EfficientNet, MobileNet, ResNet) `keep_stages` still means the map at that
    stride. The cut goes through timm's `feature_info`, and what lies behind it is not built.

    Args:
        name: a timm model name.
        keep_stages: 2, 3 or 4.
        two_depths: concatenate the feature map of the stage before, space to depth: every 2x2 block of its positions
            becomes four times the channels, behind those of the last map.

    Attributes:
        depths: channels of the last map and, with `two_depths`, of the folded one, in the order of the output.
        channels: their sum.
    """

    def __init__(self, name: str, keep_stages: int, two_depths: bool = False):
        super().__init__()
        if keep_stages not in (2, 3, 4):
            raise UserError(f"keep_stages must be 2, 3 or 4, not {keep_stages!r}")
        check_timm_name(name)
        self.name = name
        self.stride = 2 ** (keep_stages + 1)
        # the getter truncates every architecture alike and keeps timm's parameter names
        with torch.device("meta"):
            strides = _features(name).feature_info.reduction()
        wanted = (self.stride // 2, self.stride) if two_depths else (self.stride,)
        for stride in wanted:
            if stride not in strides:
                raise UserError(f"{name} has no map at stride {stride} (keep_stages={keep_stages}); it has {strides}")
        last = len(strides) - 1
        self.indices = tuple(last - strides[::-1].index(stride) for stride in wanted)
        self.net = _features(name, self.indices)
        *before, channels = self.net.feature_info.channels()
        self.depths = (channels, *(4 * early for early in before))
        self.channels = sum(self.depths)

    def forward(self, x: Tensor) -> Tensor:
        *before, x = self.net(x)
        return torch.cat([x, *(self._fold(early, x.shape[-2:]) for early in before)], dim=1)

    def with_stage_input(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The map as `forward` gives it, and the one that goes into `last_stage`, (B, C', H', W')."""
        last = self.indices[-1]
        before, features = cast(Any, self.net.model).forward_intermediates(
            x, indices=[last - 1, last], intermediates_only=True
        )
        return features, before

    @property
    def last_stage(self) -> nn.Sequential:
        """The modules, not copies, that make the map out of the one of the stage before.

        Raises:
            UserError: the map is of two depths, or the stages of this architecture are no list that could be cut.
        """
        if len(self.indices) > 1:
            raise UserError(
                "a map of two depths is not made by the last stage alone; take a model of one (two_depths=false)"
            )
        last = self.indices[-1]
        before, end = (self.net.feature_info.get("module", index).rpartition(".") for index in (last - 1, last))
        if not end[0] or end[0] != before[0]:
            raise UserError(f"{self.name} keeps its stages in no list, from which the last could be taken")
        stages = cast(nn.Sequential, self.net.model.get_submodule(end[0]))
        return nn.Sequential(*list(stages)[int(before[2]) + 1 : int(end[2]) + 1])

    @staticmethod
    def _fold(x: Tensor, size: torch.Size) -> Tensor:
        """(B, C, H, W) -> (B, 4C, h, w); a row or column too many is cut off, one too few is zero."""
        height, width = 2 * size[0], 2 * size[1]
        x = F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))
        return F.pixel_unshuffle(x, 2)

    def load(self, weights: str | Path) -> None:
        """Load pretrained weights strictly: every parameter of the kept stages must be found.

        Args:
            weights: "imagenet" (timm's own, downloaded from the Hugging Face hub) or a .safetensors file: timm's
                parameter names, of the whole backbone or of its first stages, or a model of this project.

        Raises:
            RuntimeError: the download failed, or the file does not fit.
        """
        load_timm_weights(self.net.model, weights, [OWN])


def _features(name: str, indices: tuple[int, ...] | None = None) -> "FeatureGetterNet":
    """A timm model that gives the maps of its stages, or of these of them; what comes after the last is not built."""
    net = timm.create_model(name, features_only=True, feature_cls="getter", out_indices=indices)
    return cast("FeatureGetterNet", net)


@dataclass(frozen=True)
class BackboneModelConfig(ModelConfig):
    """Settings shared by the configs of all models on a backbone.

    Attributes:
        backbone: a timm model name.
        keep_stages: backbone stages kept, see `Backbone`.
        freeze_backbone: the backbone is not trained and stays in evaluation mode.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    backbone: str = "convnext_base"
    keep_stages: int = 3
    freeze_backbone: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels != 3:
            raise UserError("a backbone takes three channels, like its weights; a grey face is repeated")

    def own_normalisation(self) -> Normalisation:
        """Mean and std that the backbone's weights in timm were trained with."""
        return timm_normalisation(self.backbone)


@dataclass(frozen=True)
class AttentionModelConfig(BackboneModelConfig):
    """Settings shared by the configs of Conv-cut and PAtt-Lite.

    Attributes:
        cut: "stage" (the map after `keep_stages`) or "published" (inside a block, as the authors' code).
        attention: one of `ATTENTIONS`.
    """

    cut: str = "stage"
    attention: str = "token"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention not in ATTENTIONS:
            raise UserError(f"attention must be one of {ATTENTIONS}, not {self.attention!r}")
        if self.cut not in ("published", "stage"):
            raise UserError(f"cut must be 'published' or 'stage', not {self.cut!r}")
        if self.cut == "published" and self.keep_stages != 3:
            raise UserError("the published cut is inside the third stage; for another give cut=stage")


class BackboneModel(FaceModel):
    """A head on a backbone: the model's map is the backbone's, and a frozen backbone stays in evaluation mode.

    Args:
        config: how the model is built.
        backbone: with random weights.
        backbone_weights: pretrained ones for it, see `Backbone.load`, or None.
    """

    has_backbone = True
    config: BackboneModelConfig

    def __init__(self, config: BackboneModelConfig, backbone: Backbone, backbone_weights: str | Path | None):
        super().__init__()
        self.config = config
        self.backbone = backbone
        if backbone_weights is not None:
            backbone.load(backbone_weights)
        if config.freeze_backbone:
            for parameter in backbone.parameters():
                parameter.requires_grad_(False)

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> backbone map (B, C, H/stride, W/stride)."""
        return self.backbone(x)

    @property
    def cam_layer(self) -> nn.Module:
        return self.backbone

    def train(self, mode: bool = True) -> Self:
        """Training mode for everything but a frozen backbone, whose batch-norm statistics must not move."""
        super().train(mode)
        if self.config.freeze_backbone:
            self.backbone.eval()
        return self


class AttentionModel(BackboneModel):
    """Conv-cut or PAtt-Lite: attention before or after the pooling.

    Args:
        config, backbone, backbone_weights: see `BackboneModel`.

    Attributes:
        token_attention: over the positions of one image, before pooling, (B, C, h, w) -> same; or an identity.
        bottleneck: a dense layer after pooling, (B, C) -> (B, D); or an identity.
        pooled_attention: after the bottleneck, (B, D) -> same; or an identity.
        head_norm: after the attention, before `classifier`, (B, D) -> same; or an identity.
    """

    config: AttentionModelConfig
    token_attention: nn.Module
    bottleneck: nn.Module
    pooled_attention: nn.Module
    head_norm: nn.Module

    def __init__(self, config: AttentionModelConfig, backbone: Backbone, backbone_weights: str | Path | None):
        super().__init__(config, backbone, backbone_weights)
        self.head_norm = nn.Identity()


def parameter_count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
