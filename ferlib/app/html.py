"""The HTML of answers: a card for each face of a photo, one face among different neighbours, a model's classes."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ferlib.app.batch_demo import Companies
from ferlib.app.drawing import colour_of, data_url, ink_of
from ferlib.app.messages import (
    METHOD_MEANINGS,
    METHOD_TITLES,
    agreement,
    percent,
    ranked,
    sentence,
    set_in_words,
    where_it_looked,
)
from ferlib.results import FacePrediction, ImagePrediction
from ferlib.runtime.boxes import MANY_FACES, colour, ink

if TYPE_CHECKING:
    from ferlib.evaluation.report_format import Report

WELCOME = """<div class="note"><b>The result appears here.</b><br>
Drop a photo, paste one, take one, or click an example: every face is boxed, numbered and explained.</div>"""

LOOK_HERE = "Faces that look roughly into the camera are found best."


def problem(error: str, hint: str, unreadable: bool = False) -> str:
    """A sentence that says what went wrong, and one that says what to do."""
    kind = "note problem unreadable" if unreadable else "note problem"
    return f'<div class="{kind}" role="alert"><b>{escape(error)}</b><br>{escape(hint)}</div>'


def report(results: Sequence[ImagePrediction], names: Sequence[str], method: str | None) -> str:
    """A card for each face, or the sentence that says why there is none.

    Args:
        results: of one photo, from one model or several.
        names: of the models.
        method: how the answers are explained, or None.
    """
    first = results[0]
    if first.error:
        unreadable = first.image is None
        hint = "Please try another picture." if unreadable else LOOK_HERE
        return problem(first.error, hint, unreadable)
    count = len(first.faces)
    heading = "One face found." if count == 1 else f"{count} faces found, numbered from left to right."
    if count > MANY_FACES:
        heading += " Click one for its details."
    faces = zip(*(result.faces for result in results), strict=True)
    cards = "".join(card(number, one, names, method, count <= MANY_FACES) for number, one in enumerate(faces, start=1))
    return f'<h2 role="status">{heading}</h2>{cards}'


def card(number: int, faces: Sequence[FacePrediction], names: Sequence[str], method: str | None, unfolded: bool) -> str:
    """One face, as one or several models judge it: the sentence, then what each saw, where it looked, what it says."""
    face = faces[0]
    more = f" {agreement(faces)}" if len(faces) == 2 else ""
    judgements = "".join(
        judgement(number, one, name if len(faces) > 1 else None, method) for one, name in zip(faces, names, strict=True)
    )
    return (
        f'<details class="face" style="--colour:{colour_of(face)};--ink:{ink_of(face)}"{" open" * unfolded}>'
        f"<summary><b>{number}</b>{escape(sentence(number, face) + more)}</summary>{judgements}</details>"
    )


def judgement(number: int, face: FacePrediction, name: str | None, method: str | None) -> str:
    """One model's result for a face as HTML: pictures, the probability of every class, and a sentence."""
    figures = picture(face.face, f"Face {number}", "what the model saw")
    second = escape(ranked(face)[1][0])
    words = f"Margin to the second class, {second}: <b>{face.margin * 100:.0f} percentage points</b>."
    if face.heatmap is not None and method:
        figures += picture(face.face, f"Heat map over face {number}", "where it looked", over=face.overlay(opacity=1))
        words += f" {where_it_looked(face) or ''} {METHOD_MEANINGS[method]} ({METHOD_TITLES[method]})"
    if name:  # several models: the sentence above is the first one's
        words = " ".join([*map(escape, set_in_words(face)), words])
    heading = f"<h3>{escape(name)}</h3>" if name else ""
    return (
        f'{heading}<div class="judgement"><div class="pictures">{figures}</div>{bars(face)}</div>'
        f'<p class="words">{words}</p>'
    )


def picture(pixels: np.ndarray, alt: str, caption: str, over: np.ndarray | None = None) -> str:
    """A captioned picture (H, W, 3) uint8; `over` lies upon it, as opaque as the page's slider says."""
    above = "" if over is None else f'<img class="heat" src="{data_url(over)}" alt="">'
    return (
        f'<figure><div><img src="{data_url(pixels)}" alt="{escape(alt)}">{above}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def bars(face: FacePrediction) -> str:
    """The probability of every class as a table with bars, the most probable first."""
    rows = "".join(
        f'<tr><th scope="row">{escape(label)}</th><td><i style="width:{score:.2%};background:{colour(label)}"></i></td>'
        f"<td>{percent(score)}</td></tr>"
        for label, score in ranked(face)
    )
    return f"<table>{rows}</table>"


def companies_table(found: "Companies") -> str:
    """One face among different neighbours: what the published model says in each company, and what the honest one."""
    published, honest = found.answers("published"), found.answers("honest")
    rows = ""
    for row in found.rows:
        faces = "".join(f'<img src="{data_url(pixels)}" alt="">' for pixels in row.pictures)
        company = f"{faces}<br>15 synthetic faces: {row.expression}" if row.expression else "nobody, the face is alone"
        cells = "".join(f"<td>{tag(scores)}</td>" for scores in (row.published, row.honest))
        rows += f'<tr><th scope="row">{company}</th>{cells}</tr>'
    verdict = f"The published model gives {kinds(published)} for one and the same face; ours gives {kinds(honest)}."
    if len(set(published)) == 1:
        verdict = f"The published model says {published[0]} in every company, but look at how sure it is."
    return (
        f'<div class="companies"><div class="you"><img src="{data_url(found.face)}" alt="Your face">'
        f'<h2 role="status">{escape(verdict)}</h2></div><table><thead><tr><th scope="col">neighbours in the batch</th>'
        '<th scope="col">published model, attention across the batch</th>'
        f'<th scope="col">our model, one face at a time</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def kinds(answers: Sequence[str]) -> str:
    """["happiness", "anger", "happiness"] -> "2 different answers"."""
    count = len(set(answers))
    return "the same answer every time" if count == 1 else f"{count} different answers"


def tag(scores: dict[str, float]) -> str:
    """The first class of a distribution in its colour, with its probability."""
    label = max(scores, key=scores.__getitem__)
    style = f"--colour:{colour(label)};--ink:{ink(label)}"
    return f'<span class="tag" style="{style}">{escape(label)}</span> {percent(scores[label])}'


def classes_table(report: "Report") -> str:
    """Recall, precision and number of faces of each class as HTML, from a released model's report."""
    head = "".join(f'<th scope="col">{title}</th>' for title in ("found", "right when named", "test faces"))
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        f'<td><i style="width:{row["recall"]:.1%};background:{colour(name)}"></i></td>'
        f"<td>{percent(row['recall'])}</td><td>{percent(row['precision'])}</td><td>{row['support']:.0f}</td></tr>"
        for name, row in sorted(report["per_class"].items(), key=lambda item: -item[1]["recall"])
    )
    return (
        f'<div class="classes"><table><thead><tr><th scope="col">expression</th><td></td>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
