"""The page to look around in a real browser: how it looks, its keys, and that it grows."""

import pytest

from support import pages
from support.browsing import REFINED, RUN, SYNTHETIC, browsed, put_strip, put_training
from support.pages import LOOK_HERE, SIZES

pytestmark = pytest.mark.long
OWN = f"/datasets/{REFINED}"
VIEWS = {
    "home": "/",
    "dataset": f"{OWN}/",
    "samples": f"{OWN}/samples",
    "table": f"{OWN}/samples?view=table&sort=registration_px&order=desc",
    "wrong": f"{OWN}/samples?where=gaze_yaw_deg+%3E+20+and+iris_px+%3E+1",
    "sample": f"{OWN}/samples/000001-000000",
    "rejects": f"/datasets/{SYNTHETIC}/rejects",
    "report": f"{OWN}/reports/20261121-000000-aaaa/",
    "training": f"/trainings/{RUN}/",
}


def visiting(browser, address, size="desk"):
    return pages.visiting(browser, size, address, "data:", "about:")


@pytest.fixture(scope="module")
def address(places):
    with browsed(places.folder) as address:
        yield address


@pytest.mark.parametrize("size", SIZES)
def test_every_view_fits_its_window(browser, address, size) -> None:
    with visiting(browser, address, size) as page:
        for name, view in VIEWS.items():
            page.goto(address + view)
            page.wait_for_load_state("networkidle")
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= SIZES[size][0], name
            loaded = "[...document.images].every(i => !i.complete || i.naturalWidth > 0)"
            assert page.evaluate(loaded), name
            if LOOK_HERE:
                page.screenshot(path=f"{LOOK_HERE}/browse-{name}-{size}.png")
        page.goto(address + VIEWS["samples"])
        for box in (part.bounding_box() for part in page.locator(".ask button, .chips a").all()):
            assert box["height"] >= (36 if size == "phone" else 24)


def test_keys_lead_through_samples_and_back(browser, address) -> None:
    with visiting(browser, address) as page:
        page.goto(f"{address}{OWN}/samples?sort=registration_px&order=desc")
        tiles = page.locator(".tile")
        keys = [tiles.nth(n).locator(".key").inner_text() for n in range(3)]
        for key in ("j", "ArrowRight", "k", "j"):
            page.keyboard.press(key)
        assert page.locator(".tile.marked .key").inner_text() == keys[1]
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/samples/{keys[1]}?**")
        for key, shown in (("j", keys[2]), ("k", keys[1]), ("ArrowLeft", keys[0])):
            page.keyboard.press(key)
            page.wait_for_url(f"**/samples/{shown}?sort=registration_px&order=desc")
        overlay = page.locator(".overlay").first
        assert overlay.is_hidden()
        page.keyboard.press("l")
        assert overlay.is_visible()
        page.keyboard.press("ArrowRight")
        page.wait_for_url(f"**/samples/{keys[1]}?**")
        assert page.locator(".overlay").first.is_visible(), "for the next sample too"
        page.keyboard.press("?")
        assert page.locator("#help").is_visible()
        page.keyboard.press("j")
        page.keyboard.press("Escape")
        assert page.locator("#help").is_hidden() and keys[1] in page.url
        page.keyboard.press("u")
        page.wait_for_url(f"**{OWN}/samples?sort=registration_px&order=desc")
        page.keyboard.press("/")
        page.keyboard.type("gaze_yaw_deg > 0 and not keep")
        page.keyboard.press("Enter")
        page.wait_for_url("**where=gaze_yaw_deg**")
        text = page.locator(".found p").inner_text()
        assert 0 < page.locator(".tile").count() < 24 and "of 24 samples" in text


def test_a_run_grows_on_the_page_without_a_reload(browser, tmp_path) -> None:
    put_training(tmp_path / "run")
    with browsed(tmp_path / "run") as address, visiting(browser, address) as page:
        page.goto(f"{address}/trainings/run/")
        page.evaluate("document.querySelector('#live').dataset.seconds = '0.2'")
        assert page.locator("figure.strip").count() == 3
        put_strip(tmp_path / "run", 60)
        page.get_by_text("step 60", exact=True).wait_for(timeout=20_000)
        assert page.locator("figure.strip").count() == 4
