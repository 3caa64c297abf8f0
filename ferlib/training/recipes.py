"""Recipes: everything that decides how a model is trained, as frozen dataclasses saved beside every result."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ferlib.data.augmentation import AUGMENTATIONS
from ferlib.data.dataset import FaceDataset
from ferlib.errors import UserError
from ferlib.evaluation.kept_epoch import kept_gain
from ferlib.models.base import IMAGENET_MEAN, IMAGENET_STD, ModelConfig
from ferlib.models.convcut import ConvCutConfig
from ferlib.models.ivsa import IVSAConfig
from ferlib.models.pattlite import PAttLiteConfig
from ferlib.models.registry import MODELS, differing_settings
from ferlib.training.methods import METHODS, method_settings
from ferlib.training.schedules import SCHEDULES
from ferlib.utils.old_names import renamed_fields
from ferlib.utils.validation import check_range, check_types

OPTIMIZERS = ("adam", "adamw", "sgd")
TARGETS = ("hard", "soft")
PATIENCE_ON = ("score", "train_accuracy")
PROTOCOLS = ("honest", "published")
PRECISIONS = ("auto", "float32", "bfloat16")
COMPILE_MODES = ("no", "default", "reduce-overhead", "max-autotune")


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run, the model's config among them.

    Attributes:
        config: the model.
        epochs: passes over the training split, at most.
        batch_size: images a step, over all processes; an incomplete last batch is left out.
        optimizer: "adam", "adamw" or "sgd" (Nesterov momentum 0.9).
        lr: learning rate, for "onecycle" the highest.
        weight_decay: not applied to biases and norms.
        schedule: "constant"; "onecycle" (cosine up over the first 30 % of the steps, cosine down to zero); "plateau"
            (times 0.75 whenever the score has not improved for 6 epochs); "keras_plateau", "inverse_time" or
            "two_phases", see `ferlib.training.schedules`.
        augment: see `ferlib.data.augmentation.augmentation`.
        targets: "hard" (class labels) or "soft" (vote shares, FERPlus).
        max_grad_norm: the network's gradients, not a method's own, are scaled down to this norm, or None.
        teacher: a trained model (a released name or a folder) whose answers for the training faces are mixed into the
            targets, or several, joined by commas, or None; see `ferlib.training.distillation`.
        teacher_fraction: of the teachers' answers in the targets, 0..1.
        seed: of initialisation (by `fit_phases`; `fit` takes a network that is there), order and augmentation.
        method: what a step minimises, a key of `ferlib.training.methods.METHODS`: "plain", or a method against class
            imbalance or noisy labels. "soft_labels" means soft targets, whatever `targets` says.
        method_settings: the method's own, by name; those that are left out are as in its paper.
        sam_rho: ρ of sharpness-aware minimisation, e.g. 0.05, around whatever the method minimises, or None; see
            `ferlib.training.sam`. A step takes twice the time.
        ema_decay: decay a step of the exponential moving average of the weights, e.g. 0.999, or None. The EMA model
            is the one judged and kept. The decay rises to this value (timm's warm-up: 1 - step^(-2/3)).
        patience: the run ends after this many epochs without a new best, or None.
        patience_on: what `patience` watches: "score" (what selects the epoch) or "train_accuracy" (the fraction of
            right answers in the steps of the epoch, with augmentation and dropout).
        least_gain: by more than this must a new best be better than the last, for `patience` and, if that watches the
            score, for the epoch that is kept, as Keras's EarlyStopping counts.
        after: name of the recipe from whose best epoch this one starts, see `ferlib.training.phases`, or None.
        first_epoch: number of the first epoch: counts in `epochs` and in the schedule. `fit_phases` sets it.
        protocol: "honest": the epoch is chosen on the validation split, and a model that mixes the faces of a batch is
            judged one face at a time. "published": it is chosen on the *test* split in class-sorted batches of the
            training's size, as the code of Conv-cut does; no figure of such a run says how good the model is.
        precision: of forward and backward pass: "float32", "bfloat16" (autocast), or "auto", bfloat16 on a GPU. Some
            processors have no instructions for bfloat16 and take many times as long with it, with a warning.
        compile: mode of torch.compile for the training step, or "no".

    Raises:
        ValueError: a field is not of its type, or its value is impossible; the message names it.
    """

    config: ModelConfig = field(default_factory=ConvCutConfig)
    epochs: int = 50
    batch_size: int = 16
    optimizer: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    augment: str = "flip"
    targets: str = "hard"
    max_grad_norm: float | None = None
    teacher: str | None = None
    teacher_fraction: float = 0.5
    seed: int = 0
    method: str = "plain"
    method_settings: Mapping[str, Any] = field(default_factory=dict)
    sam_rho: float | None = None
    ema_decay: float | None = None
    patience: int | None = None
    patience_on: str = "score"
    least_gain: float = 0.0
    after: str | None = None
    first_epoch: int = 0
    protocol: str = "honest"
    precision: str = "auto"
    compile: str = "no"

    def __post_init__(self) -> None:
        check_types(self)
        for name, allowed in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("targets", TARGETS),
            ("augment", AUGMENTATIONS),
            ("method", tuple(METHODS)),
            ("patience_on", PATIENCE_ON),
            ("protocol", PROTOCOLS),
            ("precision", PRECISIONS),
            ("compile", COMPILE_MODES),
        ):
            if getattr(self, name) not in allowed:
                raise UserError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        check_range(self, 0, math.inf, "lr", "max_grad_norm", "sam_rho", exclusive=True)
        check_range(self, 1, math.inf, "epochs", "batch_size", "patience")
        check_range(self, 0, math.inf, "weight_decay", "least_gain")
        check_range(self, 0, 2**32 - 1, "seed")
        check_range(self, 0, self.epochs - 1, "first_epoch")
        check_range(self, 0, 1, "ema_decay", exclusive=True)
        check_range(self, 0, 1, "teacher_fraction")
        if (self.teacher or self.target_kind == "soft") and METHODS[self.method].hard_only:
            raise UserError(f"the method {self.method} needs one true class a face: hard targets, no teacher")
        if self.batch_size % METHODS[self.method].group:
            group = METHODS[self.method].group
            raise UserError(f"the method {self.method} needs a batch_size that is a multiple of {group}")

        chosen = method_settings(self.method, self.method_settings)
        if self.batch_size < chosen.least_batch:
            raise UserError(f"the method {self.method} needs a batch of at least {chosen.least_batch} faces")
        object.__setattr__(self, "method_settings", asdict(chosen))  # every one, to be saved with the run

    @property
    def target_kind(self) -> str:
        """Targets read from the data, "hard" or "soft": the method's, where it asks for some, else `targets`."""
        return METHODS[self.method].targets or self.targets

    @property
    def kept_gain(self) -> float:
        """See `ferlib.evaluation.kept_epoch.kept_gain`."""
        return kept_gain(self.patience_on, self.least_gain)

    def to_json(self) -> dict:
        """For a result's file."""
        return asdict(self)

    def override(self, settings: dict[str, Any]) -> "Recipe":
        """A copy with some fields changed, of the recipe itself, its model config or its method's settings.

        With another method, settings of the one before are forgotten. With another `architecture` (of the same config)
        come the settings by which the registry's two entries differ; those that are given stand above them.

        Raises:
            ValueError: none has such a field, or the value is impossible.
        """
        method = settings.get("method", self.method)
        if not isinstance(method, str):
            raise UserError(f"method must be a word, not {method!r}")
        own = {f.name for f in fields(self)} - {"config", "method_settings"}
        model = {f.name for f in fields(self.config)}
        of_method = {f.name for f in fields(METHODS[method].Settings)} if method in METHODS else set()
        unknown = sorted(settings.keys() - own - model - of_method)
        if unknown:
            raise UserError(f"no setting {', '.join(unknown)}; there are {', '.join(sorted(own | model | of_method))}")
        alike = [name for name, entry in MODELS.items() if type(entry.config) is type(self.config)]
        if "architecture" in settings and settings["architecture"] not in alike:
            raise UserError(f"architecture must be one of {', '.join(alike)}; for others there are other recipes")
        of_name = differing_settings(self.config.architecture, settings.get("architecture", self.config.architecture))
        config = replace(self.config, **of_name | {key: value for key, value in settings.items() if key in model})
        kept = dict(self.method_settings) if method == self.method else {}
        kept |= {key: value for key, value in settings.items() if key in of_method}
        changed = {key: value for key, value in settings.items() if key in own}
        return replace(self, config=config, method_settings=kept, **changed)


PUBLISHED = MODELS["convcut_published"].config

# The released model: a small backbone, fine-tuned on the votes. Its 7x7 map leaves the attention 2x2 positions after
# one detail layer; after two it would be a single one, with nothing to attend to. It was trained with ImageNet's mean
# and std, where its backbone was pretrained with 0.5: fine-tuned whole, it has learnt them.
CONVCUT_FERPLUS = Recipe(
    config=ConvCutConfig(
        backbone="tf_efficientnet_lite0",
        freeze_backbone=False,
        detail_layers=1,
        input_size=112,
        downscale_to=48,
        grey=True,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    ),
    epochs=10,
    batch_size=64,
    optimizer="adamw",
    lr=2e-3,
    weight_decay=0.02,
    schedule="onecycle",
    augment="flip_affine_erase",
    targets="soft",
    max_grad_norm=5.0,
)


# PAtt-Lite's head, trained in one run of two phases with its own batch size of 8. Its second phase trains the backbone
# too, or not, depending on the version of Keras (see pattlite.py), with more dropout; here the backbone stays frozen,
# and the dropout as it was. Its notebook also starts the second phase from the first one's best epoch, leaves the class
# weights out there, and may go on for 500 epochs; here there are 60 in all, with class weights.
PATTLITE = Recipe(
    config=PAttLiteConfig(),
    epochs=60,
    batch_size=8,
    schedule="two_phases",
    max_grad_norm=3.0,
    method="weights",
)

# IVSA, section IV.B: SGD with Nesterov momentum 0.9, rate 0.01, weight decay 1e-4, plateau schedule, 100 epochs. The
# batch size and the plateau's constants are those of its reference [21]. Evaluate with ten crops.
IVSA = Recipe(
    config=IVSAConfig(),
    epochs=100,
    batch_size=64,
    optimizer="sgd",
    lr=0.01,
    weight_decay=1e-4,
    schedule="plateau",
    augment="ivsa",
)


def at_ivsa_size(config: ModelConfig) -> ModelConfig:
    """The config of another network for what IVSA sees: crops of 40 px from faces of 48 px, ten in evaluation."""
    return replace(config, input_size=40, downscale_to=48, centre_crop=True)


RECIPES = {
    # Conv-cut, section 4.1: batch 16, 50 epochs, Adam 1e-3, horizontal flip, frozen backbone
    "convcut": Recipe(),
    # The code its authors ran, in two phases; everything is chosen on the *test* accuracy in class-sorted batches. The
    # first, with a layer norm and class weights, ends when that accuracy stalls.
    "convcut_published_phase1": Recipe(
        config=PUBLISHED,
        epochs=100,
        schedule="keras_plateau",
        augment="flip_contrast",
        max_grad_norm=3.0,
        method="weights",
        patience=5,
        least_gain=0.003,
        protocol="published",
    ).override({"detail_norm": "after", "dropout": 0.1, "head_dropout": 0.1}),
    # The second goes on from its best epoch without the layer norm and the class weights, with more dropout and a new
    # optimiser, up to epoch 60 or until the *training* accuracy stalls. The layer of the backbone that it unfreezes is
    # a layer norm, which the code freezes again: the backbone stays frozen.
    "convcut_published": Recipe(
        config=PUBLISHED,
        epochs=60,
        lr=1e-5,
        schedule="inverse_time",
        augment="flip_contrast",
        max_grad_norm=3.0,
        patience=20,
        patience_on="train_accuracy",
        least_gain=0.003,
        after="convcut_published_phase1",
        protocol="published",
    ),
    # PAtt-Lite, honestly and as published
    "pattlite": PATTLITE,
    "pattlite_published": replace(
        PATTLITE, config=MODELS["pattlite_published"].config, augment="flip_contrast", protocol="published"
    ),
    "ivsa": IVSA,
    # The networks of IVSA's table I, from scratch, on crops of the same size, trained in the same way
    **{
        name: replace(IVSA, config=at_ivsa_size(MODELS[name].config))
        for name in ("vgg16", "resnet18", "googlenet", "inception_v3")
    },
    # The released one: half as wide, so that it fits a visitor's download and two processor cores; a one-cycle in place
    # of the plateau, which needs many more epochs; label smoothing, as FER2013's labels are often wrong.
    "ivsa_fer2013": Recipe(
        config=IVSAConfig(widths=(32, 64, 128, 256)),
        epochs=30,
        batch_size=64,
        optimizer="sgd",
        lr=0.05,
        weight_decay=5e-4,
        schedule="onecycle",
        augment="ivsa",
        method="label_smoothing",
        precision="bfloat16",
    ),
    # The rivals' heads, all trained alike, so that a difference is the head's: whole, on one backbone at 112 px. Their
    # authors' optimisers, epochs and backbones differ from each other, and every one chose its epoch on test.
    **{
        name: replace(
            CONVCUT_FERPLUS,
            config=replace(MODELS[model].config, freeze_backbone=False),  # type: ignore[call-arg]
            lr=1e-3,
            targets="hard",
            method=method,
        )
        for name, model, method in (
            ("ddamfn", "ddamfn", "ddamfn"),
            ("apvit", "apvit", "plain"),
            ("two_depth_vit", "two_depth_vit", "plain"),
            ("vtff", "vtff", "plain"),
            ("qcs", "two_depth_vit", "qcs"),
        )
    },
    "convcut_ferplus": CONVCUT_FERPLUS,
    # The most accurate one: goes on from the backbone of the one above with more pixels, a part of its answers beside
    # the votes, averaged weights, both sides of every face; a mild logit adjustment for the rare classes, its τ the
    # best by macro-F1 on the validation faces of the one above.
    "convcut_ferplus_mirror": CONVCUT_FERPLUS.override(
        {
            "input_size": 128,
            "flip_tta": True,
            "epochs": 9,
            "lr": 1e-3,
            "teacher": "convcut_ferplus",
            "teacher_fraction": 0.3,
            "method": "logit_adjusted_posthoc",
            "tau": 0.2,
            "ema_decay": 0.998,
            "precision": "bfloat16",
        }
    ),
    # Beside them, on the same backbone kept frozen: the head alone, and a linear probe
    "convcut_ferplus_frozen": Recipe(
        config=ConvCutConfig(backbone="tf_efficientnet_lite0", input_size=112, downscale_to=48, grey=True),
        epochs=20,
        batch_size=64,
        schedule="onecycle",
        targets="soft",
    ),
    "linear_probe_ferplus": Recipe(
        config=ConvCutConfig(
            architecture="linear_probe",
            backbone="tf_efficientnet_lite0",
            detail_layers=0,
            attention="none",
            dropout=0.0,
            input_size=112,
            downscale_to=48,
            grey=True,
        ),
        epochs=20,
        batch_size=64,
        schedule="onecycle",
        targets="soft",
    ),
}


def read_recipe(file: Path) -> Recipe:
    """A recipe from JSON: the recipe.json of a run, or a file of one's own; fields that it leaves out are the defaults.

    {"config": {"architecture": "convcut", "width": 128}, "epochs": 20}

    Raises:
        UserError: there is no such file, it is not JSON, or a field or value is impossible.
    """
    try:
        written = json.loads(file.read_text())
        entry = MODELS[written.get("config", {}).get("architecture", "convcut")]
        fields = renamed_fields(written, vars(entry.config).keys() - vars(Recipe(entry.config)).keys())
        config = dict(fields.pop("config", {}))
        config.pop("architecture", None)
        changes: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in config.items()}
        return Recipe(replace(entry.config, **changes), **fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{file} is not a recipe ({error})") from error


def fitted_config(config: ModelConfig, data: FaceDataset) -> ModelConfig:
    """The config for this data: its classes; grey where the pictures are; not made of more pixels than they have.

    In training on this data the network sees the same; later it is not given more than it was trained on.
    """
    side = data.pixels.shape[-1]
    source = config.downscale_to or (side if side < config.input_size else None)
    grey = config.grey or data.pixels.shape[1] == 1
    return replace(config, classes=data.classes, grey=grey, downscale_to=source)


def fitted_recipe(recipe: Recipe, data: FaceDataset, settings: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe with its config fitted to this data, see `fitted_config`, but as the settings have it where they say.

    Args:
        recipe: to be fitted.
        data: to be trained on.
        settings: fields of the recipe that somebody set, see `Recipe.override`.
    """
    said = {name: value for name, value in (settings or {}).items() if name in ("grey", "downscale_to")}
    return replace(recipe, config=fitted_config(recipe.config, data)).override(said)
