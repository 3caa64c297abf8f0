"""The note beside a table that says what it is made of, so that only the same run takes it up again."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from ferlib.bulk.job import Job
from ferlib.bulk.photos import LIST, Listing, write_list
from ferlib.bulk.storage import open_store
from ferlib.errors import UserError
from ferlib.runtime.released import model_folder
from ferlib.utils.atomic import parse_json

NAME = "_manifest.json"
_FORM = 1  # of table and list
_WAYS_OUT = "go on with the same ones, or choose another folder"


@dataclass(frozen=True)
class Manifest:
    """The inputs of a table.

    Attributes:
        photos: number of photos.
        digest: of their names, in order.
        shard_size: photos a shard.
        model: digest of its files.
        columns: of the table.
        detection: whether faces were searched, or the photos are faces.
        faces, min_face: which faces were wanted.
        coverage, truth: of prediction sets.
        form: of table and list.
    """

    photos: int
    digest: str
    shard_size: int
    model: str
    columns: list[str]
    detection: bool
    coverage: float | None
    truth: str
    faces: str
    min_face: float | None
    form: int = _FORM

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.photos // self.shard_size)


def begin(job: Job, sources: Iterable[str]) -> Manifest:
    """The manifest of a run: written with the list of its photos, or found to be that of the run to take up.

    Raises:
        UserError: the folder holds something else, or a table of other inputs; or there is no photo.
    """
    store, listing = open_store(job.out), Listing(sources)
    names = store.names()
    if NAME in names:
        for _ in listing:  # counted and hashed
            pass
        return _agreed(job, _of(job, listing))
    if others := sorted(name for name in names if not name.startswith("_")):
        raise UserError(f"{job.out} holds something else ({others[0]}); choose another folder")
    with suppress(_BegunMeanwhile), store.write(LIST) as file:
        write_list(listing, file, job.shard_size)
        if not listing.count:
            raise UserError("there is no photo in " + ", ".join(sources))
        if NAME in store.names():  # listing may have taken long; the other run's list stays
            raise _BegunMeanwhile
    manifest = _of(job, listing)
    if NAME not in store.names():
        with store.write(NAME) as file:
            file.write(json.dumps(asdict(manifest), indent=1).encode())
    return _agreed(job, manifest)


class _BegunMeanwhile(Exception):
    pass


def _agreed(job: Job, manifest: Manifest) -> Manifest:
    """The manifest of a run, if it is the one that is there; else a `UserError`."""
    with open_store(job.out).open(NAME) as file:
        found = parse_json(file.read(), f"{NAME} in {job.out}")
    for name, value in asdict(manifest).items():
        if found.get(name) != value:
            raise UserError(f"{job.out} was begun with other inputs ({_differs(name, found, value)}); {_WAYS_OUT}")
    return manifest


def _differs(name: str, found: dict[str, Any], value: Any) -> str:
    """In words: what of two manifests differs."""
    if name in ("digest", "model", "columns"):
        return {"digest": "names of photos"}.get(name, name)
    return f"{name.replace('_', ' ')}: {found.get(name)}, now {value}"


def _of(job: Job, listing: Listing) -> Manifest:
    columns, model = list(job.part().names), job.weights or weights_digest(job.model)
    return Manifest(
        listing.count, listing.digest, job.shard_size, model, columns, job.detection, job.coverage, job.truth,
        job.faces, job.min_face,
    )  # fmt: skip


def weights_digest(model: str) -> str:
    """A digest of the files that a model's answers come from."""
    total = sha256()
    for path in sorted(model_folder(model).iterdir()):
        if path.suffix in (".onnx", ".safetensors") or path.name in ("config.json", "conformal.json"):
            total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()
