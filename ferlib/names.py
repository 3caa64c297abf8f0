"""Names that readers see, for those that code has."""

#: How data sets, models, backbones, metrics and tables are called where a reader sees them; others by their own names.
NAMES = {
    "ferplus": "FERPlus",
    "ferplus_most_votes": "FERPlus by most votes",
    "fer2013": "FER2013",
    "fer2013_folders": "FER2013, split otherwise",
    "rafdb": "RAF-DB",
    "ckplus": "CK+",
    "convcut": "Conv-cut",
    "pattlite": "PAtt-Lite",
    "ivsa": "IVSA",
    "convcut_ferplus": "Conv-cut",
    "convcut_ferplus_mirror": "Conv-cut, both sides",
    "ivsa_fer2013": "IVSA",
    "mobilenetv1_100": "MobileNetV1",
    "tf_efficientnet_lite0": "EfficientNet-Lite0",
    "convnext_nano": "ConvNeXt-Nano",
    "convnext_base": "ConvNeXt-Base",
    "methods": "fine-tuned host",
    "methods-frozen": "frozen host",
    "methods-noise": "fine-tuned host, wrong labels",
    "methods-frozen-noise": "frozen host, wrong labels",
    "onecycle": "one cycle",
    "ldam": "LDAM",
    "class_balanced": "class-balanced weights",
    "logit_adjusted": "logit adjustment, in the loss",
    "logit_adjusted_posthoc": "logit adjustment, after it",
    "cbam": "CBAM",
    "sab": "SAB",
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "hirescam": "HiResCAM",
    "layercam": "Layer-CAM",
    "eigencam": "Eigen-CAM",
    "scorecam": "Score-CAM",
    "smoothgrad": "SmoothGrad",
    "tsne": "t-SNE",
    "pca": "PCA",
    "umap": "UMAP",
    "macro_f1": "macro-F1",
    "recall_rarest": "recall of the rarest",
    "ece": "calibration error",
    "ece_uncalibrated": "calibration error without temperature",
}


def display_name(name: object) -> str:
    """A data set, model, backbone, method or metric as figures, tables and menus call it."""
    return NAMES.get(str(name), str(name).replace("_", " "))


def counted(number: int, noun: str) -> str:
    """A number and what it counts: "1 face", "1,200 faces"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
