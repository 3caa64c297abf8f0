"""Accuracy on parts of a split ("slices"): by columns about the faces, and which differences are more than noise.

No model here guesses anybody's age, sex or origin. Slices are made from what can be measured on the picture itself
(`measured_columns`), or from columns that the owner of the data brings along (`matched_columns`).

Parts of a split differ in their classes, and some classes are harder than others: turned faces with more surprise among
them fare worse for that alone. So a slice is compared with what its faces would get if only their classes counted, and
the difference is tested within classes (Mantel and Haenszel 1959). Faces of one person are alike: where people are
known, intervals draw them whole, and the test takes what a person's faces have in common into its variance (Liang and
Zeger 1986). Where many slices are looked at, some differ by chance: the tests of all of them are adjusted together
(Benjamini and Hochberg 1995).
"""

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import chi2, false_discovery_control

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.errors import UserError
from ferlib.evaluation.bootstrap import share_intervals, sums_over_people
from ferlib.evaluation.report_format import Estimate, Slice
from ferlib.names import counted
from ferlib.utils.progress import progress

MEASURED = "measured"  # stands for `measured_columns`
KEYS = ("file", "row")  # columns that say which face a line of somebody's table is about
GROUPS = 4  # of equal size, that a column of numbers is cut into
MOST_VALUES = 8  # different numbers that are groups by themselves
LEAST_FACES = 20  # in a slice; of fewer nothing can be said
UNKNOWN = "unknown"
FALSE_DISCOVERIES = 0.05  # expected fraction of noise among the differences that are called more than noise


def slices(
    labels: np.ndarray,
    predicted: np.ndarray,
    columns: pd.DataFrame,
    people: np.ndarray | None = None,
) -> list[Slice]:
    """Accuracy by every column, group by group; groups of fewer than `LEAST_FACES` faces are left out.

    Args:
        labels: true classes (N,).
        predicted: classes (N,).
        columns: (N, columns). What is made of their values, `grouped` says.
        people: the person of each face (N,), see `ferlib.evaluation.bootstrap.people_in`; None: nobody is there twice.

    Raises:
        UserError: the columns are not as long as the labels, or there is none.
    """
    if len(columns) != len(labels) or not len(columns.columns):
        raise UserError(f"{len(labels)} faces need a line of columns each, not {columns.shape}")
    right = predicted == labels
    found: list[Slice] = []
    for name in columns:
        groups = grouped(columns[name])
        kept = _large(groups)
        if not kept:
            continue
        inside = np.stack([(groups == group).to_numpy() for group in kept], axis=1)  # (N, groups)
        faces, good = inside.sum(axis=0), (inside & right[:, None]).sum(axis=0)
        low, high = share_intervals(inside, right, people)
        for i, group in enumerate(kept):
            accuracy = Estimate(value=float(good[i] / faces[i]), low=float(low[i]), high=float(high[i]))
            expected, p = mantel_haenszel(labels, right, inside[:, i], people)
            found.append(
                Slice(column=str(name), group=group, faces=int(faces[i]), accuracy=accuracy, expected=expected,
                      difference=accuracy["value"] - expected, p=p, adjusted_p=p, more_than_noise=False)
            )  # fmt: skip
    adjusted = false_discovery_control([one["p"] for one in found]) if found else []
    for one, p in zip(found, adjusted, strict=True):
        one |= {"adjusted_p": float(p), "more_than_noise": bool(p <= FALSE_DISCOVERIES)}
    return found


def _large(groups: pd.Series) -> list[str]:
    """The groups of at least `LEAST_FACES` faces, in their order."""
    faces = groups.value_counts(sort=False)
    return faces.index[faces >= LEAST_FACES].tolist()


def mantel_haenszel(
    strata: np.ndarray, right: np.ndarray, inside: np.ndarray, people: np.ndarray | None = None
) -> tuple[float, float]:
    """Expected fraction of right answers inside a group, and the p of its difference, if within strata all are alike.

    If it makes no difference within a stratum c, the group's n_gc faces are drawn from its n_c faces, m_c of which are
    answered rightly. The number of right ones among them has the mean n_gc m_c / n_c and the variance
    n_gc (n_c - n_gc) m_c (n_c - m_c) / (n_c² (n_c - 1)); the test is that of their sums (Mantel and Haenszel 1959),
    without a continuity correction. The difference is also the sum over the faces of (inside - its mean in the class)
    (right - its mean in the class); of people who are drawn, the variance of that sum is Σ over the P of them of
    (their faces' terms together)², times P / (P - 1) (Liang and Zeger 1986).

    Args:
        strata: (N,) int, here the classes.
        right: (N,) bool.
        inside: (N,) bool, at least one true.
        people: the person of each face (N,), or None: every face is drawn alone.
    """
    faces, good, group = (np.bincount(strata, weights).astype(float) for weights in (None, right, inside))
    faces, good, group = faces[faces > 0], good[faces > 0], group[faces > 0]
    mean = (group * good / faces).sum()
    difference = right[inside].sum() - mean
    if people is None:
        variance = (group * (faces - group) * good * (faces - good) / (faces**2 * np.maximum(faces - 1, 1))).sum()
    else:
        of = np.unique(strata, return_inverse=True)[1]
        terms = sums_over_people((inside - (group / faces)[of]) * (right - (good / faces)[of]), people)
        variance = (terms**2).sum() * len(terms) / max(len(terms) - 1, 1)
    p = float(chi2.sf(difference**2 / variance, 1)) if variance else 1.0
    return float(mean / inside.sum()), p


def slice_notes(columns: pd.DataFrame, people: np.ndarray | None = None) -> list[str]:
    """Sentences about what `slices` of these columns says nothing of.

    These are columns that are left out, people beside the one of a slice, and faces without any column. Arguments as of
    `slices`.
    """
    notes = []
    for name in columns:
        groups = grouped(columns[name])
        if kept := _large(groups):
            notes += [
                f"column {name}: all faces of {group!r} are one person's; its interval is over faces"
                for group in kept
                if people is not None and len(np.unique(people[(groups == group).to_numpy()])) == 1
            ]
            continue
        different, values = columns[name].nunique(), columns[name].dropna()
        example = f"e.g. {values.iloc[0]}" if different else "all of them missing"
        notes.append(
            f"column {name} is left out, no value of it has {LEAST_FACES} faces: "
            f"{counted(different, 'different value')}, {example}"
        )
    if nothing := int(columns.isna().all(axis=1).sum()):
        notes.append(f"the columns say nothing about {nothing:,} of the {len(columns):,} faces")
    return notes


def grouped(values: pd.Series) -> pd.Series:
    """The group of each value, as words in a categorical: numbers in their order; without one where they are missing.

    Of more than `MOST_VALUES` different numbers `GROUPS` groups of about equal size are made; a number that many faces
    have is a group by itself. A group is called by the least and the greatest number in it. Of words, those that are
    missing are the group `UNKNOWN`.
    """
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        words = values.astype(object).where(values.notna(), UNKNOWN).astype(str)
        order = sorted(words.unique(), key=lambda word: (word == UNKNOWN, word))
        return pd.Series(pd.Categorical(words, order), values.index)
    known = values[np.isfinite(values.astype(float))]
    faces = known.value_counts()
    alone = faces.index if len(faces) <= MOST_VALUES else faces.index[faces > len(known) / GROUPS]
    rest = known[~known.isin(alone)]
    place = known.copy()  # the least number of every group
    if len(rest):
        parts = max(GROUPS - len(alone), 2)
        ends = np.quantile(rest, np.arange(1, parts) / parts)
        place[rest.index] = rest.groupby(np.searchsorted(ends, rest)).transform("min")
    least = place.groupby(place).first().index
    greatest = known.groupby(place).max()
    whole = max((len(f"{abs(end):.0f}") for end in (*least, *greatest)), default=0)  # digits before the point
    for digits in range(min(max(whole, 3), 17), 18):
        pairs = zip(least, greatest, strict=True)
        order = [" to ".join(dict.fromkeys(f"{end:.{digits}g}" for end in pair)) for pair in pairs]
        if len(set(order)) == len(order):
            break
    words = place.map(dict(zip(least, order, strict=True)))
    return pd.Series(pd.Categorical(words.reindex(values.index), order), values.index)


def slice_columns(faces: FaceDataset, asked: str | Path) -> pd.DataFrame:
    """Columns about the faces, in their order: `MEASURED` on the pictures, or those of a CSV file."""
    if asked == MEASURED:
        return measured_columns(faces)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(asked, index_col=False)
    except UnicodeError as error:
        raise UserError(f"{asked} is not in UTF-8; save it as that") from error
    except pd.errors.ParserWarning as error:
        raise UserError(f"{asked} has lines with more values than names of columns in its first line") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{asked} is not a table of columns that can be read ({error})") from error
    return matched_columns(faces, table)


def matched_columns(faces: FaceDataset, table: pd.DataFrame) -> pd.DataFrame:
    """The columns of somebody's table, put in the order of the faces; of faces it does not name they are missing.

    Args:
        faces: those that are measured.
        table: with a column `file`, the picture's name as the data set has it, or `row`, its row in the source file.
            Lines that name no face are left out.

    Raises:
        UserError: there is neither, or a face is named twice, or none of the faces is named, or no column is left.
    """
    names = {name: str(name).strip() for name in table}
    table = table.rename(columns={old: new.lower() if new.lower() in KEYS else new for old, new in names.items()})
    if (same := table.columns[table.columns.duplicated()]).size:
        raise UserError(f"the table has two columns {same[0]}")
    keys = [key for key in KEYS if key in table and key in faces.frame]
    if not keys:
        has = [key for key in KEYS if key in faces.frame]
        raise UserError(
            f"the table needs a column {' or '.join(has)} that says which face of {faces.name} is meant; it has "
            f"{', '.join(map(repr, table))}. Was it saved with other separators than commas?"
        )
    key, *others = keys
    first = str(table[key].iloc[0]) if len(table) else "nothing"
    if key == "row":  # one line that is no number makes words of a whole column
        table = table.assign(row=pd.to_numeric(table[key], errors="coerce"))
    table = table.dropna(subset=[key]).drop(columns=others)
    if (twice := table.loc[table[key].duplicated(), key]).size:
        raise UserError(f"the table names {key} {str(twice.iloc[0]).removesuffix('.0')} twice")
    found = table.set_index(key).reindex(faces.frame[key])
    if not faces.frame[key].isin(table[key]).any():
        raise UserError(
            f"the table's column {key} names none of the {len(faces):,} faces; it has {first}, where {faces.name} has "
            f"{faces.frame[key].iloc[0]}"
        )
    if found.empty:
        raise UserError(f"the table has no column beside {key}")
    return found.reset_index(drop=True)


def measured_columns(faces: FaceDataset) -> pd.DataFrame:
    """Brightness, sharpness, head pose and openness of eyes and mouth of each face, measured on its picture, (N, 9).

    What they are stands with `ferlib.detection.quality.Quality` and `ferlib.detection.measures.FaceMeasures`; angles
    are taken without their sign, as a face turned to the left is turned as much as one turned to the right. Where a
    face's landmarks cannot be told, the column `landmarks` says so, and pose and openness are missing.
    """
    from ferlib.detection.measures import measures_of
    from ferlib.detection.quality import quality_of
    from ferlib.predict import find_faces

    if not len(faces):
        raise DataError(f"{faces.name} has no faces to measure")
    rows = []
    for i in progress(range(len(faces)), "measuring", "face"):
        (crop,) = find_faces(faces.pixels[i].permute(1, 2, 0).numpy(), detection=False).faces
        quality, measures = quality_of(crop), measures_of(crop)
        row = {name: getattr(quality, name) for name in ("brightness", "overexposed", "sharpness")}
        row["landmarks"] = "found" if measures else "not found"
        rows.append(row | (asdict(measures) if measures else {}))
    table = pd.DataFrame(rows)
    angles = table.columns.intersection(["yaw", "pitch", "roll"])
    return table.assign(**{name: table[name].abs() for name in angles})


def slice_lines(found: Sequence[Slice]) -> pd.DataFrame:
    """Slices as a table for people, in percent and points."""
    return pd.DataFrame(
        {
            "column": [one["column"] for one in found],
            "group": [one["group"] for one in found],
            "faces": [one["faces"] for one in found],
            "accuracy": [f"{100 * one['accuracy']['value']:.1f}" for one in found],
            "interval": [f"{100 * one['accuracy']['low']:.1f} to {100 * one['accuracy']['high']:.1f}" for one in found],
            "expected": [f"{100 * one['expected']:.1f}" for one in found],
            "difference": [f"{100 * one['difference']:+.1f}" for one in found],
            "adjusted p": [f"{one['adjusted_p']:.3f}" for one in found],
            "": ["more than noise" if one["more_than_noise"] else "" for one in found],
        }
    )
