"""Parts of the face, from landmarks and from masks, and energies with a known answer."""

import numpy as np
import pytest

from ferlib.detection import landmarks as marks
from ferlib.detection.crop import FaceCrop, crop_points
from ferlib.detection.faces import detect_faces
from ferlib.detection.landmarks import Landmarks, find_landmarks
from ferlib.detection.regions import (
    BROWS,
    EYES,
    FACE,
    MOUTH,
    NOSE,
    OUTSIDE,
    REGIONS,
    above_the_eyes,
    areas,
    energies,
    landmark_regions,
    mask_regions,
    parts_of_heatmap,
    pointing,
)
from ferlib.synthetic.render import Identity, Scene, prototype, render


@pytest.fixture(scope="module")
def drawn():
    return render(prototype("happiness"), Identity(), Scene.studio(), 256)


def test_parts_of_a_portrait(portrait):
    face = detect_faces(portrait)[0]
    points = crop_points(find_landmarks(portrait, face).points[:, :2], face, 96)
    regions = landmark_regions(points, 96)
    inner = {BROWS: (*marks.LEFT_BROW, *marks.RIGHT_BROW), EYES: (*marks.LEFT_EYE, *marks.RIGHT_EYE), MOUTH: marks.LIPS}
    for part, own in (inner | {NOSE: (marks.NOSE_TIP, 2, 168)}).items():
        for x, y in points[list(own)].round().astype(int):
            assert regions[y, x] == part
    assert regions[0, 0] == regions[95, 0] == regions[0, 95] == OUTSIDE
    cheek = points[[132, 129]].mean(axis=0).round().astype(int)
    assert regions[cheek[1], cheek[0]] == FACE
    share = areas(regions[None])[0]
    assert share.sum() == pytest.approx(1) and (share > 0.015).all() and 0.2 < share[OUTSIDE] < 0.6


def test_landmarks_and_masks_agree_on_a_synthetic_face(drawn):
    """The landmarks of a synthetic face give nearly the parts that it was drawn with."""
    faces = detect_faces(drawn.pixels)
    assert len(faces) == 1
    points = find_landmarks(drawn.pixels, faces[0]).points[:, :2]
    found, true = landmark_regions(points, 256), mask_regions(drawn.masks)
    for part in (BROWS, EYES, MOUTH):
        a, b = found == part, true == part
        assert (a & b).sum() / (a | b).sum() > 0.35, REGIONS[part]


def test_mask_regions(drawn):
    regions = mask_regions(drawn.masks)
    for place, name in enumerate(REGIONS[:FACE]):
        np.testing.assert_array_equal(regions == place, drawn.masks[name])
    np.testing.assert_array_equal(regions == OUTSIDE, ~drawn.masks["face"])


def test_energies_and_pointing(drawn):
    regions = np.stack([mask_regions(drawn.masks)] * 3)
    maps = np.zeros((3, 256, 256), np.float32)
    maps[0][drawn.masks["mouth"]] = 1
    maps[1] = 0.5
    maps[1][regions[1] == EYES] = 0.75
    shares = energies(maps, regions)
    assert shares[0].tolist() == [0, 0, 0, 1, 0, 0]
    naive = [maps[1][regions[1] == place].sum() / maps[1].sum() for place in range(6)]
    np.testing.assert_allclose(shares[1], naive, rtol=1e-4)
    np.testing.assert_allclose(energies(np.ones_like(maps), regions), areas(regions), rtol=1e-6)
    assert np.isnan(shares[2]).all()
    assert pointing(maps, regions).tolist() == [MOUTH, EYES, -1]


def test_above_the_eyes(drawn):
    regions = mask_regions(drawn.masks)
    above = above_the_eyes(regions[None])[0]
    eye_rows = np.nonzero(regions == EYES)[0]
    assert above[0].all() and not above[int(eye_rows.max()) + 1 :].any()
    assert (regions[above] == OUTSIDE).all()


def test_parts_of_a_heat_map_are_known_unless_the_landmarks_are_not(portrait):
    """A map that lies on the lips alone lies on the mouth."""
    crop = FaceCrop.of(portrait, detect_faces(portrait)[0])
    heatmap = np.zeros((96, 96), np.float32)
    x, y = (crop.from_photo(crop.landmarks.points[[13], :2])[0] * 96).astype(int)
    heatmap[y - 1 : y + 2, x - 3 : x + 4] = 1
    share, area = parts_of_heatmap(heatmap, crop)["mouth"]
    assert share == 1 and 0.02 < area < 0.1
    assert parts_of_heatmap(np.zeros_like(heatmap), crop) is None
    vars(crop)["landmarks"] = Landmarks(crop.landmarks.points, 0.3)  # where a cached property keeps its value
    assert parts_of_heatmap(heatmap, crop) is None
