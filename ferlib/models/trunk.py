"""A timm backbone cut after one of its stages: the truncated feature extractor of Conv-cut and PAtt-Lite."""

from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ferlib.models.hub import hub_folder


class Trunk(nn.Module):
    """The first stages of a timm backbone, (B, 3, H, W) -> (B, channels, H/stride, W/stride).

    Stages are counted as in ConvNeXt, by stride: 2 stages end at stride 8, 3 at stride 16, 4 at stride 32. For
    backbones with a stage at stride 2 (EfficientNet, MobileNet, ResNet) `keep_stages` still means the map at that
    stride. The cut goes through timm's `feature_info`, and what lies behind it is not built.

    Args:
        name: a timm model name.
        keep_stages: 2, 3 or 4.
    """

    def __init__(self, name: str, keep_stages: int):
        super().__init__()
        if keep_stages not in (2, 3, 4):
            raise ValueError(f"keep_stages must be 2, 3 or 4, not {keep_stages!r}")
        if not timm.is_model(name):
            raise ValueError(f"timm has no model {name!r}; timm.list_models('*name*') finds names")
        self.stride = 2 ** (keep_stages + 1)
        # the getter truncates every architecture alike and keeps timm's parameter names
        with torch.device("meta"):
            strides = timm.create_model(name, features_only=True, feature_cls="getter").feature_info.reduction()
        if self.stride not in strides:
            raise ValueError(f"{name} has no map at stride {self.stride} (keep_stages={keep_stages}); it has {strides}")
        index = len(strides) - 1 - strides[::-1].index(self.stride)
        self.net = timm.create_model(name, features_only=True, feature_cls="getter", out_indices=(index,))
        self.channels = self.net.feature_info.channels()[0]
        self.pretrained_cfg = self.net.model.pretrained_cfg

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[0]

    def load(self, weights: str | Path) -> None:
        """Load pretrained weights strictly: every parameter of the kept stages must be found.

        Args:
            weights: "imagenet" (timm's own, downloaded from the Hugging Face hub) or a .safetensors file: timm's
                parameter names, of the whole backbone or of its first stages, or a model of this project.

        Raises:
            RuntimeError: the download failed, or the file does not fit.
        """
        state = self._download() if weights == "imagenet" else self._read(Path(weights))
        own = self.net.model.state_dict()
        counters = {key for key in own if key.endswith("num_batches_tracked")}
        missing = own.keys() - state.keys() - counters
        if missing:
            raise RuntimeError(f"{weights} lacks {len(missing)} of {len(own)} trunk parameters, e.g. {min(missing)}")
        wrong = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
        if wrong:
            raise RuntimeError(f"{weights} does not fit the trunk: {min(wrong)} has another shape")
        self.net.model.load_state_dict({key: state.get(key, own[key]) for key in own}, strict=True)

    def _download(self) -> dict[str, Tensor]:
        name = f"{self.pretrained_cfg['architecture']}.{self.pretrained_cfg.get('tag') or ''}".rstrip(".")
        try:
            folder = hub_folder(f"timm/{name}", ["model.safetensors"])
        except OSError as error:
            raise RuntimeError(
                f"the pretrained weights of {name} could not be downloaded ({error}); give a "
                "local file with trunk_weights=PATH.safetensors, or take random weights with pretrained=False"
            ) from error
        return self._read(folder / "model.safetensors")

    @staticmethod
    def _read(path: Path) -> dict[str, Tensor]:
        if not path.is_file():
            raise RuntimeError(f"no weights file {path}")
        try:
            state = load_file(path)
        except (SafetensorError, OSError) as error:
            raise RuntimeError(f"{path} is not a readable safetensors file ({error})") from error
        ours = "trunk.net.model."  # a model of this project: its trunk
        return {key.removeprefix(ours): value for key, value in state.items() if key.startswith(ours)} or state


def freeze(module: nn.Module) -> None:
    """No gradients from now on. Evaluation mode is the owner's to keep (see `ConvCut.train`)."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def parameter_count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
