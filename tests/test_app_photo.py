"""The tab "A photo" in a real Chromium: boxes in full screen, the slider of the heat maps, models chosen in a hurry."""

import time

import pytest
from test_app import folder, served, service, url  # noqa: F401 - fixtures
from test_app_browser import browser, choose, page, sync_api, take_away, visitor  # noqa: F401 - fixtures

pytestmark = pytest.mark.browser
EXAMPLE = "Example: a portrait of Eileen Collins"


def test_boxes_lie_on_the_faces_in_full_screen_too(page):  # noqa: F811
    page.get_by_role("button", name=EXAMPLE).click()
    box, picture = page.locator("#boxed [data-face]"), page.locator("#boxed img")
    sync_api.expect(box).to_have_count(1)
    left = float(box.evaluate("one => one.style.left").rstrip("%")) / 100
    for filled in (False, True):
        if filled:
            page.get_by_role("button", name="Full screen").click()
            page.wait_for_function("() => document.fullscreenElement?.clientWidth > innerWidth - 20")
        inside, around = box.bounding_box(), picture.bounding_box()
        assert around["width"] < 900  # there is room beside it
        assert inside["x"] == pytest.approx(around["x"] + left * around["width"], abs=2)
    page.evaluate("document.exitFullscreen()")
    page.wait_for_function("() => !document.fullscreenElement")


def test_the_slider_of_the_heat_maps_keeps_its_place(page):  # noqa: F811
    """With another explanation of a photo, and with another photo."""
    page.get_by_role("button", name=EXAMPLE).click()
    face, slider = page.locator("#report .face"), page.get_by_label("Opacity of the heat map")
    slider.fill("0.9")
    page.get_by_role("button", name="Model and explanation").click()
    choose(page, "Explanation", "Layer-CAM")
    sync_api.expect(face).to_contain_text("(Layer-CAM)")
    for _ in range(2):
        sync_api.expect(slider).to_have_value("0.9")
        sync_api.expect(face.locator("img.heat")).to_have_css("opacity", "0.9")
        take_away(page)
        page.get_by_role("button", name="Example: a portrait of Grace Hopper").click()
        sync_api.expect(face).to_have_count(1)


def test_of_two_models_chosen_in_a_hurry_the_last_one_counts(page, service, monkeypatch):  # noqa: F811
    predictor = service.predictor

    def later(model=None):
        time.sleep(2)
        return predictor(model)

    page.get_by_role("button", name="Model and explanation").click()
    sync_api.expect(page.locator("#notes")).to_contain_text("The model (Standard,")
    with monkeypatch.context() as patch:
        patch.setattr(service, "predictor", later)
        choose(page, "Model", "IVSA, 68 %")
        choose(page, "Model", "Standard, 87 %")
        page.wait_for_timeout(10_000)  # what is asked, asked in turn
    sync_api.expect(page.locator("#notes")).to_contain_text("The model (Standard,")
    page.get_by_label("Compare with", exact=True).click()
    sync_api.expect(page.get_by_role("option", name="IVSA")).to_have_count(1)
    sync_api.expect(page.get_by_role("option", name="Standard")).to_have_count(0)
