"""Files from the Hugging Face hub: from its local cache if they are there, else downloaded; offline, fails at once."""

from collections.abc import Sequence
from pathlib import Path
from urllib.request import Request, urlopen

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled


def hub_folder(repo: str, files: list[str], optional: Sequence[str] = ()) -> Path:
    """A local folder with these files of a hub repository.

    Args:
        repo: "owner/name".
        files: names or patterns; each must be there.
        optional: the same, of files that come along where the repository has them.

    Raises:
        OSError: the hub cannot be reached, must not be (`HF_HUB_OFFLINE`), or has no such repository.
    """
    try:
        folder = Path(snapshot_download(repo, allow_patterns=[*files, *optional], local_files_only=True))
        if all(any(folder.glob(file)) for file in files):
            return folder
    except (LocalEntryNotFoundError, HFValidationError):
        pass
    try:
        _assert_reachable()  # the hub's own client would try again and again for most of a minute
        return Path(snapshot_download(repo, allow_patterns=[*files, *optional]))
    except (HfHubHTTPError, OfflineModeIsEnabled, HFValidationError) as error:
        raise OSError(str(error)) from error


def _assert_reachable() -> None:
    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    with urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=5):
        pass
