"""Pictures of notebooks made smaller: charts stay PNGs, faces become JPEGs without steps in their shades."""

import base64
import io
import runpy
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ferlib.synthetic.render import sample_face

shrunk = runpy.run_path(str(Path(__file__).parents[1] / "notebooks" / "shrink.py"))["shrunk"]


def png(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()


def pixels(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")).astype(float)


def test_faces_become_jpegs_that_look_alike():
    rows = [
        np.concatenate([sample_face(name, np.random.default_rng(i), 200).pixels for i in range(4)], axis=1)
        for name in ("happiness", "surprise")
    ]
    before = png(Image.fromarray(np.concatenate(rows)))
    kind, after = shrunk(before)
    assert kind == "image/jpeg" and len(after) < len(before) / 4
    assert np.abs(pixels(before) - pixels(after)).mean() < 4


def test_charts_stay_pngs():
    chart = Image.new("RGB", (600, 400), "white")
    ImageDraw.Draw(chart).line([(10, 390), (300, 50), (590, 200)], fill="#0072b2", width=3)
    before = png(chart)
    kind, after = shrunk(before)
    assert kind == "image/png" and len(after) < len(before)
    np.testing.assert_array_equal(pixels(before), pixels(after))
