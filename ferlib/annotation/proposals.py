"""From photos to labelled faces: cut them out, propose a label for each, and keep what people say about them.

    photos/anna/beach.jpg, photos/ben/…                       photos, one folder a person
    faces/happiness/anna--beach.jpg-1.png, faces/sadness/…    faces by class: what `load_dataset("folder")` reads
    faces/proposals.csv                                       what the model thought, the least sure face first
    faces/labels-<who>.csv                                    what a person said, see `LabelFile`

A label is the folder a face lies in. So it can be corrected in any file manager, and a class is made by making a
folder. Faces that show nothing clear, or are none, belong into the folder "unsorted", which is not read.
"""

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from ferlib import labels
from ferlib.data.dataset import DataError
from ferlib.data.folder import PERSON_MARK, SPLIT_NAMES, UNSORTED, any_names, person_of
from ferlib.detection.crop import FaceCrop
from ferlib.detection.faces import detect_faces
from ferlib.errors import UserError
from ferlib.images import ImageError, read_image
from ferlib.utils.atomic import atomic_write
from ferlib.utils.cache import short_key
from ferlib.utils.csv_safety import SafeWriter, as_written, harmless
from ferlib.utils.files import find_pictures, is_below
from ferlib.utils.progress import progress

if TYPE_CHECKING:
    from ferlib.predict import Predictor

SIDE = 224  # pixels, of a face as it is kept
LONGEST = 150  # bytes of a photo's name that are kept in those of its faces: file systems take 255 in all
PROPOSALS = "proposals.csv"
COLUMNS = ("photo", "face", "x0", "y0", "x1", "y1", "file", "person", "proposed", "confidence", "margin", "problem")
LABEL_COLUMNS = ("file", "label")


@any_names
def propose_labels(
    photos: Path, out: Path, predictor: "Predictor | None" = None, classes: Sequence[str] = ()
) -> pd.DataFrame:
    """Cut every face out of the photos, in the training sets' framing, and sort them by a model's prediction.

    A face becomes `out/<proposed class>/<person>--<photo>-<number>.png`; the person is the first folder below `photos`,
    and photos that lie in none have nobody's name. Photos whose faces stand in `proposals.csv` already are left alone,
    so new photos can be added later, and a face that was moved or deleted stays so; also after an interruption. Photos
    that had a problem are looked at again.

    Args:
        photos: folder with photos, best one folder a person.
        out: where the faces go.
        predictor: proposes; None puts all faces into `out/unsorted`.
        classes: names of your own; a folder is made for each, to put faces into.

    Returns:
        What now stands in `out/proposals.csv`, one row a face, the smallest margin between the first two classes first:
        `photo` (below `photos`), `face` (in reading order, from 1), `x0`, `y0`, `x1`, `y1` (the square, pixels of the
        photo), `file`, `person`, `proposed`, `confidence` (the probability of that class) and `margin`. A photo without
        a face has one row, with the `problem`, at the end.

    Raises:
        DataError: no photos, or they lie in `out`; a name that cannot be a class, or two photos whose faces would be
            called alike.
    """
    if not photos.is_dir():
        raise DataError(f"{photos} is not a folder")
    if is_below(photos, out):
        raise DataError(f"{out} holds the photos; the faces need a folder of their own")
    own = [folder_of(label) for label in classes]
    if UNSORTED in own:
        raise DataError(f"a class cannot be called {UNSORTED}: faces without a class lie in a folder of that name")
    found = [path for path in find_pictures(photos) if not is_below(path, out)]
    if not found:
        raise DataError(f"no photos in {photos}")
    names = pd.Series(found, index=[_face_name(path.relative_to(photos)) for path in found])
    if len(alike := names[names.index.duplicated(keep=False)]):
        raise DataError(f"{alike.iloc[0]} and {alike.iloc[1]} would give faces of the same name; rename one of them")
    for name in (*own, UNSORTED):
        (out / name).mkdir(parents=True, exist_ok=True)
    table = read_proposals(out) if (out / PROPOSALS).exists() else pd.DataFrame(columns=list(COLUMNS))
    known = set(table["photo"][table["problem"] == ""])
    new = [path for path in found if path.relative_to(photos).as_posix() not in known]
    there = set(faces_below(out))  # faces of a run that was killed, perhaps moved since
    rows: list[dict] = []
    try:
        for path in progress(new, "faces", " photos"):
            rows += _cut(path, photos, out, predictor, there)
    except KeyboardInterrupt as stop:
        faces = sum(row["file"] != "" for row in rows)
        raise KeyboardInterrupt(f"the same command goes on after {faces:,} new faces") from stop
    finally:
        if rows:
            fresh = pd.DataFrame(rows, columns=list(COLUMNS))
            table = table[~table["photo"].isin(fresh["photo"])]
            table = pd.concat([table, fresh], ignore_index=True) if len(table) else fresh
        last = table["problem"] != ""
        table = table.assign(last=last).sort_values(["last", "margin", "photo", "face"], kind="stable")
        table = table.drop(columns="last").reset_index(drop=True)
        with atomic_write(out / PROPOSALS) as partial:
            # a name may have broken bytes
            _with_words(table, harmless).to_csv(partial, index=False, errors="surrogateescape", lineterminator="\r\n")
    return read_proposals(out)


@any_names
def read_proposals(out: Path) -> pd.DataFrame:
    """The table of `propose_labels`, as it stands in `out/proposals.csv`.

    Raises:
        DataError: there is no such file.
    """
    path = out / PROPOSALS
    if not path.exists():
        raise DataError(f"there is no {path}; `python -m ferlib label PHOTOS --out {out}` makes it")
    whole = dict.fromkeys(("face", "x0", "y0", "x1", "y1"), "Int64")
    numbers = dict.fromkeys((*whole, "confidence", "margin"), "")
    words = dict.fromkeys(set(COLUMNS) - set(numbers), str)  # a person may be called None
    return _read_table(path, COLUMNS, dtype=whole | words, na_values=numbers)


@any_names
def tree_labels(root: Path) -> pd.Series:
    """The class every face of `root/<class>/*` lies in, by its file name; those in "unsorted" are left out."""
    files = [path for path in find_pictures(root) if path.parent.parent == root]
    found = pd.Series({path.name: folder_of(path.parent.name) for path in files}, dtype=object, name="label")
    return found[found != UNSORTED].rename_axis("file")


def apply_labels(root: Path, said: Mapping[str, str] | pd.Series) -> int:
    """Move faces into the folders of their labels; returns how many moved.

    Args:
        root: folder of `propose_labels`.
        said: file name -> class or "unsorted".

    Raises:
        DataError: a face is nowhere below the root, or a class's name cannot be a folder's.
    """
    places = faces_below(root)
    wanted = {name: root / folder_of(label) / name for name, label in said.items()}
    if missing := sorted(wanted.keys() - places.keys()):
        raise DataError(f"{len(missing)} labelled faces are not in {root}, e.g. {missing[0]}")
    moved = [name for name, target in wanted.items() if places[name] != target]
    for name in moved:
        wanted[name].parent.mkdir(exist_ok=True)
        shutil.move(places[name], wanted[name])  # perhaps to another disk, through a link
    return len(moved)


def faces_below(root: Path) -> dict[str, Path]:
    """The file of every face below a root by its name, in whichever folder it lies."""
    return {path.name: path for path in find_pictures(root)}


def folder_of(label: str) -> str:
    """The folder of a class: the project's name of it, see `ferlib.labels.canonical`.

    Raises:
        DataError: the name cannot be a class's.
    """
    name = labels.canonical(label)
    if not name or name.startswith(".") or set(name) & set('/\\:*?"<>|') or name in SPLIT_NAMES:
        raise DataError(f"{label!r} cannot be the name of a class")
    try:
        labels.require_class_names([name])
    except UserError as error:
        raise DataError(str(error)) from None
    return name


class LabelFile:
    """One annotator's labels, `root/labels-<who>.csv`: a line a face, of which the last one counts.

    Written line by line, so that nothing is lost when the notebook is closed. Two people have a file each, and neither
    sees the other's: so it can be measured how far they agree.

    Args:
        root: folder of `propose_labels`.
        who: the person's name.

    Raises:
        DataError: the name is not made of letters and digits.
    """

    def __init__(self, root: Path, who: str):
        if not re.fullmatch(r"\w+", who):
            raise DataError(f"{who!r} cannot be a file's name: use letters and digits")
        self.path = root / f"labels-{who}.csv"

    def add(self, file: str, label: str) -> None:
        """Note down a label, or "unsorted" for a face that has none.

        Raises:
            DataError: the label cannot be a class's name.
        """
        before = self.path.read_bytes() if self.path.exists() else b""
        with self.path.open("a", newline="", encoding="utf-8", errors="surrogateescape") as handle:
            if before and not before.endswith((b"\n", b"\r")):  # another program saved it
                handle.write("\r\n")
            writer = SafeWriter(handle)
            for row in [LABEL_COLUMNS] * (not before) + [(file, folder_of(label))]:
                writer.writerow(row)

    @any_names
    def read(self) -> pd.Series:
        """File name -> label, in the order in which the faces came first.

        Raises:
            DataError: the file is not as `add` writes it.
        """
        if not self.path.exists():
            return pd.Series(dtype=object, name="label").rename_axis("file")
        lines = _read_table(self.path, LABEL_COLUMNS, dtype=str)
        order = lines["file"].unique()
        return lines.drop_duplicates("file", keep="last").set_index("file")["label"].loc[order]


def _read_table(path: Path, columns: Sequence[str], **types: Any) -> pd.DataFrame:
    """The table in a file; `DataError` where it is none, or lacks one of the columns."""
    try:
        table = pd.read_csv(path, keep_default_na=False, encoding_errors="surrogateescape", **types)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read as a table ({error}); restore it, or choose another folder") from error
    if missing := [name for name in columns if name not in table]:
        raise DataError(f"{path} has no column {', '.join(missing)}; was it saved with other separators than commas?")
    return _with_words(table, as_written)


def _with_words(table: pd.DataFrame, change: Callable[[object], object]) -> pd.DataFrame:
    """The table with every word changed; numbers stay."""
    words = table.select_dtypes(exclude="number")
    return table.assign(**{name: words[name].map(change) for name in words})


def _face_name(photo: Path) -> str:
    """The beginning of the names of a photo's faces: its path in one word, the person first; a hash of what is long."""
    first, *rest = photo.parts
    if PERSON_MARK in first:  # it would end the person's name, or make one
        first = f"{re.sub('-{2,}', '-', first)}-{short_key(first)}"
    *folders, file = map(_short, (first, *rest))
    name = PERSON_MARK.join([*folders, file])
    return name if _short(name) == name else PERSON_MARK.join([*folders[:1], short_key(photo.parts)])


def _short(word: str) -> str:
    return word if len(os.fsencode(word)) <= LONGEST else short_key(word)


def _cut(path: Path, photos: Path, out: Path, predictor: "Predictor | None", there: set[str]) -> list[dict]:
    """Write the faces of a photo, but those whose files are `there`; a row each, or one that says what is wrong."""
    photo = path.relative_to(photos)
    row = {"photo": photo.as_posix(), "file": "", "person": person_of(_face_name(photo)), "problem": ""}
    try:
        image = read_image(path)
    except ImageError as error:
        return [row | {"problem": str(error)}]
    crops = [FaceCrop.of(image, face) for face in detect_faces(image)]
    if not crops:
        return [row | {"problem": "No face was found in the picture."}]
    rows = []
    for number, (crop, proposal) in enumerate(zip(crops, _proposals(crops, predictor), strict=True), start=1):
        x0, y0, x1, y1 = crop.box
        name, label = f"{_face_name(photo)}-{number}.png", folder_of(proposal["proposed"] or UNSORTED)
        if name not in there:
            (out / label).mkdir(exist_ok=True)
            with atomic_write(out / label / name) as partial:
                Image.fromarray(crop.resized(min(SIDE, x1 - x0))).save(partial, "PNG")
        rows.append(row | {"face": number, "x0": x0, "y0": y0, "x1": x1, "y1": y1, "file": name} | proposal)
    return rows


def _proposals(crops: Sequence[FaceCrop], predictor: "Predictor | None") -> list[dict]:
    """Proposed class, confidence and margin of every face; empty without a model."""
    if predictor is None:
        return [{"proposed": "", "confidence": np.nan, "margin": np.nan} for _ in crops]
    probabilities, _ = predictor.classify([crop.resized(predictor.classifier.side) for crop in crops])
    second, first = np.sort(probabilities.astype(float), axis=1)[:, -2:].T
    proposals = pd.DataFrame({"confidence": first, "margin": first - second}).round(4)
    proposals.insert(0, "proposed", [predictor.classes[best] for best in probabilities.argmax(axis=1)])
    return proposals.to_dict(orient="records")
