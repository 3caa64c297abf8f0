"""From lines to pixels: paints a face part by part, lights it, and cuts the masks of its parts.

Painting order is back to front: hair behind the head, neck, clothes, skin, creases, nose, mouth, eyes, brows,
hair. Until then all is flat paint; light and shadow come from one height map of the face and one lamp. Glints and
glasses are last.
"""

import numpy as np
from PIL import Image, ImageFilter

from ferlib.synthetic.canvas import Camera, Canvas
from ferlib.synthetic.geometry import SIDES, FaceGeometry, ellipse, mirrored, ribbon, shifted, spline
from ferlib.synthetic.hair import Hair
from ferlib.synthetic.parameters import EYE_COLOURS, SKIN_STEPS, SKIN_TONES, Scene
from ferlib.synthetic.surface import occlusion, relief, wrinkles

SHADING_SIZE = 128  # light and shadow are smooth: larger pictures get them enlarged from this size


def draw(face: FaceGeometry, scene: Scene, size: int) -> np.ndarray:
    """Draws a face, (size, size, 3) uint8."""
    canvas = _painted(face, scene, size)
    top, bottom = np.array(scene.background, np.float32)
    background = top + (bottom - top) * np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    return _develop(canvas.colour + background * (1 - canvas.opacity), scene)


def draw_cutout(face: FaceGeometry, scene: Scene, size: int) -> np.ndarray:
    """Draws a face without a background, to be laid over a picture: (size, size, 4) uint8, the last one opacity."""
    canvas = _painted(face, scene, size)
    pixels = _develop(canvas.colour / np.maximum(canvas.opacity, 1e-3), scene)
    return np.concatenate([pixels, (canvas.opacity * 255 + 0.5).astype(np.uint8)], axis=2)


def _painted(face: FaceGeometry, scene: Scene, size: int) -> Canvas:
    """A face with its light, on a canvas that is empty around it."""
    canvas = Canvas(Camera(scene, size))
    who, hair = face.who, Hair(face.who)
    skin = np.array([np.interp(who.skin, SKIN_STEPS, channel) for channel in SKIN_TONES.T], np.float32)
    strands = None if hair.behind is None else hair.strands(*canvas.camera.grid(size))

    if hair.behind is not None and strands is not None:
        canvas.paint([hair.behind], hair.colour * 0.62 if hair.hangs else strands * 0.85)
    _body(canvas, face, skin)
    canvas.paint([face.outline], skin)
    if who.beard != "none":
        _beard(canvas, face, hair.colour)
    _wrinkles(canvas, face)
    _nose(canvas, face)
    _mouth(canvas, face, skin)
    _eyes(canvas, face, scene.gaze)
    _brows(canvas, face, hair.colour)
    if hair.before is not None and strands is not None:
        canvas.darken([shifted(hair.before, 0, 0.025)], 0.30, blur=0.022)  # its shadow
        canvas.paint([hair.before], strands)
    _light(canvas, face, scene)
    _highlights(canvas, face, scene)
    if who.glasses:
        _glasses(canvas, face)
    return canvas


def part_masks(face: FaceGeometry, scene: Scene, size: int) -> dict[str, np.ndarray]:
    """Masks of the parts of the face that `draw` draws, (size, size) bool each.

    Brows, eyes, nose and mouth include a rim of the skin that moves with them; they do not overlap and lie
    inside the face, which is all visible skin.
    """
    canvas = Canvas(Camera(scene, size))
    eyes, mouth, hair = face.eyes.values(), face.mouth, Hair(face.who)
    shapes = {
        "mouth": [mouth.outline, ribbon(mouth.upper_edge, 0.05), ribbon(mouth.lower_edge, 0.05)],
        "eyes": [part for eye in eyes for part in (eye.opening, ribbon(eye.upper, 0.07), ribbon(eye.lower, 0.05))],
        "brows": [ribbon(line, 0.11 * max(1, face.who.brow_thickness)) for line in face.brows.values()],
        "nose": [face.nose_region()],
    }
    masks, taken = {}, np.zeros((size, size), bool)
    for name, polygons in shapes.items():  # where two meet, the first one has the pixels
        masks[name] = canvas.mask(polygons) & ~taken
        taken |= masks[name]
    skin = canvas.mask([face.outline])
    if hair.before is not None:
        skin &= ~canvas.mask([hair.before])
    return masks | {"face": skin | taken}


def _body(canvas: Canvas, face: FaceGeometry, skin: np.ndarray) -> None:
    """Neck, clothes, ears."""
    who = face.who
    neck = mirrored(spline((0, 0.5), (0.40, 0.55), (0.41, 0.95), (0.55, 1.15), (1.1, 1.5), (0, 1.7)))
    canvas.paint([neck], skin * 0.90)
    canvas.darken([shifted(face.outline * (0.95, 1), 0, 0.10)], 0.38, blur=0.06)
    clothes = mirrored(spline((0, 1.16), (0.30, 1.10), (0.47, 0.97), (0.80, 1.05), (1.5, 1.30), (1.6, 1.8), (0, 1.9)))
    canvas.paint([clothes], who.shirt)
    x = 0.72 * who.face_width
    canvas.paint([ellipse(side * x, -0.06, 0.085, 0.165) for side in SIDES], skin * (0.95, 0.88, 0.86))
    canvas.darken([ellipse(side * (x + 0.012), -0.05, 0.042, 0.10) for side in SIDES], 0.22, blur=0.02)


def _wrinkles(canvas: Canvas, face: FaceGeometry) -> None:
    curves, widths, darkness = zip(*wrinkles(face), strict=True)
    creases = [ribbon(curve, np.array((0.2, 1, 1, 0.2)) * width) for curve, width in zip(curves, widths, strict=True)]
    canvas.darken(creases, [min(0.75, dark) for dark in darkness], blur=0.006)


def _beard(canvas: Canvas, face: FaceGeometry, hair: np.ndarray) -> None:
    who = face.who
    x, y = face.mouth.corner
    lip_top, w = face.mouth.upper_edge[:, 1].min(), who.face_width * who.jaw_width
    colour = hair * 0.85
    moustache = mirrored(
        spline(
            (0, face.nose_y + 0.085),
            (0.13, face.nose_y + 0.09),
            (x + 0.03, y - 0.03),
            (x + 0.02, y + 0.03),
            (0.10, lip_top + 0.01),
            (0, lip_top + 0.01),
        )
    )
    if who.beard == "moustache":
        canvas.paint([moustache], colour, 0.85, blur=0.012)
        return
    edge = face.outline[(face.outline[:, 1] > 0.05)]
    right = edge[edge[:, 0] >= 0]
    inner = spline((0, lip_top - 0.07), (x * 0.8, y - 0.12), (x + 0.07, y - 0.01), (0.50 * w, 0.36), (0.62 * w, -0.02))
    jaw = mirrored(np.concatenate([inner, right]))
    canvas.paint([jaw], colour, 0.22 if who.beard == "stubble" else 0.80, blur=0.03)
    if who.beard == "full":
        canvas.paint([moustache], colour, 0.5, blur=0.015)


def _nose(canvas: Canvas, face: FaceGeometry) -> None:
    y, w = face.nose_y, face.who.nose_width
    base = spline(
        (-0.085 * w, y + 0.042),
        (-0.045 * w, y + 0.040),
        (0, y + 0.058),
        (0.045 * w, y + 0.040),
        (0.085 * w, y + 0.042),
    )
    shapes = [ribbon(base, (0.004, 0.018, 0.010, 0.018, 0.004))]
    shapes += [ribbon(face.nose_wing(side), (0.004, 0.016, 0.018, 0.008)) for side in SIDES]
    shapes += [ellipse(side * 0.058 * w, y + 0.034, 0.032 * w, 0.015) for side in SIDES]  # nostrils
    canvas.darken(shapes, [0.42, 0.34, 0.34, 0.62, 0.62], blur=0.006)


def _mouth(canvas: Canvas, face: FaceGeometry, skin: np.ndarray) -> None:
    mouth, units = face.mouth, face.units
    lips = skin * (0.84, 0.60, 0.60) + (0.02, 0.0, 0.01)
    top, bottom = mouth.upper_inner, mouth.lower_inner
    gap = np.maximum(bottom - top, 0) * (0, 1)  # (n, 2), height of the opening along the mouth
    canvas.paint([np.concatenate([mouth.upper_edge, top[::-1]])], lips * 0.90, blur=0.004)
    canvas.paint([np.concatenate([bottom, mouth.lower_edge[::-1]])], lips * 1.04, blur=0.004)
    if gap.max() > 0.012:
        _inside_of_mouth(canvas, units, top, bottom, gap)
    else:
        canvas.darken([ribbon((top + bottom) / 2, (0.010, 0.014, 0.012, 0.014, 0.010))], 0.58, blur=0.003)
    corners = [ellipse(x, y, 0.020, 0.013) for x, y in mouth.upper_edge[[0, -1]]]
    canvas.darken(corners, 0.38, blur=0.010)


def _inside_of_mouth(
    canvas: Canvas, units: dict[str, float], top: np.ndarray, bottom: np.ndarray, gap: np.ndarray
) -> None:
    """Dark, tongue and teeth between the edges of the lips, (n, 2) each."""
    canvas.paint([np.concatenate([top, bottom[::-1]])], (0.20, 0.06, 0.06))
    if units["AU26"] > 0.3:
        tongue = bottom - np.minimum(0.42 * gap, (0, 0.075)) * np.clip(2 * units["AU26"], 0, 1)
        canvas.paint([np.concatenate([tongue[4:-4], bottom[::-1][4:-4]])], (0.66, 0.30, 0.29), 0.9, blur=0.008)
    height = 0.028 + 0.05 * max(units["AU12"], units["AU10"], units["AU20"]) * (units["AU25"] + units["AU10"])
    teeth = top + np.minimum(0.80 * gap, (0, height))
    canvas.paint([np.concatenate([top[2:-2], teeth[::-1][2:-2]])], (0.95, 0.93, 0.89))
    canvas.darken([ribbon(top, 0.022)], 0.35, blur=0.008)  # shadow of the lip
    lower = max(units["AU16"], units["AU20"])
    if lower > 0.2:
        teeth = bottom - np.minimum(0.40 * gap, (0, 0.045 * lower))
        canvas.paint([np.concatenate([teeth[4:-4], bottom[::-1][4:-4]])], (0.88, 0.85, 0.80))


def _eyes(canvas: Canvas, face: FaceGeometry, gaze: tuple[float, float]) -> None:
    eyes, who = list(face.eyes.values()), face.who
    colour = np.array(EYE_COLOURS[who.eye_colour])
    width = np.array((0.35, 0.8, 1.0, 1.1, 0.55))

    def disc(share: float, lower: float = 0.0) -> list[np.ndarray]:
        """Both irises, at a fraction of their radius."""
        shifts = (0.035 * gaze[0], 0.020 * gaze[1])
        return [
            ellipse(e.x + shifts[0], e.y + shifts[1] + lower * e.iris, share * e.iris, share * e.iris) for e in eyes
        ]

    openings = [eye.opening for eye in eyes]
    if face.units["AU43"] < 0.9:
        with canvas.inside(openings):
            canvas.paint(openings, (0.93, 0.92, 0.91))
            canvas.paint(disc(1.0), colour * 0.45)
            canvas.paint(disc(0.86), colour)
            canvas.paint(disc(0.58, lower=0.25), np.minimum(colour * 1.35 + 0.04, 1), blur=0.012)
            canvas.paint(disc(0.42), (0.04, 0.03, 0.03))
            shadows = [ribbon(shifted(eye.upper, 0, 0.012), 0.045) for eye in eyes]  # of the lids
            canvas.darken(shadows, 0.42, blur=0.012)
    lines = [ribbon(eye.crease, width * 0.014) for eye in eyes]
    lines += [ribbon(eye.lower, width * 0.011) for eye in eyes]
    lines += [ribbon(eye.upper, width * (0.021 + 0.010 * who.lashes)) for eye in eyes]
    for side, eye in face.eyes.items():  # lashes at the outer corner
        flick = spline(eye.upper[-5], eye.upper[-1], shifted(eye.upper[-1], 0.030 * side, -0.022))
        lines.append(ribbon(flick, (0.022, 0.018, 0.002)))
    canvas.darken(lines, [0.30, 0.30, 0.38, 0.38, 0.80, 0.80, 0.7 * who.lashes, 0.7 * who.lashes], blur=0.003)


def _brows(canvas: Canvas, face: FaceGeometry, hair: np.ndarray) -> None:
    lines, thick = face.brows.values(), 0.058 * face.who.brow_thickness
    colour = hair * min(0.72, 0.42 / hair.max())
    width = np.array((0.35, 0.95, 0.90, 0.60, 0.12)) * thick
    canvas.paint([ribbon(line, width) for line in lines], colour, 0.90, blur=0.007)


def _highlights(canvas: Canvas, face: FaceGeometry, scene: Scene) -> None:
    """Glints in the eyes, on the lower lip and on the nose; on the lamp's side."""
    towards = np.sign(scene.light[0]) or 1
    glints = []
    for eye in face.eyes.values():
        if eye.gap > 0.06:
            x = eye.x + 0.035 * scene.gaze[0] + 0.3 * towards * eye.iris
            y = eye.y + 0.02 * scene.gaze[1] - 0.25 * eye.iris
            glints.append(ellipse(x, y, 0.19 * eye.iris, 0.19 * eye.iris))
    if glints:
        canvas.paint(glints, (1, 1, 1), 0.95)
    inner = face.mouth.lower_inner
    lip = (inner[len(inner) // 2, 1] + face.mouth.bottom) / 2
    spots = [ellipse(0, lip, 0.085, 0.014), ellipse(towards * 0.012, face.nose_y - 0.015, 0.026, 0.024)]
    canvas.paint(spots, (1, 0.96, 0.94), 0.28 * scene.light_strength, blur=0.012)


def _glasses(canvas: Canvas, face: FaceGeometry) -> None:
    angle = np.linspace(0, 2 * np.pi, 41)
    rounded = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rim = np.sign(rounded) * np.abs(rounded) ** 0.65 * (0.215, 0.160)
    x, ear = 0.310 * face.who.eye_spacing, 0.73 * face.who.face_width
    rims = [shifted(rim, side * x, -0.135) for side in SIDES]
    frame = [ribbon(rim, 0.022) for rim in rims]
    frame += [ribbon(spline((side * (x + 0.21), -0.17), (side * ear, -0.20)), 0.024) for side in SIDES]
    frame += [ribbon(spline((-0.10, -0.15), (0, -0.185), (0.10, -0.15)), 0.022)]
    canvas.paint(rims, (0.9, 0.95, 1.0), 0.06)
    canvas.paint(frame, (0.12, 0.11, 0.13))


def _light(canvas: Canvas, face: FaceGeometry, scene: Scene) -> None:
    """Turns flat paint into a lit head: directed light and gloss, soft shadows, warm cheeks and nose."""
    camera = canvas.camera
    size = min(camera.size, SHADING_SIZE)
    x, y = camera.grid(size)

    def sum_of(bumps: np.ndarray) -> np.ndarray:
        centre_x, centre_y, spread_x, spread_y, height = bumps.astype(np.float32).T[..., None, None]
        away = ((x - centre_x) / spread_x) ** 2 + ((y - centre_y) / spread_y) ** 2
        return (height * np.exp(-0.5 * away)).sum(axis=0)

    head = 0.42 * (1 - 1.25 * x**2 - 0.45 * (y + 0.05) ** 2)
    height = head + sum_of(relief(face)) - camera.sin[0] * x - camera.sin[1] * y
    slope_y, slope_x = np.gradient(height, 2 / (size * scene.scale))
    steepness = np.sqrt(1 + slope_x**2 + slope_y**2)
    azimuth, elevation = np.radians(scene.light)
    lamp = np.array([np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    half = lamp + np.array((0, 0, 1))  # between lamp and camera
    half = half / np.linalg.norm(half)
    facing = (lamp[2] - slope_x * lamp[0] - slope_y * lamp[1]) / steepness
    glossy = (half[2] - slope_x * half[0] - slope_y * half[1]) / steepness
    light = np.clip(1 + scene.light_strength * (np.maximum(facing, -0.2) - lamp[2]), 0.3, 1.25)
    light = _enlarge(light * (1 - sum_of(occlusion(face))), camera.size)
    gloss = _enlarge(0.12 * scene.light_strength * np.maximum(glossy, 0) ** 24, camera.size)
    cheeks = [(side * 0.42, 0.15, 0.16, 0.11, 1.0) for side in SIDES]
    blush = _enlarge(sum_of(np.array([*cheeks, (0, face.nose_y, 0.10, 0.07, 0.7)])), camera.size)
    canvas.colour *= light * (1 - blush * np.array((-0.02, 0.10, 0.08), np.float32))
    canvas.colour += gloss * canvas.opacity


def _enlarge(field: np.ndarray, size: int) -> np.ndarray:
    """A smooth field (n, n) at a larger size, float32 (size, size, 1)."""
    image = Image.fromarray(field.astype(np.float32))
    return np.asarray(image if len(field) == size else image.resize((size, size), Image.Resampling.BICUBIC))[..., None]


def _develop(pixels: np.ndarray, scene: Scene) -> np.ndarray:
    """Apply the camera: blur, exposure, contrast, noise, rounding. (size, size, 3) uint8."""
    size = len(pixels)
    pixels = (pixels * scene.exposure - 0.5) * scene.contrast + 0.5
    if scene.noise:
        rng = np.random.default_rng(scene.noise_seed)
        pixels = pixels + scene.noise * rng.standard_normal((size, size, 3), np.float32)
    image = Image.fromarray((pixels.clip(0, 1) * 255 + 0.5).astype(np.uint8))
    if scene.blur * size > 0.3:
        image = image.filter(ImageFilter.GaussianBlur(scene.blur * size))
    if scene.grey:
        image = image.convert("L").convert("RGB")
    return np.asarray(image)
