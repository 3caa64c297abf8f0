"""A tab of the page."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import gradio as gr

from ferlib.app.model_choices import model_choices
from ferlib.app.service import Service
from ferlib.app.uploads import Uploads
from ferlib.utils.printable import printable

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
# Gradio's own image reader fails on a broken file and knows no limit, so the listeners are told where an upload lies;
# what is wrong with it, ferlib.images says in a sentence. How many may ask at a time is the service's business.
RAW: dict[str, Any] = {"preprocess": False, "concurrency_limit": None}
# Every choice is answered, in turn. "always_last" is for one listener of an event alone: for the choice that waited,
# Gradio asks all of them again, and two that wait would keep each other asking.
EVERY: dict[str, Any] = {"trigger_mode": "multiple"}
AGAIN = "Please try again."


def file_name(file: dict | None) -> str:
    """The name of a file as a client sent it, without folders; "" where it has none."""
    sent = file or {}
    return printable(Path(str(sent.get("orig_name") or sent.get("path") or "")).name)


class Tab(ABC):
    """A tab of the page: its components, and the listeners behind them.

    Attributes:
        tab: Gradio's own, once it is built.
        filled: components that depend on the models, in the order of what `begin` gives.

    Args:
        service: which judges photos.
        uploads: the pictures that visitors sent.
    """

    tab: gr.Tab
    filled: tuple[gr.Component, ...] = ()

    def __init__(self, service: Service, uploads: Uploads):
        self.service, self.uploads = service, uploads

    @abstractmethod
    def build(self, examples: list[str]) -> None:
        """Lay the tab out inside the `gr.Tabs` that is open, and connect its listeners.

        Args:
            examples: files of pictures to try.
        """

    def begin(self) -> list[Any]:
        """New values of `filled`, once the models are loaded."""
        return []

    def choice(self) -> gr.Dropdown:
        """The models to choose from, the default first."""
        choices = model_choices(self.service)
        return gr.Dropdown(choices=choices, value=choices[0][1])
