"""The app as a visitor meets it: in a real Chromium. Nothing may be asked of another machine.

The screenshots go where FERLIB_SCREENSHOTS says; `make figures` puts them into docs/.
"""

import os
import shutil
from pathlib import Path

import pytest
from photos import BAD, GOOD, crowd
from PIL import Image
from test_app import photos, service, url  # noqa: F401 - fixtures

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

pytestmark = pytest.mark.browser
WELCOME = "The result appears here"
TIMEOUT = 60_000  # ms; the first prediction loads the detector


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(request, browser, url):  # noqa: F811
    """The loaded page; after each test: no request left this machine, no script failed, nothing sticks out sideways."""
    width = getattr(request, "param", 1280)
    page = browser.new_page(viewport={"width": width, "height": 844})
    requests, errors = [], []
    page.on("request", lambda sent: requests.append(sent.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    page.get_by_text(WELCOME).wait_for(timeout=TIMEOUT)
    yield page
    needed = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert requests and all(sent.startswith((url, "data:", "blob:")) for sent in requests)
    assert not errors
    assert needed <= width


desktop_and_phone = pytest.mark.parametrize("page", [1280, 390], indirect=True)


def upload(page, path) -> None:
    page.locator("#photo input[type=file]").set_input_files(path)


@desktop_and_phone
def test_an_example_shows_two_faces(page, tmp_path):
    page.locator("#examples button").nth(5).click()
    sync_api.expect(page.locator("#report .face")).to_have_count(2, timeout=TIMEOUT)
    sync_api.expect(page.locator("#boxed img")).to_be_visible()
    first = page.locator("#report .face").first
    sync_api.expect(first.locator("summary")).to_contain_text("Face 1: ")
    sync_api.expect(first.locator("tr")).to_have_count(8)
    assert first.locator("img").evaluate_all("all => all.every(image => image.naturalWidth == 224)")
    sync_api.expect(first).to_be_in_viewport(ratio=0.01)  # on a phone the page went there
    width = page.viewport_size["width"]
    picture = Path(os.environ.get("FERLIB_SCREENSHOTS") or tmp_path) / ("app.png" if width > 400 else "app_phone.png")
    page.screenshot(path=picture)
    assert Image.open(picture).width == width


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_a_sentence_and_the_next_one_works(page, photos, name):  # noqa: F811
    upload(page, photos / name)
    sync_api.expect(page.get_by_role("alert").filter(has_text=BAD[name])).to_be_visible(timeout=TIMEOUT)
    sync_api.expect(page.locator("#boxed img")).to_have_count(0)
    page.locator("#examples button").first.click()
    sync_api.expect(page.locator("#report .face")).to_have_count(1, timeout=TIMEOUT)


@pytest.mark.parametrize("name", GOOD)
def test_an_odd_file_is_shown_upright(page, photos, name):  # noqa: F811
    upload(page, photos / name)
    sync_api.expect(page.locator("#report .face")).to_have_count(1, timeout=TIMEOUT)
    boxed = page.locator("#boxed img")
    sync_api.expect(boxed).to_be_visible()
    assert boxed.evaluate("image => image.decode().then(() => image.naturalHeight / image.naturalWidth)") > 1.1


def test_taking_the_photo_away_clears_the_result(page, photos):  # noqa: F811
    upload(page, photos / "cmyk.jpg")
    sync_api.expect(page.locator("#report .face")).to_have_count(1, timeout=TIMEOUT)
    page.get_by_label("Remove Image").click()
    sync_api.expect(page.get_by_text(WELCOME)).to_be_visible()
    sync_api.expect(page.locator("#boxed img")).to_have_count(0)


@desktop_and_phone
def test_fifty_faces_are_a_list_to_unfold(page, portrait, tmp_path):
    Image.fromarray(crowd(portrait)).save(tmp_path / "crowd.png")
    upload(page, tmp_path / "crowd.png")
    faces = page.locator("#report .face")
    sync_api.expect(faces.nth(44)).to_be_attached(timeout=TIMEOUT)
    sync_api.expect(faces.first.locator("table")).to_be_hidden()
    faces.first.locator("summary").click()
    sync_api.expect(faces.first.locator("table")).to_be_visible()
