"""The optimiser of a recipe, with lower learning rates for the layers nearer to the picture."""

from timm.models import group_parameters
from timm.optim import create_optimizer_v2
from torch.optim import Optimizer

from ferlib.models.base import FaceModel
from ferlib.training.recipes import Recipe


def create_optimizer(model: FaceModel, recipe: Recipe) -> Optimizer:
    """The recipe's optimiser over the model's trainable parameters; biases and norms are not decayed.

    Every parameter group has an `lr_scale` by which its learning rate is to be multiplied. Layer-wise decay (Clark et
    al. 2020): 1 for everything behind the trunk, and recipe.layer_decay to the power k for the trunk's k-th layer from
    its end, in timm's own division of the backbone into layers.

    Raises:
        ValueError: layer-wise decay is asked for and the model has no pretrained trunk.
    """
    depths: dict[str, int] = {}  # parameter name -> layers between it and the head
    if recipe.layer_decay != 1:
        if not model.has_trunk or not hasattr(model, "trunk"):
            raise ValueError(f"layer_decay is for models with a pretrained trunk, not for {type(model).__name__}")
        backbone = model.trunk.net.model
        layers = group_parameters(backbone, backbone.group_matcher(coarse=False), reverse=True)
        last = max(layers.values())
        depths = {f"trunk.net.model.{name}": last + 1 - layer for name, layer in layers.items()}
    groups: dict[tuple[int, bool], dict] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            depth, decayed = depths.get(name, 0), parameter.ndim > 1
            new = {
                "params": [],
                "weight_decay": recipe.weight_decay if decayed else 0.0,
                "lr_scale": recipe.layer_decay**depth,
            }
            groups.setdefault((depth, decayed), new)["params"].append(parameter)
    name = {"sgd": "nesterov"}.get(recipe.optimizer, recipe.optimizer)
    return create_optimizer_v2(list(groups.values()), name, recipe.lr, recipe.weight_decay)
