"""The photos of a run: listed once, in order, in a Parquet file whose row groups are the shards."""

import codecs
import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ferlib.bulk.storage import file_system, is_address, local_path, open_store
from ferlib.errors import UserError
from ferlib.images import SUFFIXES
from ferlib.utils.files import walk_pictures

if TYPE_CHECKING:
    import pyarrow.parquet

LIST = "_photos.parquet"  # readers of a Parquet folder pass over names with _
_COLUMNS = ("image", "path", "file")  # of a Parquet list, the first of these that is there, or its only column
_LISTS = (".txt", ".parquet")
_NEITHER = (".csv", ".tsv", ".json", ".jsonl", ".xlsx")  # tables, but no photo and no list of paths alone


def photos_of(source: str) -> Iterator[bytes]:
    """Paths and addresses of a source's photos, in order, as the bytes the system has them in; local ones absolute.

    Args:
        source: a folder (all pictures in it and below, and folders there that cannot be read), a list of paths (.txt
            with one a line, or .parquet), a photo; or an address of one of these that fsspec reaches.

    Raises:
        UserError: there is no such source, it is a table of another kind, or a list that cannot be read.
    """
    if is_address(source):
        yield from _of_address(source)
        return
    if not source:
        raise UserError("an empty name is no folder, list or photo")
    path = Path(local_path(source))
    if path.is_dir():
        yield from map(os.fsencode, walk_pictures(path))
    elif not path.is_file():
        raise UserError(f"there is no folder, list or photo {source}")
    elif path.suffix.lower() in _LISTS:
        with path.open("rb") as file:
            yield from _of_list(file, source)
    else:
        yield from _of_one(source, os.fsencode(path))


def _of_address(source: str) -> Iterator[bytes]:
    system, path = file_system(source)
    try:
        if system.isdir(path):
            yield from map(os.fsencode, _in_folder(system, path, source))
        elif not system.isfile(path):
            raise UserError(f"there is no folder, list or photo {source}")
        elif Path(path).suffix.lower() in _LISTS:
            with system.open(path, "rb") as file:
                yield from _of_list(file, source)
        else:
            yield from _of_one(source, os.fsencode(source))
    except OSError as error:
        raise UserError(f"{source} cannot be read ({error})") from error


def _in_folder(system: Any, path: str, source: str) -> Iterator[str]:
    """Addresses of the pictures in a folder at an address and below, hidden ones left out."""
    own, chain, rest = source.partition("::")
    scheme, _, place = own.partition("://")
    place = place or path  # of a cache before another address: the same path
    place += "/" * (place != "" and not place.endswith("/"))
    for found in sorted(system.find(path)):
        below = found.lstrip("/").removeprefix(path.strip("/")).lstrip("/")
        if Path(below).suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in below.split("/")):
            yield found if "://" in found else f"{scheme}://{place}{below}{chain}{rest}"


def _of_one(source: str, photo: bytes) -> Iterator[bytes]:
    if source.lower().endswith(_NEITHER):
        raise UserError(f"{source} is no photo; a list of paths is a .txt with one a line, or a .parquet")
    yield photo


def _of_list(file: IO[bytes], name: str) -> Iterator[bytes]:
    for line in _of_parquet(file, name) if name.lower().endswith(".parquet") else _of_text(file, name):
        if line:
            text = os.fsdecode(line)
            yield line if is_address(text) else os.fsencode(local_path(text))


def _of_text(file: IO[bytes], name: str) -> Iterator[bytes]:
    for line in file:
        if b"\0" in line:
            raise UserError(f"{name} is no list in UTF-8, one path a line; save it as UTF-8")
        yield line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")  # some editors begin a file with such a mark


def _of_parquet(file: IO[bytes], name: str) -> Iterator[bytes]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
        columns = table.schema_arrow.names
        column = next((one for one in _COLUMNS if one in columns), columns[0] if len(columns) == 1 else None)
        if column is None:
            raise UserError(f"{name} has no column {', '.join(_COLUMNS[:-1])} or {_COLUMNS[-1]}, only {columns}")
        for batch in table.iter_batches(columns=[column]):
            for path in batch.column(0).to_pylist():
                yield os.fsencode(path or b"")
    except (pyarrow.ArrowException, TypeError) as error:
        raise UserError(f"{name} is not a readable list of paths ({error})") from error


class Listing:
    """Photos that are counted, and hashed, while they go through.

    Attributes:
        count: photos so far.
        digest: of their names so far.
    """

    def __init__(self, sources: Iterable[str]):
        self._sources, self._hash, self.count = sources, hashlib.sha256(), 0

    def __iter__(self) -> Iterator[bytes]:
        for source in self._sources:
            for photo in photos_of(source):
                self._hash.update(photo + b"\0")
                self.count += 1
                yield photo

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def write_list(photos: Listing, file: IO[bytes], shard_size: int) -> None:
    """Write the list, a row group a shard, and its digest."""
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([("image", pyarrow.binary())])
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        left = iter(photos)
        while shard := list(islice(left, shard_size)):
            writer.write_table(pyarrow.table([pyarrow.array(shard, pyarrow.binary())], schema=schema))
        writer.add_key_value_metadata({"digest": photos.digest})


def shard_of(out: str, number: int, digest: str) -> list[str]:
    """Paths and addresses of a shard's photos, in the list with this digest; `UserError` where it is damaged."""
    import pyarrow

    try:
        listed = _opened(out, digest)
        if (listed.metadata.metadata or {}).get(b"digest", digest.encode()) != digest.encode():  # older lists have none
            raise UserError(f"{LIST} in {out} is of other photos than its manifest; choose another folder")
        names = listed.read_row_group(number).column(0).to_pylist()
    except pyarrow.ArrowException as error:
        raise UserError(f"{LIST} in {out} is damaged ({error}); choose another folder") from error
    return [os.fsdecode(name) for name in names]


@lru_cache(1)
def _opened(out: str, digest: str) -> "pyarrow.parquet.ParquetFile":
    from pyarrow import parquet

    return parquet.ParquetFile(open_store(out).open(LIST))
