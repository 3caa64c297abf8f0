"""A network of one's own: a config, a class, a name; then it trains, saves and loads like any other.

python examples/own_model.py
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from ferlib.data.synthetic import load_synthetic
from ferlib.models.base import FaceModel, ModelConfig
from ferlib.models.registry import create_model, load_model, register_model
from ferlib.training.loop import fit
from ferlib.training.recipes import Recipe


@dataclass(frozen=True)
class SmallConfig(ModelConfig):
    """Settings of `SmallNetwork`: those of every model, and its width."""

    architecture: str = "small"
    input_size: int = 48
    width: int = 16


class SmallNetwork(FaceModel):
    """Two convolutions, a mean over the positions, and a linear classifier."""

    def __init__(self, config: SmallConfig):
        super().__init__()
        self.config = config
        self.convolutions = nn.Sequential(
            nn.Conv2d(config.channels, config.width, 5, stride=2, padding=2),
            nn.BatchNorm2d(config.width),
            nn.ReLU(),
            nn.Conv2d(config.width, 2 * config.width, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * config.width),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(2 * config.width, len(config.classes))

    def forward_features(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> the map that Grad-CAM looks at
        return self.convolutions(x)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = features.mean(dim=(2, 3))
        return pooled if pre_logits else self.classifier(pooled)

    @property
    def cam_layer(self) -> nn.Module:
        return self.convolutions


register_model("small", SmallNetwork, SmallConfig(), "two convolutions, to show how it is done")

faces = load_synthetic(20)  # 20 synthetic faces a class
model = create_model("small", classes=faces.classes)
with TemporaryDirectory() as folder:
    history = fit(model, faces, Recipe(model.config, epochs=3, batch_size=16), Path(folder) / "run")
    again = load_model(Path(folder) / "run" / "best")
print(history[["epoch", "train_loss", "accuracy"]].round(3).to_string(index=False))
x = torch.randn(1, 3, 48, 48)
print("loaded again, the same answer:", torch.allclose(again(x), model(x), atol=1e-6))
