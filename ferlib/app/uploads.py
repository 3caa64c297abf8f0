"""The only place that opens what a client names: the pictures sent to this page, and the folder they lie in."""

import os
import stat
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from ferlib.app.cleanup import delete_oldest, files_by_age
from ferlib.images import MAX_PIXELS, ImageError, readable_formats
from ferlib.utils.printable import printable

MAX_FILE = 100_000_000  # bytes of one picture
MAX_BYTES, MAX_FILES = 2_000_000_000, 10_000  # in the folder together, boxed pictures included
SLOW_PIXELS = 1_000_000  # of a picture that Pillow decodes by Python code, a second or two
NEEDED = 60  # seconds for which an upload stays even if the folder is full
RECOUNT = 5  # seconds between two looks into the folder
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is ours, and told in a sentence
SHOWN = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")  # what a browser shows, and none of them can hold a script


@dataclass(frozen=True)
class Upload:
    """A picture that a client sent or named, not opened yet."""

    folder: Path
    path: str | None

    def open(self) -> BinaryIO:
        """The picture's bytes.

        Raises:
            ImageError: it was not sent to this page; the sentence is the same whether or not there is such a file.
        """
        return _open_below(self.folder, self.path or "")

    def film(self) -> Path:
        """The file of a film, for those who cannot do with its bytes.

        Raises:
            ImageError: it was not sent to this page.
        """
        self.open().close()
        return Path(self.path or "").resolve()


def _open_below(folder: Path, path: str) -> BinaryIO:
    """Open a regular file below a folder; whatever lies elsewhere is not even looked at."""
    name = printable(path.replace("\\", "/").rstrip("/").rpartition("/")[2]) or "The picture"
    refusal = (
        f"{name if len(name) <= 80 else name[:80] + '…'} is not among the pictures sent to this page, or it has been "
        "deleted since; please send it again."
    )
    root = folder.resolve()
    try:
        plain = Path(os.path.normpath(path))
        if "\0" in path or not (plain.is_relative_to(root) or plain.is_relative_to(folder)) or plain == root:
            raise ImageError(refusal)
        real = plain.resolve(strict=True)
        if not real.is_relative_to(root):
            raise ImageError(refusal)
        # a link that took the file's place in between is not followed; a pipe does not make us wait
        file = os.fdopen(os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except (OSError, ValueError, RuntimeError) as error:
        raise ImageError(refusal) from error
    info = os.fstat(file.fileno())
    if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_FILE:
        file.close()
        raise ImageError(refusal)
    return file


@dataclass
class Uploads:
    """The folder into which pictures are sent, with room for so much.

    Attributes:
        folder: uploads, and the pictures that the page makes of them.
        max_bytes: of all its files together.
        max_files: how many.
        kept: files that are the page's own and stay.
    """

    folder: Path
    max_bytes: int = MAX_BYTES
    max_files: int = MAX_FILES
    kept: frozenset[Path] = frozenset()
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _used: tuple[int, int] = (0, 0)  # bytes and files that lie there: of the last count, and what has come since
    _coming: tuple[int, int] = (0, 0)  # of uploads that have not ended
    _counted: float = -RECOUNT

    def keep(self) -> None:
        """Files that are there now are the page's own and stay."""
        self.kept = frozenset(path for _, _, path in files_by_age(self.folder))

    def sent(self, value: dict | None) -> Upload | None:
        """The picture that a client's value stands for; None without one. Nothing is opened yet.

        Args:
            value: as Gradio's clients send it: `path` is what /upload answered.
        """
        if not value:
            return None
        path, url = value.get("path"), value.get("url")
        if not path and not url:
            return None
        return Upload(self.folder, str(path or url))

    def stay(self, values: list[dict]) -> None:
        """Count pictures that will be looked at later as if they had just come: what is old is deleted.

        Args:
            values: see `sent`; one that is no longer there is left out.
        """
        for upload in filter(None, map(self.sent, values)):
            with suppress(ImageError), upload.open() as file:
                os.utime(file.fileno())

    def admit(self, size: int, files: int = 1) -> bool:
        """Keep room for so many bytes and files of an upload that begins or goes on, if there is; see `ended`.

        The oldest files give way, after `NEEDED` seconds.
        """
        with self._lock:
            if time.monotonic() - self._counted > RECOUNT:
                self._count()
            coming = self._coming[0] + size, self._coming[1] + files
            if not self._fits(*coming) and coming[0] <= self.max_bytes and coming[1] <= self.max_files:
                delete_oldest(self.folder, self.kept, self.max_bytes - coming[0], self.max_files - coming[1], NEEDED)
                self._count()
            if fits := self._fits(*coming):
                self._coming = coming
            return fits

    def ended(self, size: int, files: int = 1) -> None:
        """Count what was admitted of an upload among what lies there, until the next look into the folder."""
        with self._lock:
            self._coming = self._coming[0] - size, self._coming[1] - files
            self._used = self._used[0] + size, self._used[1] + files

    def _fits(self, size: int, files: int) -> bool:
        return self._used[0] + size <= self.max_bytes and self._used[1] + files <= self.max_files

    def _count(self) -> None:
        files = files_by_age(self.folder)
        self._used, self._counted = (sum(size for _, size, _ in files), len(files)), time.monotonic()

    def served(self, path: str) -> tuple[BinaryIO, str | None]:
        """A file, opened, and its media type if it is a picture that browsers show.

        Raises:
            ImageError: there is no such file in the folder.
        """
        file = _open_below(self.folder, path)
        return file, picture_type(file)


def picture_type(file: BinaryIO) -> str | None:
    """The media type of a picture by its own header, whatever its name says; None for anything else."""
    try:
        with Image.open(file, formats=SHOWN) as image:
            kind = image.format or ""
    except Exception:  # whatever a file that only begins like a picture makes Pillow's plugins raise
        kind = ""
    file.seek(0)
    return Image.MIME.get(kind)


def pixels_of(file: BinaryIO | np.ndarray | None) -> int:
    """Number of pixels a picture will have once decoded, by its header; `MAX_PIXELS` where that cannot be told.

    Raises:
        ImageError: it has many, in a form that Pillow decodes by Python code, and no other photo is read meanwhile.
    """
    if file is None or isinstance(file, np.ndarray):
        return 0 if file is None else file.shape[0] * file.shape[1]
    try:
        with Image.open(file, formats=readable_formats()) as image:
            pixels, slow = image.width * image.height, any(tile[0] in Image.DECODERS for tile in image.tile)
    except Exception:
        pixels, slow = MAX_PIXELS, False
    file.seek(0)
    if slow and pixels > SLOW_PIXELS:
        raise ImageError("The picture is stored in a form that takes long to read; save it as JPEG or PNG.")
    return min(pixels, MAX_PIXELS)
