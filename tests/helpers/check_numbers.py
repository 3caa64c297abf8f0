"""Numbers drawn at random from the project's texts, looked up in outputs and in results/.

    python tests/helpers/check_numbers.py                     # fifty numbers, seed 0
    python tests/helpers/check_numbers.py --draw 50 --seed 7
    python tests/helpers/check_numbers.py --all --exceptions   # every number; and those that are not looked up, by rule

The texts are the pages (README.md, docs/), the notebooks' text cells and the models' cards, a third of the draw each;
without code, formulas, and the tables that `make tables` writes from results/ (a test compares these). A number is
looked for, rounded as it is printed, as a fraction where it is a percentage, in bytes or seconds where its unit is
larger, in

1. section: what the cells of the notebook's section print, the tables of the page's section;
2. whole text: the notebook's other outputs; the page's other tables and those of pages it links to; the model's JSON;
3. named file: files of results/ that the text or the code beside it names, by themselves or by the benchmark's name;
4. settings beside: the code in the text, and the notebook's;
5. papers: the published figures in the package;
6. settings of the package: numbers in the code of ferlib/ and benchmarks/;
7. sentence: difference, sum or ratio of two other numbers of the sentence;
8. anywhere: any file of results/ or of the released models.

That a number of the same digits is there does not prove that it is the one that is meant, so the report says for each
place how many wrong last digits would have been noticed. What is not found is printed with its sentence, to be looked
up by hand.
"""

import argparse
import ast
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import zip_longest
from pathlib import Path

import numpy as np
from notebook_figures import FIGURE, REFERENCE, ROOT, named, numbers, published, sections, slips, values_in
from notebook_files import FENCED, INDENTED, INLINE, NOTEBOOKS, code_cells, printed, prose, read

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
CARDS = tuple(sorted((ROOT / "ferlib" / "weights").glob("*/README.md")))
REPORTS = (*sorted((ROOT / "results").rglob("*.json")), *sorted((ROOT / "results").rglob("*.csv")))
TABLE = re.compile(r"<!-- table \w+ -->\n(.*?)<!-- end -->", re.DOTALL)
HEADING = re.compile(r"^(?=#+ )", re.MULTILINE)
SENTENCE = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z*\"(\[`])|\n(?=[-|>]|\d\. )|\n\n")
PERCENT = re.compile(r"\d ?%|, %|\bper ?cent\b|\bpoints?\b")
UNITS = {  # unit behind a number: what a stored value is multiplied by
    "%": (), "points": (), "point": (), "ms": (1e3,), "milliseconds": (1e3,), "minutes": (1 / 60,),
    "hours": (1 / 3600, 1 / 60), "kB": (1e-3,), "MB": (1e-6, 1e-3), "GB": (1e-9, 1e-3), "M": (1e-6,),
    "million": (1e-6,),
}  # fmt: skip
UNIT = re.compile(rf"\s*({'|'.join(sorted(UNITS, key=len, reverse=True))})(?!\w)")
ANY = r"[\d.,]+"
_PLACES = (
    r"\b(?i:sections?|chapters?|notebooks?|tables?|figs?\.|figures?|exercises?|algorithm|eqs?\.|equations?|steps?|stages?|"
    r"seeds?|rows?|cells?|part|layers?|blocks?|tracks?|RFC)"
)
#: Numbers that are not looked up: the rule's name; what stands before the number, the number, what stands behind it.
EXCEPTIONS = {
    "a place": (rf"{_PLACES}\s(?:\d[\d.]*(?:,| and| or| to|–)\s?)*$", ANY, ""),
    "a year": ("", r"(?:19|20)\d\d", r"(?!\s*(?:%|px|MB|faces|photos))"),
    "a version": (r"(?:Python|PyTorch|Apache[- ]|[Vv]ersion|CUDA|Gradio|Ray)\s?$", ANY, ""),
    "a level": ("", ANY, r"\s*%?-?\s*(?:bootstrap\s|confidence\s|prediction\s)?(?:intervals?|sets?)\b"),
    "a count of up to twelve": ("", r"\d|1[0-2]", r"(?!\s*%)"),
    "part of an equation": (r"(?:[=≈<>≤≥×·^±/]|\bR)\s?$", ANY, ""),
    "a factor": ("", ANY, r"\s?[×x]\s?\d"),
}


@dataclass(frozen=True)
class Place:
    """Where numbers of a text may come from: its name, and the values there."""

    name: str
    values: np.ndarray


@dataclass(frozen=True)
class Number:
    """A number of a text.

    Attributes:
        text: as it is printed, with its unit.
        sentence: that it stands in.
        where: file and section.
        places: where to look, in order.
        exception: the rule by which it is not looked up, or None.
        percent: whether the sentence, or the section of a table's row, has percentages.
    """

    text: str
    sentence: str
    where: str
    places: tuple[Place, ...]
    exception: str | None
    percent: bool

    def found(self) -> Place | None:
        """The first place that has it."""
        return next((place for place in self.places if holds(place.values, self.text, self.percent)), None)

    def noticed(self, place: Place) -> float:
        """Fraction of wrong last digits that neither this place nor those before it have."""
        before = self.places[: self.places.index(place) + 1]
        wrong = slips(self.text)
        return sum(not any(holds(one.values, slip, self.percent) for one in before) for slip in wrong) / len(wrong)


def holds(values: np.ndarray, text: str, percent: bool = False) -> bool:
    """Whether a value, in the unit or as a fraction of the percentage, is the number when rounded to its digits."""
    match = FIGURE.match(text)
    assert match, f"{text} is no number"
    whole, decimals, _ = match.groups()
    wanted, half = float(whole.replace(",", "") + (decimals or "")), 0.5 * 10.0 ** -len((decimals or ".")[1:])
    unit = UNIT.match(text, match.end(2 if decimals else 1))
    scaled = [values, *(values * factor for factor in (UNITS[unit[1]] if unit else ()))]
    if percent:
        scaled.append(100 * values[np.abs(values) <= 1])
    return bool((np.abs(np.abs(np.concatenate(scaled)) - wanted) <= half * (1 + 1e-6)).any())


def in_text(text: str, where: str, places: tuple[Place, ...]) -> Iterator[Number]:
    """The numbers of a section's text."""
    bare = re.sub(r"^#+ .*$|^\s*\d+\. |<[^>]+>|https?://\S+", " ", prose("\n" + text), flags=re.MULTILINE)
    for sentence in (" ".join(part.split()) for part in SENTENCE.split(bare)):
        percent = PERCENT.search(text if sentence.startswith("|") else sentence) is not None
        references = [match.span(1) for match in REFERENCE.finditer(sentence)]
        for match in FIGURE.finditer(sentence):
            end = match.end(2 if match[2] else 1)
            left, digits, right = sentence[: match.start()], sentence[match.start() : end], sentence[end:]
            rule = "a place" if match.span() in references else exception(left, digits, right)
            unit = UNIT.match(right)
            everywhere = (*places, Place("sentence", computed(np.array(numbers(f"{left} {right}")))), anywhere())
            yield Number(digits + (unit[0] if unit else ""), sentence, where, everywhere, rule, percent)


def exception(left: str, digits: str, right: str) -> str | None:
    """The rule that a number between two parts of a sentence falls under."""
    for name, (before, itself, behind) in EXCEPTIONS.items():
        if re.search(before, left) and re.fullmatch(itself, digits) and re.match(behind, right):
            return name
    return None


def computed(values: np.ndarray) -> np.ndarray:
    """Differences, sums and ratios of every two of the first twelve values."""
    pairs = [(a, b) for i, a in enumerate(values[:12]) for j, b in enumerate(values[:12]) if i != j]
    return np.array([x for a, b in pairs for x in (a - b, a + b, a / b if b else a)])


def pages() -> Iterator[Number]:
    """The numbers of README.md and docs/."""
    tables = {path.name: " ".join(TABLE.findall(path.read_text())) for path in PAGES}
    for path in PAGES:
        content = path.read_text()
        near = [path.name, *re.findall(r"\]\((?:docs/)?(\w+\.md)", content)]
        whole = Place("whole text", np.array(numbers(" ".join(tables.get(name, "") for name in near))))
        for part in HEADING.split(content):
            title = part.partition("\n")[0].strip("# ") or path.name
            own = Place("section", np.array(numbers(" ".join(TABLE.findall(part)))))
            text = TABLE.sub("\n\n", part)
            places = (own, whole, Place("named file", values_of(named_files(part))), *settings(text))
            for number in in_text(text, f"{path.relative_to(ROOT)}: {title}", places):
                paper = title.startswith("On paper")
                yield replace(number, exception="arithmetic on paper") if paper else number


def notebooks() -> Iterator[Number]:
    """The numbers of the notebooks' text cells."""
    for path in NOTEBOOKS:
        notebook = read(path)
        code = "\n".join(cell.source for cell in code_cells(notebook))
        whole = Place("whole text", np.array(numbers(printed(notebook.cells))))
        files = Place("named file", values_of(named_files("\n".join(cell.source for cell in notebook.cells))))
        for part in sections(notebook):
            own = Place("section", np.array(numbers(printed(part))))
            for cell in (cell for cell in part if cell.cell_type == "markdown"):
                places = (own, whole, files, *settings(cell.source, code))
                for number in in_text(cell.source, f"{path.relative_to(ROOT)}, {cell.id}", places):
                    source = cell.metadata.get("quoted", {}).get(number.text)
                    said = source and named(source, notebook) is None
                    yield replace(number, exception=f"said in the cell's metadata: {source}") if said else number


def cards() -> Iterator[Number]:
    """The numbers of the released models' cards."""
    for path in CARDS:
        own = Place("whole text", values_of(sorted(path.parent.glob("*.json"))))
        files = Place("named file", values_of([file for file in REPORTS if file.stem.startswith(path.parent.name)]))
        for part in HEADING.split(path.read_text()):
            title = part.partition("\n")[0].strip("# ")
            yield from in_text(part, f"{path.relative_to(ROOT)}: {title}", (own, files, *settings(part)))


def named_files(text: str) -> list[Path]:
    """Files of results/ that a text names, by themselves, by their benchmark or by `ferlib reproduce`."""
    names = set(re.findall(r"\b([\w-]+)\.(?:json|csv)\b", text))
    names |= set(re.findall(r"benchmarks/(\w+)\.py", text))
    names |= {name.replace("-", "_") for name in re.findall(r"reproduce\s+([\w-]+)", text)}
    return [path for path in REPORTS if path.stem in names]


def values_of(paths: list[Path]) -> np.ndarray:
    """The numbers of JSON and CSV files."""
    return np.concatenate([np.array([]), *(_values(path) for path in paths)])


@cache
def _values(path: Path) -> np.ndarray:
    return np.array(values_in(path), float)


def settings(text: str, code: str = "") -> tuple[Place, ...]:
    """Numbers of the code in a text and beside it, of the papers, and of the package's code."""
    parts = [found[1] for found in FENCED.findall(text)]
    parts += [found for pattern in (INDENTED, INLINE) for found in pattern.findall("\n\n" + text)]
    beside = np.array(numbers("\n".join([*parts, code])))
    return Place("settings beside", beside), Place("papers", papers()), Place("settings of the package", literals())


@cache
def papers() -> np.ndarray:
    """The papers' figures."""
    return np.array(sorted(map(float, published())))


@cache
def literals() -> np.ndarray:
    """The numbers in the package's code."""
    paths = (*ROOT.glob("ferlib/**/*.py"), *ROOT.glob("benchmarks/*.py"))
    nodes = (node for path in paths for node in ast.walk(ast.parse(path.read_text())))
    values = (node.value for node in nodes if isinstance(node, ast.Constant))
    return np.array(sorted({float(value) for value in values if isinstance(value, int | float)}))


@cache
def anywhere() -> Place:
    """All results and all files of the released models."""
    return Place("anywhere", values_of([*REPORTS, *(file for card in CARDS for file in card.parent.glob("*.json"))]))


def drawn(kinds: list[list[Number]], count: int, seed: int) -> list[Number]:
    """So many numbers at random, as many of each kind of text as can be."""
    draw = random.Random(seed)
    shuffled = [draw.sample(kind, len(kind)) for kind in kinds]
    return [number for row in zip_longest(*shuffled) for number in row if number][:count]


def report(few: list[Number]) -> str:
    """Where the numbers were found, and those that were not."""
    found = [(number, number.found()) for number in few]
    lines = []
    for name in dict.fromkeys(place.name for _, place in found if place):
        shares = [number.noticed(place) for number, place in found if place and place.name == name]
        lines.append(f"{len(shares):6,}  {name} ({np.mean(shares):.0%} of wrong last digits would have been noticed)")
    missing = [number for number, place in found if place is None]
    lines = [*sorted(lines, reverse=True), f"{len(missing):6,}  not found"]
    return "\n".join(lines + [f"\n{number.text!r} in {number.where}\n    {number.sentence}" for number in missing])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", type=int, default=50, metavar="N", help="numbers (default: 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--all", action="store_true", help="look up every number")
    parser.add_argument(
        "--show", action="store_true", help="print every number that is drawn, and the place that has it"
    )
    parser.add_argument("--exceptions", action="store_true", help="list the numbers that are not looked up")
    options = parser.parse_args()
    kinds = [list(kind()) for kind in (pages, notebooks, cards)]
    sought = [[number for number in kind if number.exception is None] for kind in kinds]
    few = drawn(sought, sum(map(len, sought)) if options.all else options.draw, options.seed)
    print(f"{sum(map(len, kinds)):,} numbers, {sum(map(len, sought)):,} to look up, {len(few):,} drawn, found in:")
    print(report(few))
    for number in few if options.show else ():
        place = number.found()
        print(f"\n{place.name if place else 'NOT FOUND'}: {number.text!r} in {number.where}\n    {number.sentence}")
    for number in (number for kind in kinds for number in kind if options.exceptions and number.exception):
        print(f"\n{number.exception}: {number.text!r} in {number.where}\n    {number.sentence}")


if __name__ == "__main__":
    main()
