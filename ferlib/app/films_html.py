"""The HTML of a film: a band of colours for every face, from left to right in time."""

import base64
from collections import Counter
from html import escape
from pathlib import Path

from ferlib.app.films import SHORTEST, Film, FilmFace
from ferlib.app.messages import percent
from ferlib.images import data_url
from ferlib.runtime.boxes import colour, ink
from ferlib.utils.csv_safety import BOM


def film_html(film: Film) -> str:
    """The timeline of a film, how much of the time each expression takes, and its table to download."""
    count, all_faces = len(film.faces), max(film.followed, len(film.faces))
    faces = "one face" if all_faces == 1 else f"{all_faces} faces" if all_faces else "no face was found"
    if all_faces > count:
        longest = f"the {count} seen longest are shown" if count else f"none for {SHORTEST} seconds"
        faces += f", {longest}"
    bands = "".join(_band(face, film.seconds) for face in film.faces)
    axis = f'<p class="ends axis"><span>0 s</span><span>{film.seconds:.1f} s</span></p>' if count else ""
    address = "data:text/csv;base64," + base64.b64encode((BOM + film.csv).encode()).decode()
    name = f"{escape(Path(film.name).stem)}.csv"
    link = f'<a href="{address}" download="{name}">Every face of every frame looked at (CSV)</a>'
    return (
        f'<section class="film"><h3>{escape(film.name)}: {film.seconds:.1f} s, {faces}</h3>'
        f"{bands}{axis}<p>{_shares(film)}{escape(film.remark)}</p>{f'<p>{link}</p>' if all_faces else ''}</section>"
    )


def _band(face: FilmFace, seconds: float) -> str:
    """One face's expressions over time."""
    parts = "".join(
        f'<i style="left:{start / seconds:.2%};width:{(end - start) / seconds:.2%};background:{colour(label)}" '
        f'title="{escape(label)}, {start:.1f} to {end:.1f} s"></i>'
        for start, end, label in face.spans
    )
    said = ", ".join(f"{label} from {start:.1f} to {end:.1f} s" for start, end, label in face.spans)
    return (
        f'<div class="track"><img src="{data_url(face.picture)}" alt=""><b>{face.number}</b>'
        f'<div class="band" role="img" aria-label="Face {face.number}: {escape(said)}">{parts}</div></div>'
    )


def _shares(film: Film) -> str:
    """The expressions in their colours, with the part of the time that faces show each."""
    spent: Counter[str] = Counter()  # tenths of a second
    for face in film.faces:
        for start, end, label in face.spans:
            spent[label] += round(10 * (end - start))
    whole = max(spent.total(), 1)
    return "".join(
        f'<span class="tag" style="--colour:{colour(label)};--ink:{ink(label)}">{escape(label)}</span> '
        f"{percent(time / whole)} "
        for label, time in spent.most_common()
    )
