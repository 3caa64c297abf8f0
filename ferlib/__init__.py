"""ferlib: the reference lab for facial expression recognition.

What an analyst needs stands here by name; the rest is in the subpackages, one a chapter: `data`, `models`, `training`,
`evaluation`, `explain`, and `plots` for figures.

    import ferlib
    ferlib.Predictor.load().predict("photo.jpg")        # every face with its expression
    model, data = ferlib.load_model("convcut_ferplus"), ferlib.load_dataset("ferplus")
    ferlib.evaluate(model, data)                        # metrics with intervals, every face alone
    ferlib.audit(model, data).verdict                   # can the figure be believed?

`import ferlib` is cheap: nothing heavy (torch, gradio, pandas, plotly) is loaded until a name is used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

# public name -> module that defines it; loaded on first use (PEP 562)
_HOME = {
    # photos
    "Predictor": "ferlib.predict",
    "detect_faces": "ferlib.detection.faces",
    "find_landmarks": "ferlib.detection.landmarks",
    "crop_face": "ferlib.detection.crop",
    "read_image": "ferlib.images",
    "to_frame": "ferlib.results",
    "predict_table": "ferlib.bulk.run",
    # films
    "VideoPredictor": "ferlib.video.predictor",
    # data
    "FaceDataset": "ferlib.data.dataset",
    "load_dataset": "ferlib.data.registry",
    # models
    "list_models": "ferlib.models.registry",
    "create_model": "ferlib.models.registry",
    "build_model": "ferlib.models.registry",
    "load_model": "ferlib.models.registry",
    "export_onnx": "ferlib.release.onnx_export",
    # training
    "RECIPES": "ferlib.training.recipes",
    "Recipe": "ferlib.training.recipes",
    "fit": "ferlib.training.loop",
    # evaluation
    "ExternalModel": "ferlib.evaluation.external_model",
    "predict_dataset": "ferlib.evaluation.evaluate",
    "evaluate": "ferlib.evaluation.evaluate",
    "audit": "ferlib.evaluation.audit",
    "compare": "ferlib.evaluation.compare",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ferlib' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
