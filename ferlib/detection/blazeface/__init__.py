"""BlazeFace, run by onnxruntime: where the faces of a picture are, and their eyes, nose, mouth and ears.

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019. The weights are those of
MediaPipe's short-range model (Apache-2.0); README.md beside this file says where they come from and how they were
converted. MediaPipe shows the network 128 x 128 pixels. All its layers are convolutions, and here it may see a picture
of any size.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferlib.runtime.session import OnnxModel

STRIDES = (8, 16)  # pixels between two cells of the two pairs of maps
SMALLEST, LARGEST = 26, 112  # sides of faces, in pixels, that the network is sure to see
_MODEL = OnnxModel(Path(__file__).with_name("blazeface.onnx"))
_SAME = 0.3  # boxes whose IoU with the best one is higher are the same face


class Detections(NamedTuple):
    """Faces, the surest first; coordinates are x, y in pixels.

    Attributes:
        boxes: (N, 2, 2) upper left and lower right corners, from brows to chin.
        scores: (N,) in 0..1.
        keypoints: (N, 6, 2): the eye on the left and on the right of the picture, tip of the nose, middle of the mouth,
            ear on the left and on the right, of an upright face.
    """

    boxes: np.ndarray
    scores: np.ndarray
    keypoints: np.ndarray


def detect(pixels: np.ndarray, threshold: float = 0.5) -> Detections:
    """Find faces with sides of about `SMALLEST` to `LARGEST` pixels.

    Every face is the mean, weighted by the scores, of all boxes that overlap its best one (the paper's blending).

    Args:
        pixels: (H, W, 3) uint8 RGB; H and W are multiples of 16.
        threshold: the lowest score.
    """
    x = (pixels.transpose(2, 0, 1)[None] / np.float32(127.5)) - np.float32(1)
    maps = _MODEL.run([f"{kind}_{stride}" for stride in STRIDES for kind in ("scores", "boxes")], {"image": x})
    parts = [
        _above(logits, offsets, stride, threshold)
        for logits, offsets, stride in zip(maps[::2], maps[1::2], STRIDES, strict=True)
    ]
    scores, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    boxes = values[:, :1] + values[:, 1:2] * np.array([[-0.5], [0.5]])
    return _blended(Detections(boxes, scores, values[:, 2:]))


def _above(logits: np.ndarray, maps: np.ndarray, stride: int, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores (K,) and values (K, 8, 2), which are centre, size and keypoints in pixels, of the anchors that are sure.

    Args:
        logits: (1, A, h, w) for A anchors a cell.
        maps: (1, A * 16, h, w), relative to the middle of the cell.
        stride: pixels a cell.
        threshold: the lowest score.
    """
    _, anchors, height, width = logits.shape
    scores = 1 / (1 + np.exp(-logits[0].clip(-80, 80)))
    anchor, row, column = np.nonzero(scores > threshold)
    values = maps.reshape(anchors, 8, 2, height, width)[anchor, :, :, row, column]
    middle = (np.stack([column, row], axis=1) + 0.5) * stride
    values[:, [0, *range(2, 8)]] += middle[:, None].astype(values.dtype)  # all but the size
    return scores[anchor, row, column], values


def _blended(found: Detections) -> Detections:
    """One box a face (non-maximum suppression, with means in place of the best)."""
    left = np.argsort(-found.scores, kind="stable")
    kept = []
    while len(left):
        same = iou(found.boxes[left[0]], found.boxes[left]) > _SAME
        same[0] = True  # also a box without area
        group = left[same]
        weights = found.scores[group] / found.scores[group].sum()
        kept.append((np.tensordot(weights, found.boxes[group], 1), found.scores[left[0]],
                     np.tensordot(weights, found.keypoints[group], 1)))  # fmt: skip
        left = left[~same]
    if not kept:
        return Detections(np.empty((0, 2, 2)), np.empty(0), np.empty((0, 6, 2)))
    return Detections(*(np.stack(column) for column in zip(*kept, strict=True)))


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box (2, 2) with each of (N, 2, 2)."""
    common = (np.minimum(box[1], boxes[:, 1]) - np.maximum(box[0], boxes[:, 0])).clip(0).prod(axis=1)
    together = (box[1] - box[0]).prod() + (boxes[:, 1] - boxes[:, 0]).prod(axis=1) - common
    return common / np.maximum(together, 1e-9)
