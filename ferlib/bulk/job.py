"""The work on one shard: its photos read and judged, and its part of the table written. Any process may do it."""

import os
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ferlib.bulk.photos import shard_of
from ferlib.bulk.storage import file_system, is_address, open_store
from ferlib.bulk.table import Part, part_name
from ferlib.errors import UserError
from ferlib.predict_many import ENDED
from ferlib.results import ImagePrediction

if TYPE_CHECKING:
    from ferlib.predict import Predictor

_TRIES, _WAIT = 3, 0.5  # of an object that does not come, and seconds before the second try


class _Unreached(Exception):
    """A photo's store did not answer, or does not let in."""


@dataclass(frozen=True)
class Shard:
    """Some photos of the list.

    Attributes:
        number: of the shard, from 0.
        fatal: places in the shard of photos that end the process that reads them; they get a row and are not read.
    """

    number: int
    fatal: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Counts:
    """Numbers of what a shard, or several, had.

    Attributes:
        photos: in all.
        faces: found in them.
        errors: photos with a row that says why there is no face.
        unread: of these, photos that could not be read.
        away: photos without a row, as neither they nor their folders were there, or the store did not answer.
    """

    photos: int = 0
    faces: int = 0
    errors: int = 0
    unread: int = 0
    away: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*map(sum, zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Job:
    """Everything that decides what is done with a shard.

    Attributes:
        out: path or address of the table.
        shard_size: photos a shard.
        model, device, coverage, truth: as `ferlib.predict.Predictor.load` takes them.
        detection, landmarks, faces, min_face: as `ferlib.predict.Predictor.predict` takes them.
        digest: of the list of photos, once that is written.
        weights: digest of the model's files; a process that lives longer than the run must not know them by their name.
    """

    out: str
    shard_size: int
    model: str
    device: str = "cpu"
    coverage: float | None = None
    truth: str = "label"
    detection: bool = True
    landmarks: bool = False
    faces: str = "all"
    min_face: float | None = None
    digest: str = ""
    weights: str = ""

    def predictor(self) -> "Predictor":
        """The model; loaded once a process."""
        return _loaded(self.model, self.device, self.coverage, self.truth, self.weights)

    def part(self) -> Part:
        """An empty part of the table."""
        return Part(self.predictor().classes, self.coverage is not None, self.landmarks)

    def __call__(self, shard: Shard, report: Callable[[int], None] = lambda _: None) -> Counts:
        """Make a shard's part; none where its photos are away: on a disk or in a store that is not connected.

        Args:
            shard: of the list.
            report: called with every photo's place in the shard before it is read.

        Raises:
            MissingPackage: one of a store's is not installed.
            UserError: an address means nothing.
        """
        part, counts, photos = self.part(), Counts(), shard_of(self.out, shard.number, self.digest)
        unreached, came = 0, None
        for place, photo in enumerate(photos):
            if place in shard.fatal:
                result = ImagePrediction(photo, (), ENDED)
            else:
                report(place)
                try:
                    result = self._judged(photo)
                    came = photo if is_address(photo) else came
                except _Unreached as error:
                    result, unreached = ImagePrediction(photo, (), str(error)), unreached + 1
            part.add(shard.number * self.shard_size + place, result)
            wrong = result.error is not None
            counts += Counts(1, len(result.faces), int(wrong), int(wrong and result.image is None))
        if unreached and (came is None or not _answers(came)):  # it went away meanwhile
            return Counts(away=len(photos))
        if counts.errors and _away(photos):
            return Counts(away=len(photos))
        with open_store(self.out).write(part_name(shard.number)) as file:
            part.write(file)
        return counts

    def _judged(self, photo: str) -> ImagePrediction:
        predict = self.predictor().predict
        how = None, self.detection, self.landmarks, self.faces, self.min_face
        if not is_address(photo):
            return predict(photo, *how)
        try:
            content = _fetched(photo)
        except UserError:  # a package is missing: no photo of this kind can be fetched
            raise
        except Exception as error:  # whatever a store's own package raises
            problem = f"{photo} cannot be fetched ({str(error) or type(error).__name__})."
            if isinstance(error, FileNotFoundError):
                return ImagePrediction(photo, (), problem)
            raise _Unreached(problem) from error
        return replace(predict(content, *how), name=photo)


def _away(photos: list[str]) -> bool:
    """True if none of the photos is there, nor a folder that they were in, unless as an empty one."""
    if any(map(is_address, photos)):
        return False
    folders = {os.path.dirname(photo) for photo in photos}
    return not any(map(os.path.lexists, photos)) and not any(map(_holds_something, folders))


def _holds_something(folder: str) -> bool:
    try:
        with os.scandir(folder) as found:
            return any(found)
    except OSError:
        return False


@lru_cache(1)
def _loaded(model: str, device: str, coverage: float | None, truth: str, weights: str) -> "Predictor":
    from ferlib.predict import Predictor

    return Predictor.load(model, device, coverage, truth)


def _answers(address: str) -> bool:
    """True if the store of a photo that came from it still does."""
    try:
        _fetched(address)
    except FileNotFoundError:  # that is an answer
        return True
    except Exception:  # whatever a store's own package raises
        return False
    return True


def _fetched(address: str) -> bytes:
    """An object's bytes; asked for again where the store does not answer."""
    for tried in range(1, _TRIES + 1):
        try:
            system, path = file_system(address)
            return system.cat_file(path)
        except (FileNotFoundError, PermissionError, UserError):
            raise
        except Exception:
            if tried == _TRIES:
                raise
            time.sleep(_WAIT * tried)
    raise AssertionError("the last try returns or raises")
