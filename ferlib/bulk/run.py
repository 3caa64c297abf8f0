"""A table of very many photos: begun, or taken up where it was left."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ferlib.bulk.cluster import do_on_cluster
from ferlib.bulk.job import Counts, Job
from ferlib.bulk.local import do_locally
from ferlib.bulk.manifest import begin, weights_digest
from ferlib.bulk.progress import Progress
from ferlib.bulk.storage import is_address, local_path, open_store
from ferlib.bulk.table import part_name
from ferlib.detection.faces import require_min_face
from ferlib.detection.main_face import require_choice
from ferlib.errors import UserError
from ferlib.predict import DEFAULT_MODEL
from ferlib.runtime.released import released_models
from ferlib.runtime.session import available_threads
from ferlib.utils.packages import require

ENGINES = ("local", "ray")
SHARD_SIZE = 500  # photos: a killed process loses no more


@dataclass(frozen=True)
class Summary:
    """Numbers of a run.

    Attributes:
        photos: of the whole table.
        before: of them, those in parts that were finished before.
        faces: found in this run.
        errors: photos of this run without a face, whose row says why.
        unread: of these, photos that could not be read.
        away: photos without a row yet: neither they nor their folders were there. The same call looks for them again.
        rate: photos a second of this run.
    """

    photos: int
    before: int
    faces: int
    errors: int
    unread: int
    away: int
    rate: float


def predict_table(
    sources: str | os.PathLike | Iterable[str | os.PathLike],
    out: str | os.PathLike,
    workers: int | None = None,
    model: str | Path = DEFAULT_MODEL,
    engine: str = "local",
    address: str | None = None,
    shard_size: int = SHARD_SIZE,
    visible: bool = False,
    **settings: Any,
) -> Summary:
    """Make a Parquet table of the faces in photos, a row a face; go on with it where a run was stopped.

    Args:
        sources: folders, lists of paths (.txt, .parquet), photos; or addresses of these that fsspec reaches (s3://…).
        out: folder of the table, or an address. Every shard is a part of it, `ferlib.bulk.table.Part` has the columns.
        workers: processes; None: as many as `ferlib.runtime.session.available_threads` says, on a cluster one a core.
        model: as `Predictor.load` takes it.
        engine: "local", or "ray" for a cluster.
        address: of the Ray cluster; None starts one on this machine, or takes RAY_ADDRESS's.
        shard_size: photos a part.
        visible: True shows progress on standard error.
        **settings: `device`, `coverage`, `truth` of `Predictor.load`; `detection`, `landmarks`, `faces`, `min_face` of
            `predict`.

    Raises:
        UserError: a source is not there, a setting means nothing, the folder is a file, holds something else or was
            begun with other inputs.
        MissingPackage: pyarrow, fsspec or Ray is not installed, and needed.
        RunError: the workers do not start.
    """
    require("a table in Parquet", "pyarrow")
    if engine not in ENGINES:
        raise UserError(f"the engine is one of {', '.join(ENGINES)}, not {engine!r}")
    if engine == "ray":
        require("a cluster", "ray")
    if address and engine != "ray":
        raise UserError("an address is of a Ray cluster, which the engine ray asks")
    if shard_size < 1 or (workers is not None and workers < 1):
        raise UserError("a shard has at least one photo, and a run one worker")
    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    named = [os.fsdecode(source) for source in given]
    named_model = _absolute_model(str(model))
    weights = weights_digest(named_model)
    job = Job(_absolute(os.fsdecode(out)), shard_size, named_model, weights=weights, **settings)
    require_choice(job.faces)
    require_min_face(job.min_face)
    job.part()  # what the model refuses is told before millions of photos are listed
    manifest = begin(job, named)
    job = replace(job, digest=manifest.digest)
    store = open_store(job.out)
    names = store.names()
    left = [number for number in range(manifest.shards) if part_name(number) not in names]
    photos_left = sum(min(shard_size, manifest.photos - number * shard_size) for number in left)
    progress = Progress(manifest.photos, manifest.photos - photos_left, visible)
    total = Counts()
    try:
        for number, counts in zip(left, _engine(job, left, workers, engine, address, progress), strict=True):
            progress.shard_done(number, counts.photos + counts.away)
            total += counts
    finally:
        progress.end()
    store.remove_partial()
    told = total.faces, total.errors, total.unread, total.away
    return Summary(manifest.photos, progress.finished, *told, progress.rate())


def _engine(
    job: Job, shards: list[int], workers: int | None, engine: str, address: str | None, progress: Progress
) -> Iterator[Counts]:
    if not shards:
        return iter(())
    if engine == "ray":
        return do_on_cluster(job, shards, workers, address)
    return do_locally(job, shards, min(workers or available_threads(), len(shards)), progress.at)


def _absolute(path: str) -> str:
    """A path for processes that stand in another folder."""
    return path if is_address(path) else local_path(path)


def _absolute_model(model: str) -> str:
    return local_path(model) if model not in released_models() and Path(local_path(model)).is_dir() else model
