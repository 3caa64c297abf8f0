"""ONNX files of models with weights in eight bits: as small, and the same answers."""

import onnx
import pytest
import torch

from ferlib.models.int8 import dequantised, quantised
from ferlib.models.registry import create_model
from ferlib.release.onnx_export import TOLERANCE, export_onnx, largest_difference
from ferlib.release.onnx_int8 import exact_steps
from ferlib.synthetic.render import sample_faces

PROBE = {"backbone": "mobilenetv1_100", "keep_stages": 3, "input_size": 64}


@pytest.mark.parametrize("flip_tta", [False, True])
def test_weights_in_eight_bits_stay_so_in_the_file(tmp_path, flip_tta):
    torch.manual_seed(0)
    model = create_model("linear_probe", flip_tta=flip_tta, **PROBE).eval()
    whole = export_onnx(model, tmp_path / "whole.onnx").stat().st_size
    model.load_state_dict(dequantised(quantised(model.state_dict())))
    small = export_onnx(model, tmp_path / "small.onnx")
    assert small.stat().st_size < 0.35 * whole
    faces, _, _ = sample_faces(1, size=64)
    assert largest_difference(model, small, faces) <= TOLERANCE
    kinds = {tensor.data_type for tensor in onnx.load(tmp_path / "whole.onnx").graph.initializer}
    assert onnx.TensorProto.INT8 not in kinds


def test_steps_and_scales_are_found_along_any_axis_and_only_where_they_are():
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    assert exact_steps(weight) is None and exact_steps(weight[0]) is None
    stored = quantised({"weight": weight})
    exact = dequantised(stored)["weight"]
    for turned, axis in ((exact, 0), (exact.T.contiguous(), 1)):
        steps, scale = exact_steps(turned)
        assert steps.dtype == torch.int8 and scale.shape == tuple(6 if i == axis else 1 for i in range(2))
        assert torch.equal(steps if axis == 0 else steps.T, stored["weight"])
    assert torch.allclose(steps * scale, turned, rtol=0, atol=1e-6 * float(exact.abs().max()))
    nudged = exact.clone()
    nudged[2, 3] += 1e-3
    assert exact_steps(nudged) is None
