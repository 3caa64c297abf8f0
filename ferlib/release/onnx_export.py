"""A trained model as one ONNX file, for programs that have neither PyTorch nor this library."""

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ferlib.errors import RunError
from ferlib.explain.cam import predict_with_cam
from ferlib.explain.methods import methods_of
from ferlib.models.base import FaceModel, evaluating
from ferlib.models.preprocess import Preprocess
from ferlib.release.gradcam_graph import TRACED, trace
from ferlib.release.onnx_int8 import store_in_int8
from ferlib.runtime.session import open_session
from ferlib.utils.atomic import atomic_write, require_writable
from ferlib.utils.devices import device_of

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

TOLERANCE = 1e-4  # largest difference of a logit to PyTorch that rounding explains
HOW_TO_USE = """\
Input "image": float32 (batch, channels, input_size, input_size). Output "logits": float32 (batch, classes); softmax of
logits / `temperature` is the probabilities of `classes`. Output "heatmap": float32 (batch, input_size, input_size), 0
to 1: Grad-CAM of the most probable class, over the model's input; all 0 where nothing speaks for that class.
Faces are square crops, RGB or grey, 0..255, prepared by `preprocessing`:
divide by 255; if `grey`, 0.299 R + 0.587 G + 0.114 B; if `downscale_to`, resize to that side; then take the middle
(`centre_crop`) or resize to `input_size`; repeat a single channel as often as `mean` has numbers; subtract `mean` and
divide by `std`, channel by channel. To resize is bilinear, antialiased where it shrinks."""


def export_onnx(model: FaceModel, path: Path) -> Path:
    """Write a model, as it is in evaluation mode, as one self-contained ONNX file.

    Input "image" (batch, channels, input_size, input_size), outputs "logits" (batch, classes) and "heatmap" (batch,
    input_size, input_size), the Grad-CAM of the most probable class; all float32, the batch of any size. The file's
    metadata are JSON: `architecture`, `classes` in the order of the logits, `temperature`, `preprocessing` (the fields
    of `ferlib.models.preprocess.Preprocess`), `mixes_batch` and `methods` (the explanations that the model allows where
    PyTorch is); its doc string says in words how to use them.

    A model with attention over the batch (`attention="batch"`) is exported as it is: its logits depend on the other
    images of the batch in the file too, and for one image alone that attention does nothing.

    Args:
        model: trained; the modes of its modules and its parameters are the same afterwards, also after a failure.
        path: the file; folders above it are made, and the file is written whole or not at all.

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written.
        RuntimeError: the model cannot be expressed in ONNX, or not with a batch of any size.
        ImportError: onnx or onnxscript is missing.
    """
    path = Path(path)
    try:
        require_writable(path)  # found out before the work
        with atomic_write(path) as partial:
            _program(model).save(partial, external_data=False)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error})") from error
    return path


def largest_difference(model: FaceModel, path: Path, faces: np.ndarray) -> float:
    """The largest absolute difference of a logit or of a heat map between a model and its exported file.

    Args:
        model: the one that was exported; its modes are the same afterwards.
        path: the file.
        faces: (N, H, W) or (N, H, W, 3) uint8, run in one batch, and the first of them once more alone.

    Returns:
        The difference; not a number if a logit is not.

    Raises:
        ValueError: the file is not there or not a readable ONNX file.
        ImportError: onnxruntime is missing.
    """
    session = open_session(path, torch.get_num_threads())
    pixels = torch.from_numpy(faces)
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    images = Preprocess.of(model.config)(pixels)
    differences = []
    for batch in (images, images[:1]):
        found = session.run(["logits", "heatmap"], {"image": batch.contiguous().numpy()})
        predicted = torch.from_numpy(found[0].argmax(axis=1))
        expected = predict_with_cam(model, batch.to(device_of(model)), targets=predicted)
        differences += [np.abs(one - two.cpu().numpy()).max() for one, two in zip(found, expected, strict=True)]
    return float(np.max(differences))


def _program(model: FaceModel) -> "ONNXProgram":
    """The model as an ONNX program with its metadata, in memory."""
    config, device = model.config, device_of(model)
    images = torch.zeros(TRACED, config.channels, config.input_size, config.input_size, device=device)
    with evaluating(model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch about PyTorch
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            graph = trace(model, images)
            program = torch.onnx.export(
                graph,
                (images,),
                dynamo=True,
                input_names=["image"],
                output_names=["logits", "heatmap"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        except Exception as error:  # every layer of PyTorch's tracing has exceptions of its own
            cause = str(error.__cause__ or error).partition("\n")[0]
            raise RunError(f"{config.architecture} cannot be expressed in ONNX ({cause})") from error
    assert program is not None  # the new exporter always returns one
    shape = program.model.graph.inputs[0].shape
    if shape is None or isinstance(shape[0], int):
        raise RunError(f"{config.architecture} takes batches of one size only and is not exported")
    for node in program.model.graph:
        node.metadata_props.clear()  # where in whose folders it was made
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = value.type = None  # found out again by whoever opens the file
    store_in_int8(program)
    program.model.doc_string = HOW_TO_USE
    program.model.metadata_props.update(
        architecture=json.dumps(config.architecture),
        classes=json.dumps(config.classes),
        temperature=json.dumps(config.temperature),
        mixes_batch=json.dumps(model.mixes_batch),
        methods=json.dumps(methods_of(model)),
        preprocessing=json.dumps(asdict(Preprocess.of(config))),
    )
    return program
