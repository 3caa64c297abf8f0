"""Rasterise synthetic faces: a camera that looks at the head, and a canvas of smooth polygons.

Polygons are filled with Pillow at several times the resolution and averaged, so that their edges are smooth.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ferlib.synthetic.parameters import Scene

SKIN_SHADOW = np.array((0.85, 1.0, 1.05), np.float32)
Window = tuple[slice, slice]  # rows and columns of a part of the picture


class Camera:
    """Maps face units to pixels and back: turns the head, then places it in the picture.

    Args:
        scene: pose, shift and scale.
        size: height and width of the picture in pixels.
    """

    def __init__(self, scene: Scene, size: int):
        self.size = size
        self.scale = scene.scale * size / 2  # pixels a face unit
        self.middle = size / 2 * (1 + np.array(scene.shift)) + (0, 0.01 * size)
        yaw, pitch, roll = np.radians((scene.yaw, scene.pitch, scene.roll))
        self.sin, self.cos = np.sin((yaw, pitch)), np.cos((yaw, pitch))
        self.roll = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
        self._grids: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    @staticmethod
    def depth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Depth of a point of the face, from the axis the head turns about, in face units."""
        head = np.maximum(0.35 - 0.455 * x * x - 0.175 * y * y, -0.25)
        nose = 0.14 * np.exp(-((x / 0.12) ** 2) - ((y - 0.15) / 0.18) ** 2)
        return head + nose - 0.2

    def project(self, points: np.ndarray) -> np.ndarray:
        """Face units (n, 2) to pixels (n, 2)."""
        depth = self.depth(points[:, 0], points[:, 1])
        turned = points * self.cos + depth[:, None] * self.sin
        return turned @ self.roll * self.scale + self.middle

    def grid(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Face units x, y, each (size, size), at the pixels of a picture of that size: `project` undone."""
        if size not in self._grids:
            self._grids[size] = self._unproject(size)
        return self._grids[size]

    def _unproject(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        centres = (np.arange(size, dtype=np.float32) + 0.5) * self.size / size
        pixels = np.stack(np.meshgrid(centres, centres), axis=-1)
        turned = (pixels - self.middle) / self.scale @ self.roll.T
        x, y = turned[..., 0], turned[..., 1]
        for _ in range(3):  # the depth is that of the point looked for: a fixed point
            depth = self.depth(x, y)
            x, y = (turned[..., axis] - depth * self.sin[axis] for axis in (0, 1))
            x, y = x / self.cos[0], y / self.cos[1]
        return x.astype(np.float32), y.astype(np.float32)


class Canvas:
    """A picture being painted. Shapes are lists of polygons (n, 2) in face units, drawn as one.

    Attributes:
        colour: float32 (size, size, 3), already multiplied by the opacity.
        opacity: float32 (size, size, 1).
    """

    def __init__(self, camera: Camera):
        self.camera, self.size = camera, camera.size
        self.colour = np.zeros((self.size, self.size, 3), np.float32)
        self.opacity = np.zeros((self.size, self.size, 1), np.float32)
        self.oversample = 4 if self.size <= 128 else 3
        self.stencil: np.ndarray | None = None  # (size, size, 1)

    def coverage(
        self, shapes: Sequence[np.ndarray], blur: float = 0.0, strengths: Sequence[float] | None = None
    ) -> tuple[Window, np.ndarray] | None:
        """The fraction of every pixel that the shapes cover.

        Args:
            shapes: polygons (n, 2) in face units.
            blur: standard deviation of a soft edge, in face units.
            strengths: a factor 0..1 for each shape; where shapes overlap the strongest counts.

        Returns:
            The window they lie in and its coverage (h, w, 1), 0..1; None when they lie outside the picture.
        """
        points, blur = self.camera.project(np.concatenate(shapes)), blur * self.camera.scale
        margin = int(2.5 * blur) + 2  # what lies further out than a blur reaches is cut off
        left, top = (max(int(low) - margin, -margin) for low in points.min(axis=0))
        right, bottom = (min(int(high) + margin, self.size + margin) for high in points.max(axis=0))
        if min(right, bottom) <= 0 or max(left, top) >= self.size or right <= left or bottom <= top:
            return None
        width, height = right - left, bottom - top
        sheet = Image.new("L", (width * self.oversample, height * self.oversample))
        pencil = ImageDraw.Draw(sheet)
        points = (points - (left, top)) * self.oversample - 0.5
        ends = list(accumulate(map(len, shapes)))
        strengths = [1.0] * len(shapes) if strengths is None else strengths
        for index in sorted(range(len(shapes)), key=strengths.__getitem__):
            outline = points[ends[index] - len(shapes[index]) : ends[index]]
            pencil.polygon(outline.ravel().tolist(), fill=round(255 * strengths[index]))
        sheet = sheet.reduce(self.oversample)
        if blur > 0.3:
            sheet = sheet.filter(ImageFilter.GaussianBlur(blur))
        inside = np.frombuffer(sheet.tobytes(), np.uint8).reshape(height, width, 1)
        inside = inside[max(-top, 0) : self.size - top, max(-left, 0) : self.size - left]
        window = slice(max(top, 0), min(bottom, self.size)), slice(max(left, 0), min(right, self.size))
        share = inside * np.float32(1 / 255)
        return window, share if self.stencil is None else share * self.stencil[window]

    def paint(
        self,
        shapes: Sequence[np.ndarray],
        colour: np.ndarray | tuple,
        opacity: float = 1.0,
        blur: float = 0.0,
    ) -> None:
        """Fills shapes with a colour (3,) or with what another picture (size, size, 3) has in their place."""
        if (covered := self.coverage(shapes, blur)) is None:
            return
        window, share = covered
        share = share * np.float32(opacity)
        colour = np.asarray(colour, np.float32)
        self.colour[window] += ((colour[window] if colour.ndim == 3 else colour) - self.colour[window]) * share
        self.opacity[window] += (1 - self.opacity[window]) * share

    def darken(self, shapes: Sequence[np.ndarray], darkness: float | Sequence[float], blur: float = 0.0) -> None:
        """Multiplies what lies under shapes by 1 - darkness, one for all or for each."""
        if isinstance(darkness, Sequence):
            covered, shadow = self.coverage(shapes, blur, darkness), SKIN_SHADOW
        else:
            covered, shadow = self.coverage(shapes, blur), darkness * SKIN_SHADOW
        if covered is not None:
            window, share = covered
            self.colour[window] *= 1 - share * shadow

    @contextmanager
    def inside(self, shapes: Sequence[np.ndarray]) -> Iterator[None]:
        """Restricts what is painted in the `with` block to these shapes."""
        stencil = np.zeros_like(self.opacity)
        if (covered := self.coverage(shapes)) is not None:
            window, share = covered
            stencil[window] = share
        self.stencil = stencil
        try:
            yield
        finally:
            self.stencil = None

    def mask(self, shapes: Sequence[np.ndarray]) -> np.ndarray:
        """Pixels (size, size) bool that lie at least half inside the shapes."""
        mask = np.zeros((self.size, self.size), bool)
        if (covered := self.coverage(shapes)) is not None:
            window, share = covered
            mask[window] = share[..., 0] >= 0.5
        return mask
