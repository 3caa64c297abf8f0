"""The HTML of one face among different neighbours: the company that changes the answer most, and all of them."""

from html import escape

from ferlib.app.batch_demo import COMPANY, EXPRESSIONS, Companies, Company
from ferlib.app.messages import percent
from ferlib.images import data_url
from ferlib.runtime.boxes import colour, ink

ADJECTIVES = dict(zip(EXPRESSIONS, ("happy", "surprised", "sad", "angry", "neutral"), strict=True))
BEHIND = f"""<p>The paper behind our model lets every face of a batch attend to the <em>others</em> in it. Test sets are
stored class by class, so the neighbours give the answer away, and the paper reports 95.7 %. Here one face stands first
in batches of {COMPANY + 1}, beside drawn faces of one expression. A model trained by that formula may change its mind
with the company; ours looks at one face at a time and cannot.</p>"""


def companies_report(found: Companies) -> str:
    """One sentence, one picture; folded below, every company, and what is behind it."""
    alone, changed = found.rows[0], most_changed(found)
    panels = "".join(_panel(found, row) for row in (alone, changed))
    return (
        f'<div class="companies"><h2 role="status">{escape(verdict(found))}</h2><div class="panels">{panels}</div>'
        f'<details class="more"><summary>Every company, and why it happens</summary>'
        f"{_table(found)}{BEHIND}</details></div>"
    )


def most_changed(found: Companies) -> Company:
    """The company in which the published model leaves its answer for the face alone furthest behind.

    One in which it says what the neighbours show goes first.
    """
    said = found.answers("published")[0]

    def lead(row: Company) -> float:
        return max(score - row.published[said] for score in row.published.values())

    return max(
        found.rows[1:],
        key=lambda row: (
            lead(row) > 0,
            _first(row.published) == row.expression != "neutral",
            lead(row),
            -row.published[said],
        ),
    )


def verdict(found: Companies) -> str:
    """A sentence on whether the neighbours change the published model's answer, and ours."""
    row = most_changed(found)
    said, says = (_first(one.published) for one in (found.rows[0], row))
    ours = len(set(found.answers("honest")))
    stays = "ours stays the same" if ours == 1 else "ours changes too"
    company = _among(row)
    if said != says:
        return f"To the published model this face is {said} when alone and {says} {company}; {stays}."
    before, after = (percent(one.published[said]) for one in (found.rows[0], row))
    return f"To the published model this face stays {said}, but goes from {before} to {after} {company}; {stays}."


def _panel(found: Companies, row: Company) -> str:
    """One batch as a picture, and what both models say of its first face."""
    title = _among(row).capitalize()
    others = "".join(f'<img src="{data_url(pixels)}" alt="">' for pixels in row.pictures)
    unseen = COMPANY - len(row.pictures)
    more = f"<span>and {unseen} more</span>" if row.expression and unseen else ""
    said = "".join(
        f'<tr><th scope="row">{name}</th><td>{_tag(scores)}</td></tr>'
        for name, scores in (("published", row.published), ("ours", row.honest))
    )
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><div class="batch"><img class="you" '
        f'src="{data_url(found.face)}" alt="The face">{others}{more}</div><table>{said}</table></figure>'
    )


def _table(found: Companies) -> str:
    rows = ""
    for row in found.rows:
        cells = "".join(f"<td>{_tag(scores)}</td>" for scores in (row.published, row.honest))
        rows += f'<tr><th scope="row">{_among(row)}</th>{cells}</tr>'
    return (
        '<table class="all"><thead><tr><th scope="col">the face</th><th scope="col">published model</th>'
        f'<th scope="col">ours</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _among(row: Company) -> str:
    return f"beside {COMPANY} {ADJECTIVES[row.expression]} faces" if row.expression else "alone"


def _first(scores: dict[str, float]) -> str:
    return max(scores, key=scores.__getitem__)


def _tag(scores: dict[str, float]) -> str:
    """The first class of a distribution in its colour, with its probability."""
    label = _first(scores)
    style = f"--colour:{colour(label)};--ink:{ink(label)}"
    return f'<span class="tag" style="{style}">{escape(label)}</span> {percent(scores[label])}'
