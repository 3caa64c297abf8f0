"""Released models as ONNX graphs, run without PyTorch."""
