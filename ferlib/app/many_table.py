"""The HTML of many photos: a row for every face, to sort and to open, and how many faces show each expression."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from ferlib.app.drawing import colour_of, ink_of
from ferlib.app.html import unbroken
from ferlib.app.messages import doubts, is_undecided, percent, ranked, shown_as, whole_sentence
from ferlib.images import data_url
from ferlib.results import CANNOT_SAY, FacePrediction, ImagePrediction
from ferlib.runtime.boxes import colour

SHOWN = 1000  # rows on the page; files have all
_HEADS = ("", "file", "face", "expression", "probability", "margin", "at 90 % coverage", "note")


def face_rows(result: ImagePrediction, most: int = SHOWN) -> list[str]:
    """A photo's first faces as rows, or one with the problem; a row brings along what its card shows."""
    if most <= 0:
        return []
    if result.error:
        cells = f'<td></td><td>{escape(result.name)}</td><td class="bad" colspan="6">{escape(result.error)}</td>'
        return [f"<tr>{cells}</tr>"]
    return [_row(result.name, number, face) for number, face in enumerate(result.faces[:most], start=1)]


def _row(name: str, number: int, face: FacePrediction) -> str:
    card = {
        "words": whole_sentence(number, face),
        "bars": [[name, percent(part), round(part, 4), colour(name)] for name, part in ranked(face)],
    }
    label = face.label + ("?" if is_undecided(face) else "")
    tag = f'<span class="tag" style="--colour:{colour_of(face)};--ink:{ink_of(face)}">{escape(label)}</span>'
    picture = f'<button aria-expanded="false" aria-label="Details of face {number} in {escape(name)}">' \
        f'<img src="{data_url(face.crop)}" alt=""></button>'  # fmt: skip
    score, said = face.scores[face.label], "" if face.prediction_set is None else face.answer
    cells = [
        (picture, None), (escape(name), None), (str(number), number), (tag, None), (unbroken(percent(score)), score),
        (unbroken(percent(face.margin)), face.margin), (escape(said), None), (escape(" ".join(doubts(face))), None),
    ]  # fmt: skip
    cells_html = "".join(
        f"<td>{text}</td>" if key is None else f'<td data-key="{key:.4f}">{text}</td>' for text, key in cells
    )
    return f'<tr class="row" data-card="{escape(json.dumps(card))}">{cells_html}</tr>'


def faces_table(rows: Sequence[str], number: int) -> str:
    """The table of some rows, and how many there are beside them of all this number; "" without one."""
    if not rows:
        return ""
    heads = "".join(f'<th scope="col">{f"<button>{title}</button>" if title else ""}</th>' for title in _HEADS)
    rest = f"<p>The files have {number - len(rows)} rows more.</p>" if number > len(rows) else ""
    return f'<table class="faces"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>{rest}'


def totals(results: Iterable[ImagePrediction]) -> Counter[str]:
    """Number of faces of each expression, those of which the model cannot say one by that name."""
    return Counter(shown_as(face) for result in results for face in result.faces)


def totals_chart(counts: Counter[str]) -> str:
    """Number of faces of each expression as bars, the most frequent first."""
    most = max(counts.values(), default=1)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td><i style="width:{count / most:.1%};'
        f'background:{colour("" if name == CANNOT_SAY else name)}"></i></td><td>{count}</td></tr>'
        for name, count in counts.most_common()
    )
    return f'<table class="totals">{rows}</table>' if rows else ""
