"""Find identical faces, near duplicates and blank images within and across the splits of a data set.

Two faces are *identical* when all their pixels are. They are *near duplicates* when they show one photograph twice:
scaled or compressed anew, shifted by a pixel or two, brightened, mirrored, with or without a watermark. Near
duplicates are searched on grey 48x48 versions of the faces, over all pairs, in two steps:

1. the correlation r of the whole faces is at least `CANDIDATE`. An upper bound of r from a few DCT coefficients
   (Cauchy-Schwarz, see `_features`) rules out nearly all pairs in one matrix product, and never one it should not;
2. the correlation of their details (the face less its Gaussian blur), the best over shifts of up to `SHIFT` pixels, is
   at least `NEAR`. Light and framing make strangers alike, details do not.

`NEAR` was chosen by looking at random pairs of FER2013. Mirrored pairs are the control: strangers are as often alike
mirrored as plain, while few photographs stand in the set in both ways. Pairs that pass step 1, by the second number:

    ============ ============================= ==========================
    details      plain, different photographs  mirrored, different ones
    ============ ============================= ==========================
    0.55 - 0.60   120    14 of 99 looked at     16     8
    0.60 - 0.65   128     1 of 99                7     2
    0.65 - 0.70   164     0 of 99                9     0
    0.70 - 0.80   766     0 of 198              13     0
    0.80 - 1     1783     -                     29     0
    ============ ============================= ==========================

The highest values of strangers in facial_expressions, whose faces are framed alike, lie just above 0.7. So a near
duplicate is hardly ever called wrongly, and hundreds of true ones (other crops, large watermarks) are not found.
Frames of a film and synthetic faces are alike by nature: the search does not suit them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.fft import dct
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ferlib.data.dataset import FaceDataset
from ferlib.data.stored_pixels import Pixels, blocks
from ferlib.utils.cache import cached_array

CANDIDATE = 0.85
NEAR = 0.7
BLUR = 2.0  # standard deviation of the Gaussian, pixels
SHIFT = 2
SIDE = 48
WAVES = 12  # DCT coefficients a side
BLOCK = 2048  # faces a matrix product, so the memory does not grow with the square of the data set


@dataclass(frozen=True)
class DuplicateReport:
    """Counts of repeated faces over a whole data set.

    A group is a set of faces that are the same, identical or (with `near`) linked by near-duplicate pairs. Blank images
    are counted like any others: those of one colour are a group.

    Attributes:
        near: whether near duplicates count as the same face.
        faces: rows.
        unique: groups, single faces included.
        repeated: groups of two faces and more.
        largest: faces in the largest group.
        crossing: groups with faces in more than one split.
        validation_in_train: rows of the validation split whose face also stands in train.
        test_in_train: rows of the test split whose face also stands in train.
        test_in_validation: rows of the test split whose face also stands in validation.
        conflicting: groups with more than one label.
        blank: images of one flat colour.
    """

    near: bool
    faces: int
    unique: int
    repeated: int
    largest: int
    crossing: int
    validation_in_train: int
    test_in_train: int
    test_in_validation: int
    conflicting: int
    blank: int


def find_duplicates(dataset: FaceDataset, near: bool = False) -> np.ndarray:
    """The group of every face, int64 (N,): faces of one number are the same; numbers follow the first appearance.

    Args:
        dataset: all its splits are searched together.
        near: near duplicates too; a face belongs with every face it is linked to by a chain of pairs.
    """
    faces = (face for block in blocks(dataset.pixels) for face in block.numpy())
    groups = pd.factorize(np.array([hashlib.sha256(np.ascontiguousarray(face).data).hexdigest() for face in faces]))[0]
    if not near:
        return groups
    pairs = near_pairs(dataset)
    ends = groups[pairs["first"]], groups[pairs["second"]]
    count = groups.max(initial=-1) + 1
    graph = coo_array((np.ones(len(pairs), bool), ends), shape=(count, count))
    return pd.factorize(connected_components(graph, directed=False)[1][groups])[0]


def near_pairs(dataset: FaceDataset) -> pd.DataFrame:
    """Near duplicates that are not identical, one row a pair, the most alike first.

    Identical faces stand for each other: only the first of them is compared. The result is kept in the cache.

    Returns:
        `first` and `second` (positions in the data set, first < second), `similarity` (best correlation of the
        details, `NEAR` to 1) and `mirrored` (the second is a mirror image).
    """
    digest = hashlib.sha256(repr((tuple(dataset.pixels.shape), CANDIDATE, NEAR, BLUR, SHIFT, SIDE)).encode())
    for block in blocks(dataset.pixels):
        digest.update(block.contiguous().numpy().data)
    table = cached_array("near_duplicates", digest.hexdigest()[:16], lambda: _search(dataset))
    pairs = pd.DataFrame(table, columns=["first", "second", "similarity", "mirrored"])
    return pairs.astype({"first": np.int64, "second": np.int64, "mirrored": bool})


def duplicate_report(dataset: FaceDataset, near: bool = False) -> DuplicateReport:
    """Counts repeated, conflicting and blank faces; see `DuplicateReport`."""
    frame = dataset.frame.assign(face=find_duplicates(dataset, near))
    faces = frame.groupby("face").agg(rows=("label", "size"), labels=("label", "nunique"), splits=("split", "nunique"))
    members = {split: set(part) for split, part in frame.groupby("split")["face"]}

    def shared(split: str, other: str) -> int:
        return int(frame.loc[frame["split"] == split, "face"].isin(members.get(other, set())).sum())

    return DuplicateReport(
        near=near,
        faces=len(frame),
        unique=len(faces),
        repeated=int((faces["rows"] > 1).sum()),
        largest=int(faces["rows"].max()) if len(faces) else 0,
        crossing=int((faces["splits"] > 1).sum()),
        validation_in_train=shared("validation", "train"),
        test_in_train=shared("test", "train"),
        test_in_validation=shared("test", "validation"),
        conflicting=int((faces["labels"] > 1).sum()),
        blank=int(_blank(dataset.pixels).sum()),
    )


def find_flaws(dataset: FaceDataset, near: bool = False, faces: np.ndarray | None = None) -> pd.DataFrame:
    """Flag faces that should not be tested on: a bool column a reason, in the order of the data set.

    Args:
        dataset: with all its splits.
        near: near duplicates count as the same face.
        faces: from `find_duplicates`, where they are known already.

    Returns:
        `crossing`: the face also stands in another split; `blank`: one flat colour; `conflicting`: the face stands in
        the data set with more than one label; `copy`: the face stands in the same split before.
    """
    frame = dataset.frame.assign(face=find_duplicates(dataset, near) if faces is None else faces)
    group = frame.groupby("face")
    return pd.DataFrame(
        {
            "crossing": group["split"].transform("nunique") > 1,
            "blank": _blank(dataset.pixels),
            "conflicting": group["label"].transform("nunique") > 1,
            "copy": frame.duplicated(["split", "face"]),
        }
    )


def clean_split(dataset: FaceDataset, split: str = "test", near: bool = False) -> FaceDataset:
    """A split without the faces that `find_flaws` names.

    So no face of it stands in another split of the data set, none is blank, and of faces that stand in it several times
    the first is left, or none when their labels differ.

    Args:
        dataset: with all its splits: faces of a split that was left out before cannot be found.
        split: "train", "validation" or "test".
        near: near duplicates count as the same face.

    Raises:
        ValueError: there is no such split.
    """
    kept = (dataset.frame["split"] == split) & ~find_flaws(dataset, near).any(axis=1)
    return dataset.subset(kept.to_numpy()).split(split)


def _blank(pixels: Pixels) -> np.ndarray:
    """Flag images (N, C, H, W) of one flat colour, bool (N,)."""
    planes = (block.flatten(start_dim=2) for block in blocks(pixels))
    flat = [(plane == plane[:, :, :1]).all(dim=2).all(dim=1).numpy() for plane in planes]
    return np.concatenate([np.empty(0, bool), *flat])


def _search(dataset: FaceDataset) -> np.ndarray:
    """First, second, similarity, mirrored (P, 4) of the near duplicates among unlike faces; see the module."""
    places = np.flatnonzero(~pd.Series(find_duplicates(dataset)).duplicated() & ~_blank(dataset.pixels))
    grey = _grey(dataset.pixels, places)
    features = _features(grey)
    found = [np.empty((0, 4))]
    for mirrored in (False, True):
        for first, second in _candidates(features, mirrored):
            one, two = grey[first], grey[second, :, ::-1] if mirrored else grey[second]
            alike = _correlation(one, two) >= CANDIDATE
            one, two, first, second = one[alike], two[alike], first[alike], second[alike]
            similarity = _detail_correlation(one, two)
            table = np.column_stack([places[first], places[second], similarity, np.full(len(first), mirrored)])
            found.append(table[similarity >= NEAR])
    pairs = np.concatenate(found)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0], -pairs[:, 2]))]
    return pairs[~pd.DataFrame(pairs[:, :2]).duplicated()]  # a face may be like another and like its mirror image


def _grey(pixels: Pixels, places: np.ndarray) -> np.ndarray:
    """The faces at these positions (M,), grey and 48x48: uint8 (M, 48, 48)."""
    grey = np.empty((len(places), SIDE, SIDE), np.uint8)
    for start in range(0, len(places), BLOCK):
        block = pixels[torch.as_tensor(places[start : start + BLOCK])].float().mean(dim=1, keepdim=True)
        if block.shape[2:] != (SIDE, SIDE):
            block = F.interpolate(block, (SIDE, SIDE), mode="bilinear", antialias=True)
        grey[start : start + BLOCK] = block[:, 0].round().clamp(0, 255).numpy()
    return grey


def _features(grey: np.ndarray) -> np.ndarray:
    """Float32 (M, 144), the scalar product of two rows is an upper bound of the correlation of their faces (M, 48, 48).

    With u and v the faces less their means and of length 1, in an orthonormal basis split into low (L) and high (H)
    frequencies, r = u·v = u_L·v_L + u_H·v_H <= u_L·v_L + |u_H| |v_H|: the low coefficients and one number, |u_H|.
    """
    waves = dct(np.eye(SIDE, dtype=np.float32), axis=0, norm="ortho")[:WAVES]  # (12, 48)
    features = np.empty((len(grey), WAVES * WAVES), np.float32)
    for start in range(0, len(grey), BLOCK):
        block = grey[start : start + BLOCK].astype(np.float32)
        block -= block.mean(axis=(1, 2), keepdims=True)
        block /= np.linalg.norm(block, axis=(1, 2), keepdims=True) + 1e-6
        low = (waves @ block @ waves.T).reshape(len(block), -1)  # the first is the mean, 0: its place is free for |u_H|
        low[:, 0] = np.sqrt(np.clip(1 - np.square(low[:, 1:]).sum(axis=1), 0, 1))
        features[start : start + BLOCK] = low
    return features


def _candidates(features: np.ndarray, mirrored: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of pairs, first < second, at most `BLOCK` at a time, that may correlate by `CANDIDATE` or more."""
    signs = np.tile((-1.0) ** np.arange(WAVES), WAVES).astype(np.float32)  # a mirror turns the odd waves along x
    others = features * signs if mirrored else features
    for top in range(0, len(features), BLOCK):
        for left in range(top, len(features), BLOCK):
            bound = features[top : top + BLOCK] @ others[left : left + BLOCK].T
            first, second = np.nonzero(bound >= CANDIDATE - 1e-5)
            first, second = first + top, second + left
            ahead = np.flatnonzero(first < second)
            for some in np.split(ahead, range(BLOCK, len(ahead), BLOCK)):
                yield first[some], second[some]


def _correlation(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Correlation of the pixels, float32 (P,), pair by pair: (P, H, W) each; 0 with a flat one."""
    one, two = (faces.reshape(len(faces), np.prod(faces.shape[1:])).astype(np.float32) for faces in (one, two))
    one, two = (faces - faces.mean(axis=1, keepdims=True) for faces in (one, two))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return np.einsum("pi,pi->p", one, two) / np.maximum(lengths, 1e-6)


def _detail_correlation(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Correlation (P,) of the details in the one's middle with the other's, shifted to fit best; (P, 48, 48) each."""
    one, two = (faces.astype(np.float32) for faces in (one, two))
    one, two = (faces - gaussian_filter(faces, (0, BLUR, BLUR)) for faces in (one, two))
    inner = slice(SHIFT, SIDE - SHIFT)
    shifts = [slice(start, start + SIDE - 2 * SHIFT) for start in range(2 * SHIFT + 1)]
    best = np.full(len(one), -1.0, np.float32)
    for down in shifts:
        for right in shifts:
            best = np.maximum(best, _correlation(one[:, inner, inner], two[:, down, right]))
    return best
