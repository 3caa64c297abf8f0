"""The tab "Many photos and videos" in a real Chromium: what a list leaves that fails, is emptied or follows another."""

import shutil
import time
from pathlib import Path

import pytest
from test_app import folder, photos, served, service, url  # noqa: F401 - fixtures
from test_app_browser import browser, page, send, sync_api, table_of_photos, visitor  # noqa: F401 - fixtures

from ferlib.app.tabs import many
from ferlib.app.tabs.many_scripts import KEY

pytestmark = pytest.mark.browser
LOOK = "Look at all of them"
SAVE = "Download as CSV"


@pytest.fixture
def slowly(service, monkeypatch):  # noqa: F811
    """Every photo takes half a second more."""
    look = service.look

    def later(*given, **named):
        time.sleep(0.5)
        return look(*given, **named)

    monkeypatch.setattr(service, "look", later)


def kept(page) -> str | None:  # noqa: F811
    return page.evaluate(f"sessionStorage.getItem('{KEY}')")


def test_a_list_is_gone_once_another_is_begun(page, photos):  # noqa: F811
    """Even if nothing of that one is ever answered."""
    table_of_photos(page, [photos / "cmyk.jpg"])
    sync_api.expect(page.get_by_role("button", name=SAVE)).to_be_enabled()
    assert kept(page)
    page.route("**/queue/join*", lambda route: route.fulfill(json={"event_id": "lost"}))
    page.get_by_role("button", name=LOOK).click()
    sync_api.expect(page.locator("#table tr.row")).to_have_count(0)
    sync_api.expect(page.locator("#done")).not_to_contain_text("photo")  # the seconds of the wait alone
    sync_api.expect(page.get_by_role("button", name=SAVE)).to_be_disabled()
    assert kept(page) is None


def test_a_list_that_fails_offers_no_files_of_the_one_before(page, photos, service, monkeypatch):  # noqa: F811
    def fail(*_, **__):
        time.sleep(2)
        raise RuntimeError("of a test")

    table_of_photos(page, [photos / "cmyk.jpg"])
    sync_api.expect(page.get_by_role("button", name=SAVE)).to_be_enabled()
    monkeypatch.setattr(service, "look", fail)
    page.get_by_role("button", name=LOOK).click()
    sync_api.expect(page.get_by_role("button", name="Stop")).to_be_visible()
    sync_api.expect(page.get_by_role("button", name=LOOK)).to_be_enabled()
    sync_api.expect(page.get_by_role("button", name=SAVE)).to_be_disabled()


def test_a_browser_that_refuses_its_storage_does_not_stand_in_the_way(page, photos):  # noqa: F811
    page.add_init_script(
        """Object.defineProperty(window, "sessionStorage", {
          get() { throw new DOMException("refused", "SecurityError"); },
        });"""
    )
    page.reload()
    table_of_photos(page, [photos / "cmyk.jpg"])
    sync_api.expect(page.locator("#done")).to_contain_text("1 photo, 1 face.")
    sync_api.expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    sync_api.expect(page.get_by_role("button", name=LOOK)).to_be_enabled()
    sync_api.expect(page.get_by_role("button", name=SAVE)).to_be_enabled()


def test_an_emptied_list_takes_its_table_along(page, photos, slowly):  # noqa: F811
    """One that is emptied while it is looked at is not kept."""
    empty = page.locator("#files").get_by_role("button", name="Clear", exact=True)
    table_of_photos(page, [photos / "cmyk.jpg"])
    sync_api.expect(page.get_by_role("button", name=SAVE)).to_be_enabled()
    empty.click()
    sync_api.expect(page.locator("#table tr.row")).to_have_count(0)
    sync_api.expect(page.get_by_role("button", name=SAVE)).to_be_disabled()
    assert kept(page) is None
    table_of_photos(page, [photos / name for name in ("cmyk.jpg", "photo.tiff", "grey16.png", "lying.jpg")])
    sync_api.expect(page.get_by_role("button", name="Stop")).to_be_visible()
    empty.click()
    sync_api.expect(page.locator("#done")).to_contain_text("4 photos")
    sync_api.expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    assert kept(page) is None
    sync_api.expect(page.get_by_role("button", name=LOOK)).to_be_disabled()


def test_the_keyboard_alone_starts_and_stops_a_list(page, photos, slowly):  # noqa: F811
    page.get_by_role("tab", name="Many photos").click()
    send(page, [photos / name for name in ("cmyk.jpg", "photo.tiff", "grey16.png", "lying.jpg")])
    look = page.get_by_role("button", name=LOOK)
    sync_api.expect(look).to_be_enabled()
    look.press("Enter")
    sync_api.expect(page.get_by_role("button", name="Stop")).to_be_focused()
    page.keyboard.press("Enter")
    sync_api.expect(look).to_be_focused()
    sync_api.expect(page.locator("#done")).to_contain_text("not looked at")


def test_an_opened_row_stays_open_while_others_come(page, photos, tmp_path, slowly, monkeypatch):  # noqa: F811
    monkeypatch.setattr(many, "ANEW", 0)
    paths = [Path(shutil.copy(photos / "cmyk.jpg", tmp_path / f"{number}.jpg")) for number in range(8)]
    table_of_photos(page, paths)
    page.get_by_role("button", name="Details of face 1 in 0.jpg").click()
    card = page.locator("#table tr.card")
    sync_api.expect(card).to_have_count(1)
    sync_api.expect(page.locator("#done")).to_contain_text("8 photos, 8 faces.")
    sync_api.expect(page.locator("#table tr.row")).to_have_count(8)
    sync_api.expect(card).to_have_count(1)
    assert "0.jpg" in card.evaluate("one => one.previousElementSibling.innerText")
    page.get_by_role("button", name="file", exact=True).click()
    sync_api.expect(card).to_have_count(1)
    page.get_by_role("button", name="Details of face 1 in 0.jpg").click()
    sync_api.expect(card).to_have_count(0)
