"""The book: its parts, and the built site, complete in itself and in a real Chromium without a network."""

import importlib
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

pytest.importorskip("sphinx", reason="Sphinx is not installed")
pytest.importorskip("plotly")

from api_pages import LEFT_OUT, modules_of, packages
from live_figures import TAG, with_live_figures
from make_book import CHAPTERS, ROOT, build, relinked

from ferlib.errors import UserError

TIMEOUT = 120_000  # ms; machines may be busy
#: Chapters with live figures whose pages are opened in the browser.
OPENED = ("04_ablations", "05_honest_evaluation", "08_the_rivals")


def notebook(code: str, pictures: int) -> nbformat.NotebookNode:
    outputs = [nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="}) for _ in range(pictures)]
    cell = nbformat.v4.new_code_cell(code, outputs=outputs, execution_count=1, metadata={"tags": [TAG]})
    return nbformat.v4.new_notebook(cells=[cell])


def live_pictures(name: str) -> int:
    """How many pictures a chapter's cells with live figures have printed."""
    chapter = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4)
    live = [cell.outputs for cell in chapter.cells if TAG in cell.metadata.get("tags", [])]
    return sum("image/png" in output.get("data", {}) for outputs in live for output in outputs)


def test_a_live_figure_takes_the_place_of_its_picture(tmp_path):
    code = "import plotly.graph_objects as go\nfigure = go.Figure(go.Bar(y=[31, 41]))\nfigure.show()\nfigure"
    path = tmp_path / "chapter.ipynb"
    nbformat.write(notebook(code, 2), path)
    outputs = nbformat.reads(with_live_figures(path), as_version=4).cells[0].outputs
    assert [list(output.data) for output in outputs] == [["text/html"]] * 2
    for output in outputs:
        html = output.data["text/html"]
        assert "Plotly.newPlot" in html and "[31,41]" in html and "src=" not in html
    nbformat.write(notebook(code, 1), path)
    with pytest.raises(ValueError, match="1 pictures, but 2 figures"):
        with_live_figures(path)
    nbformat.write(notebook("undefined", 1), path)
    with pytest.raises(NameError):
        with_live_figures(path)


def test_links_out_of_the_book_lead_to_the_repository():
    known = ["README.md", "docs/results.md"]
    text = "[a](docs/results.md#x) [b](examples) ![c](docs/app.png) [d](https://example.org/) [e](LICENSE) [f](#here)"
    assert relinked(text, "README.md", known) == text.replace("[b](examples)", "b").replace("[e](LICENSE)", "e")
    there = relinked(text, "README.md", known, "someone/ferlib")
    assert "[b](https://github.com/someone/ferlib/tree/main/examples)" in there
    assert "[e](https://github.com/someone/ferlib/blob/main/LICENSE)" in there
    assert relinked("[r](../README.md) [w](../web)", "docs/results.md", known) == "[r](../README.md) w"


def test_the_reference_has_every_module():
    listed = {name for package in packages() for name in modules_of(package)}
    files = {path.relative_to(ROOT).with_suffix("") for path in ROOT.glob("ferlib/**/*.py")}
    names = {".".join(path.parts).removesuffix(".__init__") for path in files}
    assert listed == names - LEFT_OUT
    for name in LEFT_OUT - {"ferlib.__main__"}:
        importlib.import_module(name)


# ---------------------------------------------------------------- the built site


class Links(HTMLParser):
    """What a page links to, loads, and can be linked to."""

    def __init__(self, text: str):
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        own = {name: value or "" for name, value in attrs}
        self.ids |= {own[name] for name in ("id", "name") if name in own}
        if tag == "a" and "href" in own:
            self.links.add(own["href"])
        if tag in ("script", "img", "iframe", "source") and "src" in own:
            self.loaded.add(own["src"])
        if tag == "link" and own.get("rel") in ("stylesheet", "icon", "preload", "modulepreload"):
            self.loaded.add(own["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The book, with the page without a server where that can be built."""
    sys.path.append(str(ROOT))
    from web.build import build as build_page

    folder = tmp_path_factory.mktemp("book")
    try:
        build_page(folder / "web", 20)
    except UserError:
        shutil.rmtree(folder / "web", ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERLIB_REPOSITORY", "someone/ferlib")
        build(folder / "site", folder / "web")  # raises at a warning
    return folder / "site"


def test_a_folder_of_something_else_is_not_emptied(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="would be emptied"):
        build(tmp_path, tmp_path / "web")
    assert (tmp_path / "thesis.txt").exists()


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Links]:
    return {
        path: Links(path.read_text("utf-8"))
        for path in site.rglob("*.html")
        if not {"try", "_static"} & set(path.parts)
    }


@pytest.mark.slow
def test_no_link_inside_is_broken_and_nothing_is_loaded_from_elsewhere(site, pages):
    assert len(pages) > 40
    broken, checked = [], 0
    for page, own in pages.items():
        for link in own.links | own.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert link not in own.loaded or parts.scheme == "data", (page.name, link)
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            fragment = unquote(parts.fragment)
            checked += 1
            if not target.is_file() or (fragment and target in pages and fragment not in pages[target].ids):
                broken.append((page.relative_to(site), link))
    assert checked > 1000
    assert not broken


@pytest.mark.slow
def test_the_book_has_its_parts(site, pages):
    for chapter in CHAPTERS:
        links = pages[site / Path(chapter).with_suffix(".html")].links
        assert any(link.startswith("https://colab.research.google.com/github/someone/ferlib/") for link in links)
        assert any(link.startswith("https://mybinder.org/v2/gh/someone/ferlib/main") for link in links)
    assert len(re.findall("<math", (site / "docs" / "glossary.html").read_text("utf-8"))) > 40
    assert len(list(site.rglob("plotly*.js"))) == 1
    assert "Predictor.predict" in (site / "api" / "ferlib.html").read_text("utf-8")
    assert (site / "try" / "index.html").is_file() == ("try/index.html" in pages[site / "index.html"].links)


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    from web_page import chromium

    try:
        with chromium() as browser:
            yield browser
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.browser
def test_pages_in_chromium_without_a_network(site, browser):
    from web_page import served

    asked: list[str] = []
    errors: list[str] = []
    page = browser.new_page()
    page.set_default_timeout(TIMEOUT)
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    with served(site) as (url, _):
        for name in OPENED:
            count = live_pictures(name)
            assert count > 1
            page.goto(f"{url}notebooks/{name}.html")
            page.wait_for_selector(".js-plotly-plot .main-svg")
            figures = page.locator(".plotly-graph-div")
            assert figures.count() == page.locator(".js-plotly-plot").count() == count
            shown = figures.first.evaluate("async (figure) => { await Plotly.restyle(figure, {visible: false}, [0]);"
                                           " return figure.data[0].visible; }")  # fmt: skip
            assert shown is False  # the figure is alive
        page.goto(f"{url}search.html?q=bootstrap")
        page.wait_for_selector("#search-results li a")
        page.close()
        assert all(one.startswith((url, "data:", "blob:")) for one in asked)
    assert not errors
