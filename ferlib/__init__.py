"""ferlib: the reference lab for facial expression recognition.

`import ferlib` is cheap: nothing heavy (torch, gradio, dlib, plotly) is loaded until a name is used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# public name -> module that defines it; loaded on first use (PEP 562)
_HOME = {
    "FaceDataset": "ferlib.data.dataset",
    "load_dataset": "ferlib.data.catalogue",
    "create_model": "ferlib.models.zoo",
    "list_models": "ferlib.models.zoo",
    "load_model": "ferlib.models.zoo",
    "Predictor": "ferlib.predict",
    "detect_faces": "ferlib.faces",
    "read_image": "ferlib.images",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ferlib' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
