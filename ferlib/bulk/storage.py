"""Folders whose files appear whole or not at all, on this machine or wherever fsspec reaches."""

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
_LOCAL = re.compile("^file://", re.IGNORECASE)


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
    return bool(_ADDRESS.match(path)) and not _LOCAL.match(path)


def local_path(path: str) -> str:
    """A local path, absolute; of a file:// address too."""
    return os.path.abspath(os.path.expanduser(_LOCAL.sub("", path, count=1)))


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
        return _Remote(address)
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
        partial = self.path / _partial(name)
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


def _partial(name: str) -> str:
    """A name for a file while it is not whole, of no other writer."""
    return f"_{name}.{uuid4().hex}.partial"


class _Remote:
    """A folder that fsspec reaches.

    Where its file system can rename, as a disk or a server can, unfinished files have names as in a `_Folder`. An
    object store cannot, and need not: an object appears once it was sent whole.
    """

    def __init__(self, address: str):
        self._system, self._path = file_system(address.rstrip("/"))
        from fsspec import AbstractFileSystem

        move = getattr(self._system.mv, "__func__", None)
        self._renames = move is not AbstractFileSystem.mv  # which copies and removes

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
            if self._renames:
                self._put_and_rename(str(local), name)
            else:
                self._system.put_file(str(local), f"{self._path}/{name}")

    def _put_and_rename(self, local: str, name: str) -> None:
        partial = _partial(name)
        try:
            self._system.put_file(local, f"{self._path}/{partial}")
            self._rename(partial, name)
        except BaseException:
            self._remove(partial)
            raise

    def _rename(self, partial: str, name: str) -> None:
        try:
            self._system.mv(f"{self._path}/{partial}", f"{self._path}/{name}")
        except Exception:  # every system has its own
            names = self.names()
            if name not in names:
                raise
            if partial in names:  # it does not replace a file; else another run ended first, and tidied up
                self._system.rm_file(f"{self._path}/{name}")
                self._system.mv(f"{self._path}/{partial}", f"{self._path}/{name}")

    def _remove(self, partial: str) -> None:
        with suppress(Exception):  # not there any more, or not to be removed: nobody reads it
            self._system.rm_file(f"{self._path}/{partial}")

    def remove_partial(self) -> None:
        if self._renames:
            for name in self.names():
                if name.startswith("_") and name.endswith(".partial"):
                    self._remove(name)
