"""Folders whose files appear whole or not at all, on this machine or in an object store (by fsspec)."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol
from uuid import uuid4

from ferlib.errors import UserError
from ferlib.utils.packages import require

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+(://|::)", re.IGNORECASE)


class Store(Protocol):
    """A folder."""

    def names(self) -> set[str]:
        """Names of its files; none where there is no folder yet."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """A file to read.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def write(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A file to write, which has its name when the block ends, whole."""
        ...

    def remove_partial(self) -> None:
        """Remove what writers left that were killed."""
        ...


def is_address(path: str) -> bool:
    """True for a place that fsspec reaches, as ``s3://bucket/key`` or in an archive; ``file://`` is a local path."""
    return bool(_ADDRESS.match(path)) and not path.startswith("file://")


def local_path(path: str) -> str:
    """A local path, absolute; of a file:// address too."""
    return os.path.abspath(os.path.expanduser(path.removeprefix("file://")))


def file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it.

    Raises:
        MissingPackage: fsspec is not installed, or what it needs for this address.
    """
    require(address.partition(":")[0] + "://", "fsspec")
    import fsspec

    try:
        return fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise UserError(f"{address} cannot be reached: {error}") from error


def open_store(address: str) -> Store:
    """The folder of that path or address; `UserError` where that is a file."""
    if is_address(address):
        return _Objects(address)
    path = Path(local_path(address))
    if os.path.exists(path) and not path.is_dir():
        raise UserError(f"{path} is a file; a table needs a folder")
    return _Folder(path)


class _Folder:
    """A folder of this machine. Unfinished files begin with `_`, which readers of a Parquet folder pass over."""

    def __init__(self, path: Path):
        self.path = path

    def names(self) -> set[str]:
        return set(os.listdir(self.path)) if self.path.is_dir() else set()

    def open(self, name: str) -> IO[bytes]:
        return (self.path / name).open("rb")

    @contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        partial = self.path / f"_{name}.{uuid4().hex}.partial"
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # a power cut leaves no empty file with the final name
            try:
                partial.replace(self.path / name)
            except FileNotFoundError:
                if not (self.path / name).exists():  # else another run of the same table ended first, and tidied up
                    raise
        except BaseException:
            partial.unlink(missing_ok=True)
            with suppress(OSError):  # one that is not empty stays
                for folder in made:
                    folder.rmdir()
            raise

    def remove_partial(self) -> None:
        for partial in self.path.glob("_*.partial"):
            partial.unlink(missing_ok=True)


class _Objects:
    """A prefix of an object store, where an object appears once it was sent whole."""

    def __init__(self, address: str):
        self._system, self._path = file_system(address.rstrip("/"))

    def names(self) -> set[str]:
        self._system.invalidate_cache()
        try:
            return {path.rpartition("/")[2] for path in self._system.ls(self._path, detail=False)}
        except FileNotFoundError:
            return set()

    def open(self, name: str) -> IO[bytes]:
        return self._system.open(f"{self._path}/{name}", "rb")

    @contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        with tempfile.TemporaryDirectory(prefix="ferlib-") as folder:
            local = Path(folder) / name
            with local.open("wb") as file:
                yield file
            self._system.makedirs(self._path, exist_ok=True)
            self._system.put_file(str(local), f"{self._path}/{name}")

    def remove_partial(self) -> None:
        """Nothing is to be seen of an object that was not sent whole."""
