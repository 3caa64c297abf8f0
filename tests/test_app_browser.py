"""The app as a visitor meets it: in a real Chromium. Nothing may be asked of another machine.

The screenshots go where FERLIB_SCREENSHOTS says; `make figures` puts them into docs/.
"""

import csv
import os
import re
import shutil
from pathlib import Path

import pytest
from picture_files import BAD, GOOD, crowd
from PIL import Image
from test_app import folder, photos, served, service, url  # noqa: F401 - fixtures

from ferlib.utils.packages import chromium

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

pytestmark = pytest.mark.browser
WELCOME = "The result appears here"
FAKE_CAMERA = "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"
TIMEOUT = 60_000  # ms; the first prediction loads the detector, and machines may be busy
sync_api.expect.set_options(timeout=TIMEOUT)


@pytest.fixture(scope="module")
def browser():
    path = chromium()
    if path is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", *FAKE_CAMERA],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def visitor(browser):
    """What the pages share: the cache, so that only the first one loads Gradio's scripts."""
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT)
    return context


@pytest.fixture
def page(request, visitor, url):  # noqa: F811
    """The loaded page; after each test: no request left this machine, no script failed or was forbidden, nothing sticks
    out sideways."""
    width = getattr(request, "param", 1280)
    page = visitor.new_page()
    page.set_viewport_size({"width": width, "height": 844})
    requests, errors = [], []
    page.on("request", lambda sent: requests.append(sent.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: "Content Security Policy" in said.text and errors.append(said.text))
    page.goto(url)
    page.get_by_text(WELCOME).wait_for()
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
    page.get_by_role("button", name="Example: a picture of two people").click()
    sync_api.expect(page.locator("#report .face")).to_have_count(2)
    sync_api.expect(page.locator("#boxed img")).to_be_visible()
    first = page.locator("#report .face").first
    sync_api.expect(first.locator("> summary")).to_contain_text("Face 1: ")
    sync_api.expect(first.locator("tr")).to_have_count(8)
    assert first.locator("figure img").evaluate_all("all => all.every(image => image.naturalWidth == 224)")
    assert first.locator("> summary img").evaluate("image => image.naturalWidth") == 88
    sync_api.expect(first).to_be_in_viewport(ratio=0.01)  # on a phone the page went there
    width = page.viewport_size["width"]
    picture = Path(os.environ.get("FERLIB_SCREENSHOTS") or tmp_path) / ("app.png" if width > 400 else "app_phone.png")
    page.screenshot(path=picture)
    assert Image.open(picture).width == width


def take_away(page) -> None:
    """Remove the photo: the result goes with it."""
    page.get_by_label("Remove Image").click()
    sync_api.expect(page.get_by_text(WELCOME)).to_be_visible()
    sync_api.expect(page.locator("#boxed img")).to_be_hidden()


def test_an_answer_does_not_outlive_its_photo(page):
    """Even if the page's question after the photo was removed is lost: it is accepted, and never answered."""
    page.get_by_role("button", name="Example: a portrait of Eileen Collins").click()
    sync_api.expect(page.locator("#report .face")).to_be_visible()
    page.route("**/queue/join*", lambda route: route.fulfill(json={"event_id": "lost"}))
    page.get_by_label("Remove Image").click()
    sync_api.expect(page.get_by_text(WELCOME)).to_be_visible(timeout=5000)
    sync_api.expect(page.locator("#report .face")).to_be_hidden()
    sync_api.expect(page.locator("#boxed img")).to_be_hidden()


def test_bad_files_get_a_sentence_and_the_next_one_works(page, photos):  # noqa: F811
    for name, said in BAD.items():
        upload(page, photos / name)
        sync_api.expect(page.get_by_role("alert").filter(has_text=said)).to_be_visible(timeout=TIMEOUT)
        sync_api.expect(page.locator("#boxed img")).to_have_count(0)
        page.locator("#examples button").first.click()
        sync_api.expect(page.locator("#report .face")).to_have_count(1)
        take_away(page)


def test_a_photo_is_known_by_its_bytes_and_not_by_what_the_browser_takes_it_for(page, photos, tmp_path):  # noqa: F811
    """The browser knows no type for an iPhone's IMG_1.HEIC, and another one for a film."""
    upload(page, shutil.copy(photos / "photo.tiff", tmp_path / "IMG_1.HEIC"))
    sync_api.expect(page.locator("#report .face")).to_have_count(1)
    take_away(page)
    upload(page, shutil.copy(photos / "text.jpg", tmp_path / "holiday.mp4"))
    sync_api.expect(page.get_by_role("alert").filter(has_text="Films are looked at in the tab")).to_be_visible()
    take_away(page)
    dropped = page.evaluate_handle("""async (address) => {
        const bytes = await (await fetch(address)).blob(), data = new DataTransfer();
        data.items.add(new File([bytes], "IMG_2.HEIC"));
        return data;
    }""", page.locator("#examples img").first.get_attribute("src"))  # fmt: skip
    page.locator("#photo button").first.dispatch_event("drop", {"dataTransfer": dropped})
    sync_api.expect(page.locator("#report .face")).to_have_count(1)


def test_odd_files_are_shown_upright(page, photos):  # noqa: F811
    for name in GOOD:
        upload(page, photos / name)
        sync_api.expect(page.locator("#report .face")).to_have_count(1)
        boxed = page.locator("#boxed img")
        sync_api.expect(boxed).to_be_visible()
        ratio = boxed.evaluate("image => image.decode().then(() => image.naturalHeight / image.naturalWidth)")
        assert ratio > 1.1, name
        photo = page.locator("#photo img")
        if not photo.evaluate("image => image.naturalWidth"):  # not a format that the browser shows
            sync_api.expect(photo).to_have_css("visibility", "hidden")
        take_away(page)


@desktop_and_phone
def test_fifty_faces_are_a_list_to_unfold(page, portrait, tmp_path):
    Image.fromarray(crowd(portrait)).save(tmp_path / "crowd.png")
    upload(page, tmp_path / "crowd.png")
    faces = page.locator("#report .face")
    sync_api.expect(faces.nth(44)).to_be_attached(timeout=TIMEOUT)
    sync_api.expect(faces.first.locator("table")).to_be_hidden()
    faces.first.locator("> summary").click()
    sync_api.expect(faces.first.locator("table")).to_be_visible()
    page.locator("#boxed [data-face='12']").click(force=True)  # neighbouring boxes may overlap
    sync_api.expect(faces.nth(11).locator("table")).to_be_visible()
    sync_api.expect(faces.nth(11).locator("> summary")).to_be_focused()
    sync_api.expect(faces.nth(11)).to_be_in_viewport()


def test_boxes_lead_to_their_cards_and_cards_to_their_boxes(page):
    page.get_by_role("button", name="Example: a group of six").click()
    cards, boxes = page.locator("#report .face"), page.locator("#boxed [data-face]")
    sync_api.expect(cards).to_have_count(6)
    sync_api.expect(page.locator("#report h2")).to_contain_text("6 faces: 2 neutral, 2 happiness, 1")
    places = [box.bounding_box() for box in boxes.all()]
    (a, b, c), (d, e, f) = ([place["x"] for place in row] for row in (places[:3], places[3:]))
    assert a < b < c and d < e < f  # row by row, each from the left
    assert max(place["y"] for place in places[:3]) < min(place["y"] for place in places[3:])
    page.get_by_role("button", name="Face 5: surprise, show its card").click()
    sync_api.expect(cards.nth(4)).to_have_attribute("open", "")
    sync_api.expect(cards.nth(4)).to_have_class("face chosen")
    sync_api.expect(cards.nth(4).locator("> summary")).to_contain_text("Face 5: surprise,")
    assert page.locator("#report .face[open]").count() == 1
    cards.nth(4).locator(".more summary").click()
    sync_api.expect(cards.nth(4)).to_contain_text("Looked at most, for its size:")
    cards.nth(2).locator("> summary").click()
    sync_api.expect(boxes.nth(2)).to_have_class("chosen")
    cards.nth(4).get_by_role("button", name="Show in the picture").click()
    sync_api.expect(boxes.nth(4)).to_be_focused()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save this picture").click()
    assert Image.open(download.value.path()).size == (1536, 1024)


def choose(page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).locator("visible=true").click()
    page.get_by_role("option", name=option).click()


def test_another_model_another_method_and_both_models(page):
    page.get_by_role("button", name="Example: a portrait of Eileen Collins").click()
    faces = page.locator("#report .face")
    sync_api.expect(faces.locator("tr")).to_have_count(8)
    page.get_by_role("button", name="Model and explanation").click()
    sync_api.expect(page.locator("#notes")).to_contain_text("The model (Standard, convcut_ferplus)")
    choose(page, "Model", "IVSA, 68 %")
    sync_api.expect(faces.locator("tr")).to_have_count(7)
    sync_api.expect(page.locator("#notes")).to_contain_text("The model (IVSA, ivsa_fer2013)")
    choose(page, "Explanation", "Layer-CAM")
    sync_api.expect(faces).to_contain_text("(Layer-CAM)")
    page.get_by_label("Compare with", exact=True).click()
    others = ("no other model", "Standard", "Rare", "Most accurate")
    sync_api.expect(page.get_by_role("option")).to_have_text([*map(re.compile, others)])
    page.get_by_role("option", name="Standard, 87 %").click()
    sync_api.expect(faces.locator("h3")).to_have_text(["IVSA", "Standard"])
    choose(page, "Model", "Standard, 87 %")  # no model is compared with itself
    sync_api.expect(faces.locator("h3")).to_have_count(0)
    sync_api.expect(faces.locator("tr")).to_have_count(8)
    heat = faces.locator("img.heat").first
    page.get_by_label("Opacity of the heat map").fill("0.9")
    sync_api.expect(heat).to_have_css("opacity", "0.9")


def send(page, paths) -> None:
    """Choose photos in the tab "Many photos", and wait until they are there."""
    page.locator("#files input[type=file]").set_input_files(paths)
    sync_api.expect(page.locator("#files tr.file")).to_have_count(len(paths))


@desktop_and_phone
def test_many_photos_become_a_table_and_a_csv(page, photos):  # noqa: F811
    page.get_by_role("tab", name="Many photos").click()
    files = [photos / name for name in ("cmyk.jpg", "empty.jpg", "photo.tiff")]
    send(page, files)
    save = page.get_by_role("button", name="Download as CSV")
    sync_api.expect(save).to_be_disabled()
    page.get_by_role("button", name="Look at all of them").click()
    sync_api.expect(page.locator("#done")).to_contain_text("2 photos, 2 faces; 1 file without a result.")
    sync_api.expect(page.locator("#done .totals td:last-child")).to_have_text(["2"])
    sync_api.expect(page.locator("#table")).to_contain_text("is empty")
    problem = page.locator("#table .bad").bounding_box()
    assert problem["x"] + problem["width"] <= page.viewport_size["width"]  # seen without scrolling, on a phone too
    assert page.locator(".gradio-container").first.evaluate("page => page.scrollWidth - page.clientWidth") == 0
    sync_api.expect(save).to_be_enabled()
    with page.expect_download() as download:
        save.click()
    assert download.value.suggested_filename == "faces.csv"
    assert download.value.path().read_bytes().startswith("\ufeffimage,".encode())
    rows = list(csv.DictReader(download.value.path().open(encoding="utf-8-sig")))
    assert [row["image"] for row in rows] == ["cmyk.jpg", "empty.jpg", "photo.tiff"]
    assert float(rows[0]["happiness"]) >= 0 and "is empty" in rows[1]["error"]


@pytest.mark.parametrize("page", [1280, 820], indirect=True)
def test_a_long_file_name_leaves_the_columns_in_sight(page, portrait, tmp_path):
    Image.fromarray(portrait).save(tmp_path / f"{'x' * 180}.jpg")
    table_of_photos(page, [tmp_path / f"{'x' * 180}.jpg"])
    sync_api.expect(page.locator("#table tr.row")).to_have_count(1)
    assert page.locator("#table").evaluate("table => table.scrollWidth - table.clientWidth") == 0
    page.evaluate("sessionStorage.clear()")


def test_every_tab_is_as_wide_as_the_others(page):
    widths = set()
    for tab in page.get_by_role("tab").all():
        tab.click()
        widths.add(page.locator("#title").bounding_box()["width"])
    assert len(widths) == 1


def test_photos_cannot_be_looked_at_before_they_are_there(page, photos):  # noqa: F811
    page.get_by_role("tab", name="Many photos").click()
    look = page.get_by_role("button", name="Look at all of them")
    sync_api.expect(look).to_be_disabled()
    page.locator("#files input[type=file]").set_input_files([photos / "cmyk.jpg", photos / "photo.tiff"])
    look.click()  # as soon as that can be done
    sync_api.expect(page.locator("#done")).to_contain_text("2 photos, 2 faces.")
    page.evaluate("sessionStorage.clear()")


def table_of_photos(page, paths) -> None:
    """Look at photos in the tab "Many photos"."""
    page.get_by_role("tab", name="Many photos").click()
    send(page, paths)
    page.get_by_role("button", name="Look at all of them").click()


def test_rows_of_many_photos_are_sorted_opened_saved_and_kept(page, photos):  # noqa: F811
    parquet = pytest.importorskip("pyarrow.parquet")
    table_of_photos(page, [photos / name for name in ("photo.tiff", "empty.jpg", "grey16.png", "cmyk.jpg")])
    rows, names = (
        page.locator("#table .faces > tbody > tr"),
        page.locator("#table .faces > tbody > tr > td:nth-child(2)"),
    )
    sync_api.expect(page.locator("#done")).to_contain_text("3 photos, 3 faces; 1 file without a result.")
    sync_api.expect(rows).to_have_count(4)
    page.get_by_role("button", name="file", exact=True).click()
    sync_api.expect(names).to_have_text(["cmyk.jpg", "empty.jpg", "grey16.png", "photo.tiff"])
    page.get_by_role("button", name="file", exact=True).click()
    sync_api.expect(names).to_have_text(["photo.tiff", "grey16.png", "empty.jpg", "cmyk.jpg"])
    page.get_by_role("button", name="probability", exact=True).click()
    keys = [float(key) for key in page.locator("#table td:nth-child(5)").evaluate_all(
        "all => all.map(cell => cell.dataset.key).filter(Boolean)")]  # fmt: skip
    assert keys == sorted(keys) and len(keys) == 3
    sync_api.expect(names.last).to_have_text("empty.jpg")  # without a probability: the last, both ways
    details = page.get_by_role("button", name="Details of face 1 in cmyk.jpg")
    details.press("Enter")
    card = page.locator("#table tr.card")
    sync_api.expect(card).to_contain_text("Face 1: neutral")
    sync_api.expect(card.locator("tr")).to_have_count(8)
    assert card.locator("img").evaluate("image => image.naturalWidth") == 96
    details.press("Enter")
    sync_api.expect(card).to_have_count(0)
    for _ in range(2):  # the second time after the page was loaded again
        with page.expect_download() as download:
            page.get_by_role("button", name="Download as Parquet").click()
        table = parquet.read_table(download.value.path())
        assert table.column("image").to_pylist() == ["photo.tiff", "empty.jpg", "grey16.png", "cmyk.jpg"]
        assert table.column("face").to_pylist() == [1, None, 1, 1] and 0 < table.column("neutral")[0].as_py() <= 1
        page.reload()
        page.get_by_role("tab", name="Many photos").click()
        sync_api.expect(rows).to_have_count(4)
        sync_api.expect(page.locator("#table img")).to_have_count(0)
        sync_api.expect(page.locator("#done")).to_contain_text("3 photos, 3 faces")
    page.evaluate("sessionStorage.clear()")


@desktop_and_phone
def test_a_film_among_photos_becomes_a_timeline_that_a_reload_keeps(page, photos, tmp_path):  # noqa: F811
    pytest.importorskip("av")
    from video_files import crossing, write_film, write_sound

    times, frames, _ = crossing()
    write_film(tmp_path / "two.mp4", frames, times)
    write_sound(tmp_path / "song.mp4")
    table_of_photos(page, [tmp_path / "two.mp4", photos / "cmyk.jpg", tmp_path / "song.mp4"])
    sync_api.expect(page.locator("#done")).to_contain_text("1 photo, 1 face, 1 film; 1 file without a result.")
    sync_api.expect(page.locator("#table .bad")).to_have_text("song.mp4 has no pictures, only sound.")
    for pictures in (2, 0):  # the second time after the page was loaded again, which keeps no pictures
        bands = page.locator(".film .band")
        sync_api.expect(bands).to_have_count(2)
        sync_api.expect(page.locator(".film img")).to_have_count(pictures)
        sync_api.expect(bands.first).to_have_attribute(
            "aria-label", re.compile("^Face 1: neutral from 0.0 to .*happiness")
        )
        with page.expect_download() as download:
            page.get_by_role("link", name="Every face of every frame looked at (CSV)").click()
        assert download.value.suggested_filename == "two.csv"
        rows = list(csv.DictReader(download.value.path().open(encoding="utf-8-sig")))
        assert {row["track"] for row in rows} == {"1", "2"}
        page.reload()
        page.get_by_role("tab", name="Many photos").click()
    page.evaluate("sessionStorage.clear()")


STOP_ON_PROGRESS = """new MutationObserver((_, watching) => {
    const stop = [...document.querySelectorAll("button")].find((one) => one.textContent.trim() === "Stop");
    if (stop && stop.offsetParent && document.querySelector("#done progress")) {
        watching.disconnect();
        stop.click();
    }
}).observe(document.body, {subtree: true, childList: true, attributes: true})"""


def test_many_photos_can_be_stopped_and_what_is_done_stays(page, photos, tmp_path):  # noqa: F811
    paths = [Path(shutil.copy(photos / "photo.tiff", tmp_path / f"{i:03}.tiff")) for i in range(100)]
    page.evaluate(STOP_ON_PROGRESS)  # in the page itself, or all is done first where the machine is busy
    table_of_photos(page, paths)
    sync_api.expect(page.locator("#done")).to_contain_text("were not looked at")
    sync_api.expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    number = int(page.locator("#done p").inner_text().split()[0])
    assert 0 < number < len(paths)
    sync_api.expect(page.locator("#table tr.row")).to_have_count(number)
    sync_api.expect(page.get_by_role("button", name="Download as CSV")).to_be_enabled()
    page.evaluate("sessionStorage.clear()")


@desktop_and_phone
def test_one_face_among_different_neighbours(page):
    page.get_by_role("tab", name="Neighbours").click()
    verdict = page.locator(".companies h2")
    sync_api.expect(verdict).to_contain_text("is fear when alone and surprise beside 15 surprised faces")  # at once
    sync_api.expect(page.locator(".companies .all")).to_be_hidden()
    page.locator("#batch").get_by_role("button", name="Example: a portrait of Grace Hopper").click()
    sync_api.expect(verdict).to_contain_text("this face stays neutral")
    page.get_by_text("Every company, and why it happens").click()
    sync_api.expect(page.locator(".companies .all")).to_be_visible()
    honest = page.locator(".companies .all tbody td:last-child").all_inner_texts()
    assert len(honest) == 6 and len(set(honest)) == 1


@desktop_and_phone
def test_the_model_is_described(page):
    page.get_by_role("tab", name="About").click()
    sync_api.expect(page.locator("#brief li")).to_have_count(5)
    sync_api.expect(page.locator("#brief")).to_contain_text("right for 87 % of 3,153 test faces")
    sync_api.expect(page.locator("#card")).to_be_hidden()
    page.get_by_role("button", name="The whole card").click()
    sync_api.expect(page.locator("#card")).to_contain_text("Not for judging people")
    sync_api.expect(page.locator(".classes tbody tr")).to_have_count(8)
    choose(page, "Model", "IVSA, 68 %")
    sync_api.expect(page.locator(".classes tbody tr")).to_have_count(7)


def test_a_webcam_without_a_face_says_so(page):
    """Chromium's fake camera shows a green test picture. (With a face: test_app_webcam.py.)"""
    page.get_by_role("tab", name="Webcam").click()
    page.get_by_role("button", name="Start the camera").click()
    sync_api.expect(page.locator(".live-said")).to_have_text("No face was found in front of the camera.")
    page.get_by_role("button", name="Stop").click()
    sync_api.expect(page.get_by_role("button", name="Start the camera")).to_be_focused()
