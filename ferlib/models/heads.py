"""A backbone's map, a head that makes a vector of it, and a linear classifier: base of the rival methods' models."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from ferlib.models.backbone import Backbone, BackboneModel, BackboneModelConfig


@dataclass(frozen=True)
class HeadConfig(BackboneModelConfig):
    """Settings shared by the rival methods' models, with the host of their comparison: MobileNetV1 at 112 px.

    Attributes:
        backbone: a timm model name.
        keep_stages: backbone stages kept, see `Backbone`.
        freeze_backbone: the backbone is not trained and stays in evaluation mode. The papers train it.
    """

    input_size: int = 112
    backbone: str = "mobilenetv1_100"


class Head(nn.Module):
    """Feature map (B, C, h, w) -> the vector (B, width) before the classifier, and details of how it came about.

    The details are what a training method made for this head looks at; each head says what its own are.

    Attributes:
        width: of the vector.
    """

    width: int

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class HeadModel(BackboneModel):
    """A `Head` on a backbone.

    Args:
        config, backbone, backbone_weights: see `BackboneModel`.
        head: its vector goes to the classifier.
    """

    def __init__(
        self, config: BackboneModelConfig, backbone: Backbone, backbone_weights: str | Path | None, head: Head
    ):
        super().__init__(config, backbone, backbone_weights)
        self.head = head
        self.classifier = nn.Linear(head.width, len(config.classes))

    def forward_details(self, features: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            self.check_batch(len(features))
        return self.head(features)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Backbone map (B, C, h, w) -> logits (B, classes), or the vector (B, D) before the classifier."""
        vector, _ = self.forward_details(features)
        return vector if pre_logits else self.classifier(vector)
