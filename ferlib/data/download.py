"""Getting a data set: open ones are downloaded, for the others it is said where to apply and what to put where.

Whatever is downloaded stands under another name until it is complete and checked, so an interrupted download leaves
nothing behind that looks like a data set.
"""

import http.client
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from ferlib.data import fer2013
from ferlib.data.dataset import DataError
from ferlib.data.facial_expressions import read_legend
from ferlib.data.registry import NAMES, SOURCES, data_roots, find_dataset
from ferlib.utils.atomic import atomic_write

#: Where the open parts come from.
ADDRESSES = {
    "facial_expressions": "https://github.com/muxspace/facial_expressions",
    "ferplus": "https://raw.githubusercontent.com/microsoft/FERPlus/master/fer2013new.csv",
}
TIMEOUT = 15  # seconds without an answer
CHUNK = 1 << 16  # bytes


def download_dataset(name: str, root: str | Path | None = None, address: str | None = None) -> Path:
    """Downloads a data set unless it is there, and returns its folder.

    Args:
        name: one of the registry's sets on disk.
        root: the folder to put it below; default: the first place where `load_dataset` looks.
        address: where to download from instead of `ADDRESSES[name]`.

    Raises:
        DataError: it cannot be had without a licence, or the download failed; the message says what to do.
    """
    if name not in SOURCES:
        what = f"there is nothing to get for {name!r}" if name in NAMES else f"unknown data set {name!r}"
        raise DataError(f"{what}; sets to get are {', '.join(SOURCES)}")
    found = find_dataset(name, root)
    if found:
        return found
    base = data_roots(root)[0]
    folder = base / SOURCES[name].folder
    if name == "facial_expressions":
        _clone(address or ADDRESSES[name], folder)
    elif name == "ferplus":
        folder = find_dataset("fer2013", root) or folder
        _get_votes(address or ADDRESSES[name], folder)
    else:
        raise DataError(
            f"{name} needs a licence and cannot be downloaded for you. To get it: {SOURCES[name].how_to_get}; "
            f"all below {base}"
        )
    return folder


def download(address: str, target: Path) -> None:
    """One file, with a progress bar; complete or not at all.

    Raises:
        DataError: no answer, a refusal, or a transfer that broke off.
    """
    with _open(address) as response, target.open("wb") as file:
        length, received = int(response.headers.get("Content-Length") or 0), 0
        bar = tqdm(desc=address.rpartition("/")[2], total=length or None, unit="B", unit_scale=True, unit_divisor=1024)
        with bar:
            try:
                while chunk := response.read(CHUNK):
                    file.write(chunk)
                    received += len(chunk)
                    bar.update(len(chunk))
            except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
                raise DataError(f"the download of {address} broke off after {received:,} bytes ({error!r})") from error
    if length and received != length:
        raise DataError(f"the download of {address} broke off after {received:,} of {length:,} bytes; try again")


def _open(address: str, below: str = "") -> http.client.HTTPResponse:
    """The answer to a request for an address (or something below it), or a DataError within `TIMEOUT` seconds."""
    try:
        return urllib.request.urlopen(address + below, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        raise DataError(f"{address} cannot be downloaded: the server says {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", error)
        raise DataError(f"{address} cannot be reached; is this machine online? ({reason})") from error


def _get_votes(address: str, folder: Path) -> None:
    """FERPlus: the votes are open, the pictures they belong to are FER2013's and need a licence."""
    target = folder / "fer2013new.csv"
    if not target.is_file():
        with atomic_write(target) as partial:
            download(address, partial)
            _check_votes(partial, address)
    if find_dataset("ferplus", folder) is None:
        raise DataError(
            f"FERPlus's labels are in {target}, its pictures are FER2013's and cannot be downloaded for you. "
            f"To get them: {SOURCES['fer2013'].how_to_get}; all below {folder.parent}"
        )


def _check_votes(path: Path, address: str) -> None:
    """Raises unless the file is FERPlus's table."""
    try:
        table = pd.read_csv(path)
    except ValueError as error:
        raise DataError(f"what {address} sends is not FERPlus's table ({error})") from error
    missing = [column for column in ("Usage", *fer2013.VOTE_COLUMNS) if column not in table]
    if missing or len(table) != fer2013.ROWS:
        found = f"the columns {missing} are missing" if missing else f"{len(table):,} rows instead of {fer2013.ROWS:,}"
        raise DataError(f"what {address} sends is not FERPlus's table: {found}")


def _clone(address: str, folder: Path) -> None:
    """facial_expressions: its git repository, without its history."""
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder} is there but is not the whole data set; move it away and try again")
    if not shutil.which("git"):
        raise DataError("facial_expressions is downloaded by git, which is not installed here")
    if address.startswith(("http://", "https://")):
        _open(address, "/info/refs?service=git-upload-pack").close()  # git alone would wait minutes for an answer
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    stalled = ["-c", "http.lowSpeedLimit=1000", "-c", f"http.lowSpeedTime={2 * TIMEOUT}"]
    command = ["git", *stalled, "clone", "--depth", "1", "--progress", "--", address, str(partial)]
    try:
        result = subprocess.run(command, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"}, stdin=subprocess.DEVNULL)
        if result.returncode:
            raise DataError(f"git could not clone {address} (exit code {result.returncode}, its own words are above)")
        if not (partial / "images").is_dir():
            raise DataError(f"what {address} holds is not facial_expressions: it has no folder images")
        read_legend(partial)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
