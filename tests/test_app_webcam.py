"""The webcam in a real Chromium, whose fake camera plays a portrait that moves: the answer is over the live picture."""

import io
import itertools
import re
import sys
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from test_app import folder, served, service, url  # noqa: F401 - fixtures

from ferlib.app.cleanup import all_files
from ferlib.app.live import MAX_FRAME

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from web_page import chromium, write_film  # noqa: E402

TIMEOUT = 60_000  # ms; machines may be busy
LEAST = 2  # answers a second while much else runs; alone it is more than ten


@pytest.fixture(scope="module")
def browser(astronaut, tmp_path_factory):
    film = tmp_path_factory.mktemp("film") / "film.mjpeg"
    write_film(film, astronaut)
    try:
        with chromium(film) as browser:
            yield browser
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def page(browser, url):  # noqa: F811
    """The tab, with its camera on; after each test: no script failed or was forbidden."""
    page = browser.new_page(viewport={"width": 1280, "height": 844})
    page.set_default_timeout(TIMEOUT)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: "Content Security Policy" in said.text and errors.append(said.text))
    page.goto(url)
    page.get_by_role("tab", name="Webcam").click()
    page.get_by_role("button", name="Start the camera").click()
    page.locator(".live-box").wait_for()
    yield page
    page.close()
    assert not errors


@pytest.mark.browser
def test_box_name_and_bars_lie_over_the_live_picture(page):
    box, video = page.locator(".live-box"), page.locator(".live-video")
    sync_api.expect(box.locator("b")).to_have_text("1 happiness")
    sync_api.expect(box.locator(".live-bars i")).to_have_count(3)
    around, inside = video.bounding_box(), box.bounding_box()
    assert around["x"] < inside["x"] and inside["x"] + inside["width"] < around["x"] + around["width"]
    assert inside["width"] == pytest.approx(inside["height"], rel=0.1)
    sync_api.expect(page.locator(".live-said")).to_have_text("Face 1: happiness.")
    page.wait_for_timeout(3000)
    assert int(page.locator(".live-rate").inner_text().split()[0]) >= LEAST
    assert page.get_by_role("button", name=re.compile("record", re.IGNORECASE)).count() == 0


@pytest.mark.browser
def test_a_flickering_answer_is_averaged_over_a_second(page):
    """Every sixth frame says something else, and is one of several in a second on slow machines too."""
    numbers = itertools.count()

    def answer(route) -> None:
        happy = 0.1 if next(numbers) % 6 == 5 else 0.9
        scores = {"neutral": 1 - happy, "happiness": happy}
        route.fulfill(json={"faces": [{"box": [150, 80, 300, 230], "scores": scores, "heat": None}]})

    page.route("**/live?*", answer)
    page.wait_for_timeout(2000)
    page.evaluate(
        """() => { window.said = []; new MutationObserver(() => {
          const label = document.querySelector(".live-box b")?.textContent;
          if (label !== window.said.at(-1)) window.said.push(label);
        }).observe(document.querySelector(".live-boxes"), { childList: true, subtree: true }); }"""
    )
    before = next(numbers)
    page.wait_for_timeout(3000)
    answers = next(numbers) - before
    assert answers > 6 and len(page.evaluate("window.said")) <= 1 + answers / 12  # one in three answers is a change


@pytest.mark.browser
def test_name_and_bars_of_a_face_at_the_edge_are_seen_whole(page):
    inside = """(box) => {
        const [video, ...parts] = [document.querySelector(".live-video"), ...box.children].map(
          (one) => one.getBoundingClientRect());
        return parts.length === 2 && parts.every(({ left, right }) => left > video.left - 2 && right < video.right + 2);
    }"""

    def answer(said, route):
        route.fulfill(json=said)

    for x0, name in ((10, "one side"), (400, "the other")):
        face = {"box": [x0, 120, x0 + 60, 180], "scores": {name: 0.9, "neutral": 0.1}, "heat": None}
        page.route("**/live?*", partial(answer, {"faces": [face]}))
        box = page.locator(".live-box", has_text=name)
        box.locator(".live-bars").wait_for()
        assert box.evaluate(inside), name
        page.unroute("**/live?*")


@pytest.mark.browser
def test_no_box_stays_where_the_server_cannot_answer(page):
    page.route("**/live?*", lambda route: route.fulfill(status=503, json={"error": "Many people are asking."}))
    sync_api.expect(page.locator(".live-said")).to_have_text("Many people are asking.")
    sync_api.expect(page.locator(".live-box")).to_have_count(0)
    page.unroute("**/live?*")
    sync_api.expect(page.locator(".live-box")).to_have_count(1)


@pytest.mark.browser
def test_the_heat_map_comes_on_request_and_the_model_can_be_changed(page):
    page.get_by_label("Show where the model looks").check()
    picture = page.locator(".live-map").first
    sync_api.expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 224
    page.get_by_label("Show where the model looks").uncheck()
    sync_api.expect(page.locator(".live-map")).to_have_count(0)
    with page.expect_request(lambda sent: "model=ivsa_fer2013" in sent.url):
        page.locator("#live").get_by_label("Model", exact=True).click()
        page.get_by_role("option", name="IVSA, 68 %").click()
    sync_api.expect(page.locator(".live-box")).to_be_visible()


@pytest.mark.browser
@pytest.mark.parametrize("way", ["the button", "another tab"])
def test_the_camera_ends_keeps_nothing_and_can_be_started_again(page, folder, way):  # noqa: F811
    before, sent = all_files(folder), []
    page.on("request", lambda request: "/live" in request.url and sent.append(request.url))
    for _ in range(2):
        sync_api.expect(page.locator(".live-box")).to_be_visible()
        tracks = page.locator(".live-video").evaluate_handle("video => video.srcObject.getTracks()")
        assert tracks.evaluate("all => all.map(one => one.readyState)") == ["live"]
        if way == "the button":
            page.get_by_role("button", name="Stop").click()
        else:
            page.get_by_role("tab", name="About").click()
        page.wait_for_timeout(1000)
        assert tracks.evaluate("all => all.map(one => one.readyState)") == ["ended"]
        number = len(sent)
        page.wait_for_timeout(1000)
        assert len(sent) == number
        page.get_by_role("tab", name="Webcam").click()
        page.get_by_role("button", name="Start the camera").click()
    assert all_files(folder) == before


def frame(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def test_a_frame_is_answered_to_the_page_alone_and_leaves_no_file(url, folder, astronaut):  # noqa: F811
    before = all_files(folder)
    with httpx.Client(base_url=url, timeout=60, headers={"Origin": url.rstrip("/")}) as own:
        for coarse in ("", "yes"):
            (face,) = own.post("live", params={"coarse": coarse}, content=frame(astronaut)).json()["faces"]
            x0, y0, x1, y1 = face["box"]
            assert 170 < (x0 + x1) / 2 < 270 and 60 < (y0 + y1) / 2 < 180  # where her face is
            assert max(face["scores"], key=face["scores"].get) == "happiness" and face["heat"] is None
        (face,) = own.post("live", params={"explain": "gradcam"}, content=frame(astronaut)).json()["faces"]
        assert face["heat"].startswith("data:image/jpeg;base64,")
        assert own.post("live", content=frame(np.full((360, 480, 3), 90, np.uint8))).json() == {"faces": []}
        for asked, content, status, said in (
            ({}, b"no picture", 422, "is not a picture"),
            ({}, b"", 422, "is empty"),
            ({"model": "gpt"}, frame(astronaut), 422, "There is no model 'gpt'"),
            ({"explain": "tea leaves"}, frame(astronaut), 422, "unknown explanation"),
            ({}, bytes(MAX_FRAME + 1), 413, "At most 1 MB"),
        ):
            answer = own.post("live", params=asked, content=content)
            assert answer.status_code == status and said in answer.json()["error"]
    refused = httpx.post(f"{url}live", content=frame(astronaut))
    assert refused.status_code == 403 and "Only the page itself" in refused.json()["error"]
    assert all_files(folder) == before
