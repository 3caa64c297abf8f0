"""Progress of the latest uploads."""

import asyncio

from ferlib.app import upload_progress
from ferlib.app.upload_progress import LatestUploads


def test_only_the_latest_uploads_are_remembered(monkeypatch):
    monkeypatch.setattr(upload_progress, "LATEST", 10)

    async def ask() -> LatestUploads:
        uploads = LatestUploads()
        for number in range(30):
            uploads.append(f"sent {number}", "a.jpg", b"12345")
            asked = asyncio.ensure_future(uploads.is_tracked(f"never sent {number}"))
            await asyncio.sleep(0)
            asked.cancel()
        assert await uploads.is_tracked("sent 29") and uploads.pop("sent 29").chunk_size == 5
        return uploads

    uploads = asyncio.run(ask())
    assert len(uploads._statuses) == 10 and len(uploads._signals) == 10
