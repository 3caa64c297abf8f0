"""The page for everybody: axe-core finds nothing serious, the keyboard is enough, and it can be enlarged."""

import re
import sys
from pathlib import Path

import pytest
from test_app import folder, served, service, url  # noqa: F401 - fixtures
from test_app_browser import TIMEOUT, WELCOME, browser, sync_api  # noqa: F401 - a fixture

from ferlib.app.notes import NOTES
from ferlib.app.translations import LEAD, TEXTS, WEBCAM_TEXTS
from ferlib.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[1]))
from web.build import package

pytestmark = pytest.mark.browser
PATIENCE = 20  # seconds for npm
TABS = ("A photo", "Webcam", "Many photos and videos", "Neighbours", "About")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Two people who cross."""
    pytest.importorskip("av")
    from video_files import crossing, write_film

    times, frames, _ = crossing()
    return write_film(tmp_path_factory.mktemp("film") / "two.mp4", frames, times)


@pytest.fixture
def visit(browser, url):  # noqa: F811
    """Opens the page in a window of its own."""
    contexts = []

    def opened(width: int = 1280, scheme: str = "light", **options):
        context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, **options)
        context.set_default_timeout(TIMEOUT)
        contexts.append(context)
        page = context.new_page()
        page.goto(url)
        page.get_by_text(WELCOME).wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()


def show(page, tab: str, film: Path) -> None:
    """Go to a tab, and have it show all that it can."""
    page.get_by_role("tab", name=tab).click()
    if tab == "A photo":
        page.get_by_role("button", name="Example: a group of six").click()
        sync_api.expect(page.locator("#report .face")).to_have_count(6)
        page.get_by_role("button", name="Face 2: happiness").click()
        page.locator(".face[open] .more summary").click()
        page.get_by_role("button", name="Model and explanation").click()
    if tab == "Webcam":
        page.get_by_role("button", name="Start the camera").click()
        sync_api.expect(page.locator(".live-said")).to_contain_text("No face")
    if tab == "Many photos and videos":
        page.locator("#files input[type=file]").set_input_files([film, Path(__file__)])
        page.get_by_role("button", name="Look at all of them").click()
        sync_api.expect(page.locator(".film .band")).to_have_count(2)
    if tab == "Neighbours":
        page.get_by_text("Every company, and why it happens").click()
    if tab == "About":
        page.get_by_role("button", name="The whole card").click()
        sync_api.expect(page.locator("#card pre").first).to_be_visible()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_serious_in_any_tab(visit, film, width, scheme):
    try:
        axe = package("axe-core", PATIENCE)["axe.min.js"].decode()
    except UserError as error:
        pytest.skip(str(error))
    page = visit(width, scheme, bypass_csp=True, reduced_motion="reduce")
    page.evaluate(axe)

    def serious() -> list[str]:
        found = page.evaluate("axe.run()")["violations"]
        return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]

    assert not serious()
    for tab in TABS:
        show(page, tab, film)
        page.wait_for_timeout(300)  # what folds and unfolds
        assert not serious(), tab


def test_at_200_percent_nothing_sticks_out(visit, film):
    """A window of 1,280 pixels holds 640 of them."""
    page = visit(640)
    for tab in TABS:
        show(page, tab, film)
        assert page.evaluate("document.documentElement.scrollWidth") <= 640, tab


def test_the_keyboard_alone_leads_from_an_example_to_the_answer(visit):
    page = visit(reduced_motion="reduce")

    def go(name: str, most: int = 40) -> None:
        """Press the tabulator until something of this name has the focus, and that can be seen."""
        for _ in range(most):
            page.keyboard.press("Tab")
            if name in page.evaluate("(one => one.ariaLabel || one.innerText || '')(document.activeElement)"):
                break
        else:
            pytest.fail(f"the tabulator does not lead to {name}")
        outline = page.evaluate("getComputedStyle(document.activeElement).outline")
        assert re.search(r"\b[2-9]px\b", outline) and "solid" in outline, name

    go("Click to Upload")
    go("Example: a picture of two people")
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#report .face")).to_have_count(2)
    go("Face 2: happiness, show its card")
    page.keyboard.press("Enter")
    card = page.locator("#face-2")
    sync_api.expect(card.locator("> summary")).to_be_focused()
    page.keyboard.press("Enter")  # cards of two are open, so this folds it
    sync_api.expect(card.locator("table")).to_be_hidden()
    page.keyboard.press("Enter")
    go("Details")
    page.keyboard.press("Enter")
    sync_api.expect(card.locator(".more p")).to_contain_text("ahead of the second class")
    go("Show in the picture")
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#boxed [data-face='2']")).to_be_focused()


def test_the_keyboard_alone_starts_and_stops_the_camera(visit):
    page = visit()
    page.get_by_role("tab", name="A photo").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    start = page.get_by_role("button", name="Start the camera")
    sync_api.expect(start).to_be_visible()
    for _ in range(20):
        page.keyboard.press("Tab")
        if start.evaluate("one => one === document.activeElement"):
            break
    page.keyboard.press("Enter")
    sync_api.expect(page.get_by_role("button", name="Stop")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    sync_api.expect(page.get_by_label("Show where the model looks")).to_be_checked()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    sync_api.expect(start).to_be_focused()


def test_a_camera_that_is_refused_gives_the_focus_back(visit):
    page = visit()
    page.get_by_role("tab", name="Webcam").click()
    page.evaluate(
        """() => {
          navigator.mediaDevices.getUserMedia = () => new Promise((_, refuse) => setTimeout(
            () => refuse(new DOMException("refused", "NotAllowedError")), 500));
        }"""
    )
    start = page.get_by_role("button", name="Start the camera")
    start.press("Enter")
    sync_api.expect(page.locator("#live").get_by_role("alert")).to_have_text(
        "The browser was not allowed to use a camera."
    )
    sync_api.expect(start).to_be_focused()


@pytest.mark.parametrize(
    ("locale", "language", "column"), [("de-DE", "de", 1), ("zh-CN", "zh-CN", 2), ("fr-FR", "fr", 0)]
)
def test_the_page_speaks_the_browsers_language(browser, url, locale, language, column):  # noqa: F811
    """Labels of tabs and of the examples; in English where there is no translation."""
    texts = {text[0]: text[column] for text in TEXTS}
    context = browser.new_context(locale=locale)
    context.set_default_timeout(TIMEOUT)
    page = context.new_page()
    page.goto(url)
    sync_api.expect(page.get_by_role("tab")).to_have_text([texts[tab] for tab in TABS])
    sync_api.expect(page.locator("#examples")).to_contain_text(texts["Or click an example"])
    assert page.evaluate("document.documentElement.lang") == language
    page.get_by_role("tab").nth(1).click()
    start, lead, stop, heat = (text[column] for text in WEBCAM_TEXTS[:4])
    sync_api.expect(page.get_by_role("button", name=start)).to_be_visible()
    sync_api.expect(page.locator("#live")).to_contain_text(lead)
    assert page.locator(".live-stop").text_content() == stop and page.get_by_label(heat).count() == 1
    page.get_by_role("tab").nth(2).click()
    sync_api.expect(page.locator("#many .prose.lead")).to_contain_text(texts[LEAD].split(".")[0])
    sync_api.expect(page.locator("#notes")).to_contain_text(texts[NOTES].split("**")[1])
    page.get_by_role("tab").first.click()
    page.get_by_role("button", name="Example: a portrait of Eileen Collins").click()
    sync_api.expect(page.locator("#report .face")).to_have_count(1)
    for answer in ("#report", "#boxed", "#model-notes"):
        sync_api.expect(page.locator(answer)).to_have_attribute("lang", "en")
    context.close()


def test_who_wants_less_motion_gets_none(visit):
    page = visit(reduced_motion="reduce")
    moving = page.evaluate(
        """[...document.querySelectorAll("*")].filter((one) => {
          const { animationDuration, transitionDuration } = getComputedStyle(one);
          return Math.max(parseFloat(animationDuration), parseFloat(transitionDuration)) > 0.002;
        }).length"""
    )
    assert moving == 0
