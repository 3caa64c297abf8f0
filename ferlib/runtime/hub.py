"""Files from the Hugging Face hub: from its local cache if they are there, else downloaded; offline, fails at once."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError


def hub_folder(repo: str, files: list[str], optional: Sequence[str] = ()) -> Path:
    """A local folder with these files of a hub repository.

    Args:
        repo: "owner/name".
        files: names or patterns; each must be there.
        optional: the same, of files that come along where the repository has them.

    Raises:
        OSError: the hub cannot be reached, must not be (`HF_HUB_OFFLINE`), or has no such repository.
    """
    folder = None
    try:
        folder = Path(snapshot_download(repo, allow_patterns=[*files, *optional], local_files_only=True))
        if all(_found(folder, files)) and (not optional or any(_found(folder, optional))):
            return folder
    except (LocalEntryNotFoundError, HFValidationError) as error:
        if path := getattr(error, "snapshot_path", None):  # it knows that some are missing: the optional ones, perhaps
            folder = Path(path)
    try:
        _assert_reachable()  # the hub's own client would try again and again for most of a minute
        return Path(snapshot_download(repo, allow_patterns=[*files, *optional]))
    except Exception as error:  # the hub's client has errors of its own, and those of the client below it
        if folder and all(_found(folder, files)):  # another program left the optional ones out
            return folder
        raise OSError(str(error) or type(error).__name__) from error


def _found(folder: Path, files: Sequence[str]) -> list[bool]:
    return [any(folder.glob(file)) for file in files]


def _assert_reachable() -> None:
    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    with suppress(HTTPError), urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=5):
        pass  # also an error is an answer: mirrors have nothing at the top
