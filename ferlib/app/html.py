"""The HTML of answers: a photo with its faces boxed, a card for each face, a model's classes."""

from collections.abc import Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ferlib.app.drawing import annotate, colour_of, ink_of
from ferlib.app.messages import (
    METHOD_MEANINGS,
    METHOD_TITLES,
    agreement,
    doubts,
    percent,
    points,
    ranked,
    sentence,
    set_in_words,
    shown_as,
    summary,
    where_it_looked,
)
from ferlib.images import data_url
from ferlib.results import FacePrediction, ImagePrediction
from ferlib.runtime.boxes import MANY_FACES, colour
from ferlib.runtime.overlay import turbo

if TYPE_CHECKING:
    from ferlib.evaluation.report_format import Report

WELCOME = """<div class="note"><b>The result appears here.</b><br>
Drop a photo, paste one, take one, or click an example: every face is boxed, numbered and explained.</div>"""

UNFOLDED = 2  # up to so many cards are open at once
THUMBNAIL = 88  # pixels; shown half as large
SCALE = 'where it looked<i class="scale"></i><span class="ends"><span>little</span><span>most</span></span>'
OPACITY = (
    '<label class="opacity">Heat map <input type="range" min="0" max="1" step="0.05" value="0.5" '
    'aria-label="Opacity of the heat map"></label>'
)
LOOK_HERE = "Faces that look roughly into the camera are found best."


def problem(error: str, hint: str, unreadable: bool = False) -> str:
    """A sentence that says what went wrong, and one that says what to do."""
    kind = "note problem unreadable" if unreadable else "note problem"
    return f'<div class="{kind}" role="alert"><b>{escape(error)}</b><br>{escape(hint)}</div>'


def boxed(result: ImagePrediction) -> str:
    """The photo with its faces boxed and numbered; each box is a button that leads to its card."""
    drawn = annotate(result)
    if drawn is None or result.image is None:
        return ""
    height, width = result.image.shape[:2]
    tab = "" if len(result.faces) <= MANY_FACES else ' tabindex="-1"'  # the cards lead to all of them
    buttons = ""
    for number, face in enumerate(result.faces, start=1):
        x0, y0, x1, y1 = np.divide(face.box, (width, height) * 2).clip(0, 1).tolist()
        place = f"left:{x0:.2%};top:{y0:.2%};width:{x1 - x0:.2%};height:{y1 - y0:.2%}"
        name = f"Face {number}: {shown_as(face)}, show its card"
        buttons += (
            f'<button type="button" data-face="{number}"{tab} style="{place}" aria-label="{escape(name)}"></button>'
        )
    alt = f"Your photo, {summary(result.faces)}"
    return (
        f'<div class="stage"><div><img src="{data_url(np.asarray(drawn))}" alt="{escape(alt)}">{buttons}</div></div>'
        '<p class="under"><button type="button" data-do="save">Save this picture</button>'
        '<button type="button" data-do="fill">Full screen</button></p>'
    )


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
    faces = zip(*(result.faces for result in results), strict=True)
    cards = "".join(card(number, one, names, method, count <= UNFOLDED) for number, one in enumerate(faces, start=1))
    explained = any(face.heatmap is not None for result in results for face in result.faces) and method
    seen = escape(summary(first.faces))
    head = f'<div class="head"><h2 role="status">{seen}</h2>{OPACITY if explained else ""}</div>'
    return f'<div class="report" style="--turbo:{turbo_gradient()}">{head}{cards}</div>'


def card(number: int, faces: Sequence[FacePrediction], names: Sequence[str], method: str | None, unfolded: bool) -> str:
    """One face, as one or several models judge it: the sentence; below it what each saw, where it looked, scores."""
    face = faces[0]
    more = f" {agreement(faces, names)}" if len(faces) == 2 else ""
    small = np.asarray(Image.fromarray(face.face).resize((THUMBNAIL, THUMBNAIL)))
    marks = "".join(f"<em>{escape(name)}</em>" for name in face.warnings)
    judgements = "".join(
        judgement(number, one, name if len(faces) > 1 else None, method) for one, name in zip(faces, names, strict=True)
    )
    mark = f"{number}" if shown_as(face) == face.label else f"{number} ?"
    return (
        f'<details class="face" id="face-{number}" style="--colour:{colour_of(face)};--ink:{ink_of(face)}"'
        f'{" open" * unfolded}><summary data-face="{number}"><b>{mark}</b><img src="{data_url(small)}" alt="">'
        f"<span>{unbroken(escape(sentence(number, face) + more))} {marks}</span></summary>{judgements}</details>"
    )


def judgement(number: int, face: FacePrediction, name: str | None, method: str | None) -> str:
    """One model's result for a face as HTML: pictures, the probability of every class; folded, what else is known."""
    figures = picture(face.face, f"Face {number}", "what the model saw")
    second = ranked(face)[1][0]
    words = [f"It is {points(face.margin)} ahead of the second class, {second}."]
    words += [*set_in_words(face), *doubts(face)]
    if face.heatmap is not None and method:
        figures += picture(face.face, f"Heat map over face {number}", SCALE, over=face.overlay(opacity=1))
        words += [where_it_looked(face) or "", f"{METHOD_MEANINGS[method]} ({METHOD_TITLES[method]})"]
    heading = f"<h3>{escape(name)}</h3>" if name else ""
    return (
        f'{heading}<div class="judgement"><div class="pictures">{figures}</div>{bars(face)}</div>'
        f'<details class="more"><summary>Details</summary><p>{escape(" ".join(filter(None, words)))}</p></details>'
        f'<button type="button" class="back" data-show="{number}">Show in the picture</button>'
    )


def unbroken(html: str) -> str:
    """HTML whose numbers stay on one line with their percent signs."""
    return html.replace(" %", "&nbsp;%")


def picture(pixels: np.ndarray, alt: str, caption: str, over: np.ndarray | None = None) -> str:
    """A captioned picture (H, W, 3) uint8; `over` lies upon it, as opaque as the page's slider says."""
    above = "" if over is None else f'<img class="heat" src="{data_url(over)}" alt="">'
    return (
        f'<figure><div><img src="{data_url(pixels)}" alt="{escape(alt)}">{above}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


@cache
def turbo_gradient() -> str:
    """The colours of a heat map, from what hardly counts to what counts most, for CSS."""
    stops = turbo()[np.linspace(0, 255, 13).round().astype(int)].tolist()
    return f"linear-gradient(90deg,{','.join(f'rgb({red},{green},{blue})' for red, green, blue in stops)})"


def bars(face: FacePrediction) -> str:
    """The probability of every class as a table with bars, the most probable first."""
    rows = "".join(
        f'<tr><th scope="row">{escape(label)}</th><td><i style="width:{score:.2%};background:{colour(label)}"></i></td>'
        f"<td>{percent(score)}</td></tr>"
        for label, score in ranked(face)
    )
    return f"<table>{rows}</table>"


def classes_table(report: "Report") -> str:
    """Recall, precision and number of faces of each class as HTML, from a released model's report."""
    confusion = report["confusion"]
    named = dict(zip(confusion["classes"], map(sum, zip(*confusion["counts"], strict=True)), strict=True))
    head = "".join(f'<th scope="col">{title}</th>' for title in ("found", "right when named", "test faces"))
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        f'<td><i style="width:{row["recall"]:.1%};background:{colour(name)}"></i></td>'
        f"<td>{unbroken(percent(row['recall']))}</td>"
        f"<td>{unbroken(percent(row['precision']))} of {named[name]:,}</td><td>{row['support']:,.0f}</td></tr>"
        for name, row in sorted(report["per_class"].items(), key=lambda item: -item[1]["recall"])
    )
    return (
        f'<div class="classes"><table><thead><tr><th scope="col">expression</th><td></td>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
