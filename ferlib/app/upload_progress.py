"""Progress of the latest uploads; Gradio's own record keeps a note on every one there ever was."""

import asyncio

from gradio.route_utils import FileUploadProgress
from gradio.utils import LRUCache

LATEST = 1000  # uploads


class LatestUploads(FileUploadProgress):
    """For Gradio's `file_upload_statuses`: of an upload whose id is not among the latest, nothing is known any more."""

    def __init__(self) -> None:
        super().__init__()
        self._statuses = LRUCache(LATEST)
        self._signals = _Signals(LATEST)  # type: ignore[assignment]  # Gradio needs a mapping


class _Signals(LRUCache[str, asyncio.Event]):
    def __missing__(self, upload: str) -> asyncio.Event:
        self[upload] = signal = asyncio.Event()
        return signal
