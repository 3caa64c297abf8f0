"""The faces that one person labels, one after the other; behind the widget and the small page of chapter 7."""

from collections.abc import Collection
from pathlib import Path

from ferlib.annotation.proposals import LabelFile, faces_below, read_proposals
from ferlib.data.dataset import DataError


class LabelQueue:
    """Faces in the order they are labelled in, the least sure proposals first, and what was said about them.

    Labels stand in `labels-<who>.csv` (see `LabelFile`) and are gone on from the next time; the faces themselves are
    moved by `ferlib.annotation.proposals.apply_labels` alone.

    Args:
        root: folder of `ferlib.annotation.proposals.propose_labels`.
        who: the person who labels.
        only: names of the faces to label; None: all.

    Attributes:
        files: names of the faces in their order.
        place: which of them comes next, from 0; `len(files)` at the end.
        proposed: name -> what the model proposed.

    Raises:
        DataError: there are no such faces.
    """

    def __init__(self, root: Path, who: str = "me", only: Collection[str] | None = None):
        self.labels, self._root = LabelFile(root, who), root
        table = read_proposals(root)
        self._paths = faces_below(root)
        wanted = self._paths if only is None else self._paths.keys() & only
        table = table[table["file"].isin(wanted)].set_index("file")
        if table.empty:
            raise DataError(f"there are no faces in {root}")
        self.proposed, self.files = table["proposed"].to_dict(), list(table.index)
        self.skip_labelled()

    @property
    def file(self) -> str | None:
        """Name of the face that comes next; None at the end."""
        return self.files[self.place] if self.place < len(self.files) else None

    def path(self, file: str) -> Path | None:
        """The file of a face, which people may have moved meanwhile; None if it is gone."""
        if file not in self._paths or not self._paths[file].exists():
            self._paths = faces_below(self._root)
        return self._paths.get(file)

    def choose(self, label: str, file: str | None) -> None:
        """Note down a label for the face that was seen, and go on after it; for None, which is no face, nothing."""
        if file is not None:
            self.labels.add(file, label)
            self.go_to(self.files.index(file) + 1 if file in self.files else self.place)

    def go_to(self, place: int) -> None:
        """Make another face the next one, or the first after it that is not gone."""
        self.place = min(max(place, 0), len(self.files))
        while self.file is not None and self.path(self.file) is None:
            del self.files[self.place]

    def skip_labelled(self) -> None:
        """Go to the first face without a label."""
        done = set(self.labels.read().index)
        self.go_to(next((i for i, file in enumerate(self.files) if file not in done), len(self.files)))
