"""A small labeller for notebooks: a face, a button a class. Needs ipywidgets.

from ferlib.annotation.widget import Labeller
Labeller(Path("faces"), ["tired", "laughing"], who="anna")
"""

from collections.abc import Sequence
from pathlib import Path

import ipywidgets as widgets

from ferlib.annotation.proposals import folder_of
from ferlib.annotation.queue import LabelQueue
from ferlib.data.folder import UNSORTED


class Labeller(widgets.VBox):
    """Shows one face after the other, the least sure proposals first, and notes down which button was pressed.

    What was said is kept as `ferlib.annotation.queue.LabelQueue` says.

    Args:
        root: folder of `ferlib.annotation.proposals.propose_labels`.
        classes: a button each.
        who: the person who labels.
        hints: whether the proposal is marked. It makes labelling quicker, and people agree with it more often than they
            would without: leave it out where it is to be measured how far two people, or a person and a model, agree.

    Attributes:
        file: name of the face that is shown, which a button's label is for; None at the end.
    """

    def __init__(self, root: Path, classes: Sequence[str], who: str = "me", hints: bool = True):
        self.queue, self.hints = LabelQueue(root, who), hints
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

    @property
    def files(self) -> list[str]:
        """The faces in the order they are shown in."""
        return self.queue.files

    @property
    def place(self) -> int:
        """Position of the face that is shown, from 0; `len(files)` at the end."""
        return self.queue.place

    def choose(self, label: str) -> None:
        """Note down a label for the face that is shown, and show the next one."""
        self.queue.choose(label, self.file)
        self.show(self.place)

    def show(self, place: int) -> None:
        """Show another face."""
        self.queue.go_to(place)
        file = self.queue.file
        path = self.queue.path(file) if file else None
        picture = path.read_bytes() if path else b""
        self.file = file
        self.title.value = f"Face {self.place + 1} of {len(self.files)}" if file else "All done."
        self.picture.value = picture
        self.picture.layout.visibility = "visible" if file else "hidden"
        proposed = self.queue.proposed[file] if file and self.hints else ""
        for name, button in self.buttons.items():
            button.disabled, button.button_style = file is None, "info" if name == proposed else ""
        self.back.disabled = self.place == 0
