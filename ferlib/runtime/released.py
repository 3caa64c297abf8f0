"""Find released models and model folders by name, without PyTorch."""

import json
import re
from pathlib import Path

from ferlib.errors import UserError

WEIGHTS = Path(__file__).parents[1] / "weights"
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)  # "owner/name"; a plain word is never asked of the hub


def released_models() -> dict[str, Path]:
    """Trained models that come with the package, name -> folder."""
    return {path.parent.name: path.parent for path in sorted(WEIGHTS.glob("*/config.json"))}


def models_of_their_own() -> list[str]:
    """Names of the released models that are not another form of one: the same network, in eight bits say."""
    notes = {name: json.loads((folder / "training.json").read_text()) for name, folder in released_models().items()}
    return [name for name, training in notes.items() if "form_of" not in training]


def released_onnx(name_or_dir: str | Path) -> Path | None:
    """Path of a released model's model.onnx (`ferlib.release.onnx_export`), or None where it has none.

    Of a folder too, where `ferlib release` made it or where it is the only form of the model. Beside weights that
    `save_pretrained` wrote, nothing says that the two belong together.
    """
    folder = released_models().get(str(name_or_dir), Path(name_or_dir))
    if not (folder / "model.onnx").is_file():
        return None
    belongs = (folder / "training.json").is_file() or not (folder / "model.safetensors").is_file()
    return folder / "model.onnx" if belongs else None


def model_folder(name_or_dir: str | Path) -> Path:
    """The folder of a trained model.

    Args:
        name_or_dir: a released model's name, a folder written by `ferlib release` or `save_pretrained`, or "owner/name"
            on the Hugging Face hub, from where it is downloaded if it is not in the hub's cache.

    Raises:
        UserError: there is no such model.
    """
    name = str(name_or_dir)
    folder = released_models().get(name, Path(name_or_dir).expanduser())
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise UserError(f"{name} is a file; a model is given by its folder, here {folder.parent}")
    reason = ""
    if _HUB_NAME.fullmatch(name):
        try:
            from ferlib.runtime.hub import hub_folder

            return hub_folder(
                name, ["config.json", "model.safetensors"], ["model.onnx", "training.json", "conformal.json"]
            )
        except ImportError:
            reason = ", which needs huggingface_hub: pip install 'ferlib[lab]'"
        except OSError as error:
            reason = f" ({error})"
    raise UserError(
        f"no model {name!r}: expected one of {', '.join(released_models())}, a folder with config.json and "
        f"model.safetensors, or owner/name on the Hugging Face hub{reason}"
    )
