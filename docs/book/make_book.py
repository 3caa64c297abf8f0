"""Build the book: chapters, pages of docs/, glossary and API reference as a static site that needs no network.

    python docs/book/make_book.py                   into build/book
    python docs/book/make_book.py --out FOLDER

The sources are gathered in a folder of their own, from which Sphinx builds; a warning is an error. A chapter is shown
as it was committed. Figures of cells tagged `live` are drawn again from `results/` and stand in the page as plotly
figures; all share one local plotly.js. The page without a server comes along from build/web, if `make web` was there.
$FERLIB_REPOSITORY, "owner/name", adds badges for Colab and Binder, and links to files of the project.
"""

import argparse
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from api_pages import write_api_pages
from live_figures import with_live_figures
from plotly.offline import get_plotlyjs

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OUTPUT, WEB = ROOT / "build" / "book", ROOT / "build" / "web"
OWN = ("conf.py", "mathml.py", "index.md", "running.md")
PAGES = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *("notebooks/README.md", "benchmarks/README.md", "web/README.md"),
    *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/*.md"))),
)
CHAPTERS = tuple(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("notebooks/*.ipynb")))
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
TRY_IT = """
<p><a href="try/index.html">Try a face in your browser</a>: the network runs in that page, and no picture leaves it.</p>
"""


def relinked(text: str, page: str, known: Sequence[str], repository: str = "") -> str:
    """A page's Markdown whose links to files outside the book lead to the repository, or are plain text without one.

    Args:
        text: of the page.
        page: its path from the project's folder.
        known: the paths that the book has.
        repository: "owner/name" on the public host.
    """

    def replaced(link: re.Match) -> str:
        picture, label, target, _ = link.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
        if picture or path in known:
            return link[0]
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"[{label}](https://github.com/{repository}/{kind}/main/{path})" if repository else label

    return LINK.sub(replaced, text)


def gather(folder: Path, repository: str = "", with_web: bool = False) -> None:
    """Write the sources into a folder: pages, chapters with live figures, API pages, plotly.js."""
    known = [*PAGES, *CHAPTERS]
    for page in PAGES:
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        (folder / page).write_text(relinked((ROOT / page).read_text("utf-8"), page, known, repository), "utf-8")
    for chapter in CHAPTERS:
        print(f"{chapter} ...", flush=True)
        (folder / chapter).write_text(with_live_figures(ROOT / chapter), "utf-8")
    for name in OWN:
        shutil.copyfile(HERE / name, folder / name)
    if with_web:
        with (folder / "index.md").open("a", encoding="utf-8") as index:
            index.write(TRY_IT)
    shutil.copyfile(ROOT / "docs" / "app.png", folder / "docs" / "app.png")
    write_api_pages(folder / "api")
    (folder / "_static").mkdir()
    shutil.copyfile(HERE / "book.css", folder / "_static" / "book.css")
    (folder / "_static" / "plotly.min.js").write_text(get_plotlyjs(), "utf-8")


def build(output: Path = OUTPUT, web: Path = WEB) -> None:
    """Build the site.

    Args:
        output: its folder; a book built before is removed from it.
        web: the page without a server, as built; left out where it is not there.

    Raises:
        FileExistsError: the folder holds something else.
        subprocess.CalledProcessError: Sphinx warns or fails.
    """
    output = output.resolve()  # Sphinx works in another folder
    mark = output / "searchindex.js"  # of Sphinx's, and from the beginning: a book that failed may be removed too
    if output.exists() and not mark.exists() and (output.is_file() or any(output.iterdir())):
        raise FileExistsError(f"{output} holds something else than the book, and would be emptied")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    mark.touch()
    with tempfile.TemporaryDirectory(prefix="ferlib-book-") as folder:
        source = Path(folder)
        gather(source, os.environ.get("FERLIB_REPOSITORY", ""), web.is_dir())
        if web.is_dir():
            shutil.copytree(web, output / "try")
        command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
        subprocess.run([*command, "-d", source / ".doctrees", source, output], check=True, cwd=ROOT)
    (output / ".buildinfo").unlink(missing_ok=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUTPUT)
    output = parser.parse_args().out
    start = time.perf_counter()
    build(output)
    files = [path for path in output.rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    print(f"{output / 'index.html'}: {len(files)} files, {megabytes:.0f} MB, in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
