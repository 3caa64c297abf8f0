"""Turning a trained run into a released model: measuring, ONNX export, model card."""
