"""Duplicates and cleaned splits, against naive loops and against the known facts of FER2013."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ferlib.data import duplicates
from ferlib.data.dataset import SPLITS, FaceDataset
from ferlib.data.duplicates import clean_split, duplicate_report, find_duplicates, find_flaws, near_pairs
from ferlib.data.registry import load_dataset

NAMES = {"r": "train", "v": "validation", "t": "test"}


def make_dataset(pixels: np.ndarray, which: str, classes: list[int]) -> FaceDataset:
    """Faces (N, H, W), the first letters of their splits ("r" for train), labels."""
    frame = pd.DataFrame({"label": classes, "split": [NAMES[letter] for letter in which], "group": -1})
    faces = torch.from_numpy(np.ascontiguousarray(pixels)).unsqueeze(1)
    return FaceDataset("made", ("a", "b", "c"), frame.assign(row=range(len(frame))), faces)


def random_photos(count: int, side: int = 48, seed: int = 0) -> np.ndarray:
    """Unlike one another, with the smoothness of photographs: uint8 (count, side, side)."""
    noise = np.random.default_rng(seed).normal(size=(count, side, side))
    images = sum(size * gaussian_filter(noise, (0, size, size), mode="wrap") for size in (1, 3, 8))
    images -= images.min(axis=(1, 2), keepdims=True)
    return (images / images.max(axis=(1, 2), keepdims=True) * 200 + 20).astype(np.uint8)


@pytest.fixture
def repeated() -> FaceDataset:
    """Ten faces: 0 in train and test, 1 three times in test, 2 twice in test with two labels, two blank, 3 alone."""
    a, b, c, d = random_photos(4)
    blank = np.full_like(a, 7)
    pixels = np.stack([a, a, b, b, b, c, c, blank, blank, d])
    return make_dataset(pixels, "rtttttttvt", [0, 0, 1, 1, 1, 0, 2, 1, 2, 2])


def test_groups_number_identical_faces_in_order_of_appearance(repeated):
    assert find_duplicates(repeated).tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 3, 4]


def test_one_pixel_makes_a_face_another():
    pixels = np.repeat(random_photos(1), 2, axis=0)
    pixels[1, 20, 20] ^= 1
    assert find_duplicates(make_dataset(pixels, "rt", [0, 0])).tolist() == [0, 1]


def test_report_counts(repeated):
    assert asdict(duplicate_report(repeated)) == {
        "near": False,
        "faces": 10,
        "unique": 5,
        "repeated": 4,
        "largest": 3,
        "crossing": 2,
        "validation_in_train": 0,
        "test_in_train": 1,
        "test_in_validation": 1,
        "conflicting": 2,
        "blank": 2,
    }


def test_flaws_and_clean_split(repeated):
    flaws = find_flaws(repeated)
    assert np.flatnonzero(flaws["crossing"]).tolist() == [0, 1, 7, 8]
    assert np.flatnonzero(flaws["blank"]).tolist() == [7, 8]
    assert np.flatnonzero(flaws["conflicting"]).tolist() == [5, 6, 7, 8]
    assert np.flatnonzero(flaws["copy"]).tolist() == [3, 4, 6]
    assert clean_split(repeated).frame["row"].tolist() == [2, 9]
    assert find_flaws(repeated, faces=find_duplicates(repeated)).equals(flaws)
    assert len(clean_split(repeated, "train")) == len(clean_split(repeated, "validation")) == 0
    with pytest.raises(ValueError, match="unknown split"):
        clean_split(repeated, "tset")


def test_nothing_is_found_in_nothing(repeated):
    empty = repeated.subset(np.zeros(len(repeated), bool))
    for near in (False, True):
        report = duplicate_report(empty, near)
        assert (report.faces, report.unique, report.largest) == (0, 0, 0)
        assert len(clean_split(empty, near=near)) == 0


def test_blank_images_in_colour(repeated):
    pixels = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    pixels[0] = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1)  # one flat colour
    pixels[1, 2, 5, 5] = 1
    dataset = FaceDataset("made", repeated.classes, repeated.frame[:3], pixels)
    assert find_flaws(dataset)["blank"].tolist() == [True, False, True]


def photo_twins() -> dict[str, np.ndarray]:
    """One photograph and what becomes of it, and a few others."""
    face, *others = random_photos(6, side=60, seed=3)
    middle = face[6:54, 6:54]
    noise = np.random.default_rng(0).normal(0, 2, middle.shape)
    marked = middle.copy()
    marked[38:43, 4:44:3] += 40
    return {
        "the photo": middle,
        "brighter": (middle * 0.7 + 60).astype(np.uint8),
        "compressed": np.clip(middle + noise, 0, 255).astype(np.uint8),
        "shifted": face[5:53, 6:54],
        "mirrored": middle[:, ::-1],
        "mirrored and shifted": face[6:54, 7:55][:, ::-1],
        "watermarked": marked,
        **{f"other {i}": other[6:54, 6:54] for i, other in enumerate(others)},
    }


def test_near_duplicates_of_one_photograph():
    twins = photo_twins()
    groups = dict(
        zip(
            twins,
            find_duplicates(make_dataset(np.stack(list(twins.values())), "t" * 12, [0] * 12), near=True),
            strict=True,
        )
    )
    others = [name for name in twins if name.startswith("other")]
    assert {name for name, group in groups.items() if group == 0} == set(twins) - set(others)
    assert len({groups[name] for name in others}) == len(others)


def naive_pairs(pixels: np.ndarray) -> set[tuple[int, int]]:
    """Near duplicates by the definition at the top of duplicates.py, pair by pair, shift by shift."""

    def correlation(one, two):
        return np.corrcoef(one.ravel(), two.ravel())[0, 1] if one.std() and two.std() else 0.0

    found = set()
    places = [i for i in range(len(pixels)) if not any((pixels[i] == pixels[j]).all() for j in range(i))]
    for first in places:
        for second in (place for place in places if place > first):
            for step in (1, -1):
                one, two = pixels[first].astype(float), pixels[second][:, ::step].astype(float)
                if correlation(one, two) < duplicates.CANDIDATE:
                    continue
                one, two = one - gaussian_filter(one, duplicates.BLUR), two - gaussian_filter(two, duplicates.BLUR)
                shifts = range(-duplicates.SHIFT, duplicates.SHIFT + 1)
                best = max(
                    correlation(one[2:46, 2:46], two[2 + y : 46 + y, 2 + x : 46 + x]) for y in shifts for x in shifts
                )
                if best >= duplicates.NEAR:
                    found.add((first, second))
    return found


def test_search_finds_what_comparing_all_pairs_finds(monkeypatch):
    monkeypatch.setattr(duplicates, "BLOCK", 7)  # many blocks, and chunks within a block
    pixels = np.concatenate([np.stack(list(photo_twins().values())), random_photos(8, seed=5)])
    rng = np.random.default_rng(1)
    blends = [
        (pixels[rng.integers(20)] * share + pixels[rng.integers(20)] * (1 - share)).astype(np.uint8)
        for share in rng.uniform(0.5, 1, 20)
    ]
    pixels = np.concatenate([pixels, blends, np.full((2, 48, 48), 9, np.uint8)])
    pairs = near_pairs(make_dataset(pixels, "t" * len(pixels), [0] * len(pixels)))
    expected = naive_pairs(pixels)
    assert len(expected) > 30
    assert set(zip(pairs["first"], pairs["second"], strict=True)) == expected
    assert len(pairs) == len(expected)
    assert pairs["similarity"].between(duplicates.NEAR, 1 + 1e-5).all() and pairs["similarity"].is_monotonic_decreasing


@pytest.mark.parametrize("mirrored", [False, True])
def test_bound_is_never_below_the_correlation(mirrored):
    faces = np.concatenate(
        [random_photos(30, seed=7), np.random.default_rng(0).integers(0, 256, (10, 48, 48), np.uint8)]
    )
    others = faces[:, :, ::-1] if mirrored else faces
    features = duplicates._features(np.ascontiguousarray(faces))
    bound = features @ duplicates._features(np.ascontiguousarray(others)).T
    true = np.corrcoef(faces.reshape(40, -1), others.reshape(40, -1))[:40, 40:]
    assert (bound >= true - 1e-5).all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "CANDIDATE", 0.3)
        pairs = {pair for block in duplicates._candidates(features, mirrored) for pair in zip(*block, strict=True)}
    assert pairs >= {(i, j) for i in range(40) for j in range(i + 1, 40) if true[i, j] >= 0.3}


def test_near_pairs_come_from_the_cache_the_second_time(repeated, monkeypatch):
    first = near_pairs(repeated)
    monkeypatch.setattr(duplicates, "_search", lambda dataset: pytest.fail("searched again"))
    pd.testing.assert_frame_equal(near_pairs(repeated), first)


def test_near_search_scales_large_and_colour_pictures():
    large = torch.from_numpy(np.stack([random_photos(3, side=112)] * 3, axis=1))
    twin = torch.nn.functional.interpolate(large[:1].float(), size=100, mode="bilinear", antialias=True)
    twin = torch.nn.functional.interpolate(twin, size=112, mode="bilinear").round().byte()
    frame = pd.DataFrame({"label": 0, "split": ["train", "train", "train", "test"], "group": -1, "row": range(4)})
    dataset = FaceDataset("made", ("a",), frame, torch.cat([large, twin]))
    assert find_duplicates(dataset, near=True).tolist() == [0, 1, 2, 0]
    assert duplicate_report(dataset, near=True).test_in_train == 1
    assert len(clean_split(dataset)) == 1 and len(clean_split(dataset, near=True)) == 0


@pytest.mark.data
def test_facts_of_fer2013(data_root):
    report = duplicate_report(load_dataset("fer2013", data_root))
    assert asdict(report) == {
        "near": False,
        "faces": 35_887,
        "unique": 34_034,
        "repeated": 1_516,
        "largest": 12,  # the blank images, all black; their group counts as crossing and as conflicting
        "crossing": 557,
        "validation_in_train": 280,
        "test_in_train": 288,
        "test_in_validation": 44,
        "conflicting": 57,
        "blank": 12,
    }


@pytest.mark.data
def test_cleaned_splits_of_fer2013(data_root):
    dataset = load_dataset("fer2013", data_root)
    assert [len(clean_split(dataset, split)) for split in SPLITS] == [26_912, 3_266, 3_268]
    test = clean_split(dataset)
    rest = dataset.subset((dataset.frame["split"] != "test").to_numpy())
    seen = {face.tobytes() for face in rest.pixels.numpy()}
    kept = [face.tobytes() for face in test.pixels.numpy()]
    assert not seen & set(kept) and len(set(kept)) == len(kept)


@pytest.mark.data
@pytest.mark.slow
def test_near_duplicates_of_fer2013(data_root):
    dataset = load_dataset("fer2013", data_root)
    exact, near = duplicate_report(dataset), duplicate_report(dataset, near=True)
    assert len(near_pairs(dataset)) == pytest.approx(2_583, abs=3)  # a few pairs lie on the threshold
    assert near.unique < exact.unique and near.test_in_train > exact.test_in_train
    assert len(clean_split(dataset, near=True)) < len(clean_split(dataset))
