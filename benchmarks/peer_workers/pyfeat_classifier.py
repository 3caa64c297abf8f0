"""`py-feat`: the emotion step of its `Detector` (ResMaskNet) on a face that fills its picture.

The detector downloads all its models at once, so its step is repeated with its own functions: the box grown by a tenth,
224 pixels, softmax. Given weights: ResMaskNet_Z_resmasking_dropout1_rot30.pth.
"""

import numpy as np
import torch
from feat.emo_detectors.ResMaskNet.resmasknet_test import ResMasking
from feat.utils.image_operations import extract_face_from_bbox_torch
from serve import SIDE, given_weights, serve
from torch import nn

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def main() -> None:
    torch.set_num_threads(1)
    weights = given_weights()
    model = ResMasking("", in_channels=3)
    model.fc = nn.Sequential(nn.Dropout(0.4), nn.Linear(512, len(CLASSES)))
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True)["net"])
    model.eval()

    @torch.inference_mode()
    def predict(faces: np.ndarray) -> np.ndarray:
        pictures = torch.from_numpy(faces)[:, None].expand(-1, 3, -1, -1) / 255
        boxes = torch.tensor([[0.0, 0.0, SIDE, SIDE]]).expand(len(faces), -1)
        cut, _ = extract_face_from_bbox_torch(
            pictures, boxes, expand_bbox=1.1, face_size=224, frame_idx=torch.arange(len(faces))
        )
        return model(cut).softmax(dim=1).numpy()

    serve(predict, CLASSES, ("py-feat", "torch"), weights, batches=True)


if __name__ == "__main__":
    main()
