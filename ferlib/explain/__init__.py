"""Chapter 6: what the model looked at, and whether the picture of it can be believed."""

CAMS = ("gradcam", "gradcam++", "hirescam", "layercam", "eigencam", "scorecam")  # cam.py
SALIENCIES = ("gradient", "smoothgrad", "integrated_gradients")  # saliency.py

#: Every way to explain a prediction; the last is for models with spatial or token attention.
METHODS = (*CAMS, *SALIENCIES, "attention")
