"""A released model with numpy, Pillow and onnxruntime alone: this file does not import ferlib.

    python examples/plain_onnxruntime.py [MODEL.onnx] [FACE.png]

The picture must be a face, cut out and square. All that is needed to prepare it stands in the model's metadata, and in
words in its doc string.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: else official builds report to their maker
import onnxruntime

WEIGHTS = Path(__file__).parents[1] / "ferlib" / "weights"
path = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS / "convcut_ferplus" / "model.onnx"

session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
notes = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
settings = notes["preprocessing"]


def resized(picture: Image.Image, side: int) -> Image.Image:
    return picture.resize((side, side), Image.Resampling.BILINEAR)


face = Image.open(sys.argv[2]) if len(sys.argv) > 2 else Image.effect_noise((48, 48), 60)
face = face.convert("L" if settings["grey"] else "RGB")
if settings["downscale_to"]:
    face = resized(face, settings["downscale_to"])
if settings["centre_crop"]:
    edge = (face.width - settings["input_size"]) // 2
    face = face.crop((edge, edge, face.width - edge, face.height - edge))
face = resized(face, settings["input_size"])

pixels = np.asarray(face, np.float32) / 255  # (H, W) or (H, W, 3)
channels = len(settings["mean"])
image = np.repeat(pixels[None], channels, axis=0) if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
mean, std = (np.array(settings[name], np.float32)[:, None, None] for name in ("mean", "std"))

logits, heatmap = session.run(["logits", "heatmap"], {"image": ((image - mean) / std)[None].astype(np.float32)})
powers = np.exp((logits[0] - logits[0].max()) / notes["temperature"])
for name, probability in sorted(zip(notes["classes"], powers / powers.sum(), strict=True), key=lambda pair: -pair[1]):
    print(f"{name:10} {probability:.3f}")
print(
    "Grad-CAM of the first class:",
    heatmap.shape,
    "highest at row, column",
    np.unravel_index(heatmap[0].argmax(), heatmap[0].shape),
)
