"""The notes at the foot of the page: on what an answer means and what happens to a photo, and on the model."""

from ferlib.app.model_choices import model_title
from ferlib.app.service import Service
from ferlib.results import MOST_NAMED

NOTES = """
**An expression in a picture is not a feeling.** The model names what a face looks like to it, not what somebody feels,
thinks or is like; people show the same feeling differently, and the model errs. Whether it errs more for some groups
of people was not measured; such models are known to.
Do not use it to judge anybody.

**Your photo** stays on the machine this page runs on: it is looked at in memory, kept for about ten minutes so that the
page can show it, then deleted. Nothing is sent anywhere else, and the server stores nothing about a face. Your browser
keeps the table of many photos, without the photos, for a reload; it is gone when you close its tab, empty the list or
have another list looked at.
"""
MODEL = """
<details><summary>What the model can answer</summary>

**The model** ({title}, `{name}`) sees one face at a time, {side} × {side} pixels, and shares 100 % among its
classes: {classes}. It cannot answer "none of these".{sets}

</details>
"""

SETS = f"""

**At 90 % coverage** the model names as many expressions as it takes to have the right one among them for nine faces in
ten. Where that takes more than {MOST_NAMED}, it cannot say. The threshold for being named differs by expression and is
lowest for the rarest: a rare expression can be among them, and a more probable common one not. This was fitted on small
grey web photos that the model was not trained on; on pictures of another kind it can fall short."""


def model_notes(service: Service, model: str | None = None) -> str:
    """The note on a model: the size at which it sees a face, its classes and its prediction sets (Markdown)."""
    name = model or next(iter(service.models))
    chosen = service.predictor(name)
    return MODEL.format(
        title=model_title(name),
        name=name,
        side=chosen.classifier.side,
        classes=", ".join(chosen.classes),
        sets=SETS if chosen.sets else "",
    )
