"""A small labeller for notebooks: a face, a button a class. Needs ipywidgets.

from ferlib.annotation.widget import Labeller
Labeller(Path("faces"), ["tired", "laughing"], who="anna")
"""

from collections.abc import Sequence
from pathlib import Path

import ipywidgets as widgets

from ferlib.annotation.proposals import LabelFile, folder_of, read_proposals
from ferlib.data.dataset import DataError
from ferlib.data.folder import UNSORTED
from ferlib.utils.files import find_pictures


class Labeller(widgets.VBox):
    """Shows one face after the other, the least sure proposals first, and notes down which button was pressed.

    What was said stands in `labels-<who>.csv` (see `LabelFile`) and is gone on from the next time; the faces themselves
    are moved by `apply_labels` alone.

    Args:
        root: folder of `ferlib.annotation.proposals.propose_labels`.
        classes: a button each.
        who: the person who labels.
        hints: whether the proposal is marked. It makes labelling quicker, and people agree with it more often than they
            would without: leave it out where it is to be measured how far two people, or a person and a model, agree.

    Attributes:
        files: the faces in the order they are shown in.
        place: which of them is shown, from 0; `len(files)` at the end.
    """

    def __init__(self, root: Path, classes: Sequence[str], who: str = "me", hints: bool = True):
        self.labels, self.hints = LabelFile(root, who), hints
        paths = {path.name: path for path in find_pictures(root)}
        table = read_proposals(root)
        table = table[table["file"].isin(paths)].set_index("file")
        if table.empty:
            raise DataError(f"there are no faces in {root}")
        self.paths, self.proposed, self.files = paths, table["proposed"].to_dict(), list(table.index)
        done = set(self.labels.read().index)
        self.place = next((i for i, file in enumerate(self.files) if file not in done), len(self.files))

        self.title, self.picture = widgets.HTML(), widgets.Image(format="png", width=224, height=224)
        names = [*dict.fromkeys(map(folder_of, classes)), UNSORTED]
        self.buttons = {name: widgets.Button(description=name) for name in names}
        self.back = widgets.Button(description="one back", icon="arrow-left")
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: self.choose(name))
        self.back.on_click(lambda _: self.show(self.place - 1))
        row = widgets.HBox([*self.buttons.values(), self.back], layout={"flex_flow": "row wrap"})
        super().__init__([self.title, self.picture, row])
        self.show(self.place)

    def choose(self, label: str) -> None:
        """Note down a label for the face that is shown, and show the next one."""
        if self.place < len(self.files):
            self.labels.add(self.files[self.place], label)
            self.show(self.place + 1)

    def show(self, place: int) -> None:
        """Show another face."""
        self.place = min(max(place, 0), len(self.files))
        ended = self.place == len(self.files)
        self.title.value = "All done." if ended else f"Face {self.place + 1} of {len(self.files)}"
        self.picture.value = b"" if ended else self.paths[self.files[self.place]].read_bytes()
        self.picture.layout.visibility = "hidden" if ended else "visible"
        proposed = "" if ended or not self.hints else self.proposed[self.files[self.place]]
        for name, button in self.buttons.items():
            button.disabled, button.button_style = ended, "info" if name == proposed else ""
        self.back.disabled = self.place == 0
