"""The page of the visual Turing test in a real browser: keys, buttons, going on, how it looks."""

from contextlib import contextmanager

import pytest

from factory.evaluation.turing.answers import read_answers
from support import pages
from support.pages import LOOK_HERE, SIZES
from support.turing import serving

pytestmark = pytest.mark.slow
FEW = {"num_examples": 20, "num_refined": 3, "num_unrefined": 2}


@contextmanager
def visiting(browser, served, size="desk"):
    """The page, and what it complains of at the end: errors, and requests to others."""
    with pages.visiting(browser, size, served.server.url, "data:") as page:
        page.goto(served.server.url)
        yield page


def begin(page):
    page.wait_for_selector("#curtain:visible")
    page.keyboard.press("Enter")  # the button has the focus
    page.wait_for_selector("#frame img:visible")


def wait_for(page, position):
    page.wait_for_selector(f"#frame[data-answerable='{position}']")


def looked_at(page, name):
    if LOOK_HERE:
        page.screenshot(path=f"{LOOK_HERE}/turing-{name}.png")


@pytest.mark.parametrize("size", SIZES)
def test_everything_is_in_view_and_large_enough(browser, turing_eyes, tmp_path, size):
    width, height = SIZES[size]
    with serving(turing_eyes, tmp_path, **FEW) as served, visiting(browser, served, size) as page:
        page.wait_for_selector("#curtain:visible")
        looked_at(page, f"begin-{size}")
        begin(page)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        looked_at(page, f"asked-{size}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        seen = page.locator(".tiles img, #frame img, .answers button, .more button")
        assert seen.count() == 20 + 1 + 2 + 2
        for box in (seen.nth(n).bounding_box() for n in range(seen.count())):
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
            assert box["y"] >= 0 and box["y"] + box["height"] <= height, "without scrolling"
        for button in page.locator("button:visible").all():
            assert button.bounding_box()["height"] >= 44
        scale = page.evaluate(
            "(i => i.getBoundingClientRect().width * devicePixelRatio / i.naturalWidth)"
            "(document.querySelector('#frame img'))"
        )
        assert scale >= 4 and scale == int(scale), "every pixel is equally large"
        rendering = "getComputedStyle(document.querySelector('#frame img')).imageRendering"
        assert page.evaluate(rendering) == "pixelated"
        page.keyboard.press("p")
        looked_at(page, f"paused-{size}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_key_answers_undoes_or_pauses(browser, turing_eyes, tmp_path):
    with serving(turing_eyes, tmp_path, **FEW) as served, visiting(browser, served) as page:
        begin(page)
        keys = (
            ("r", "real"),
            ("ArrowLeft", "real"),
            ("S", "synthetic"),
            ("ArrowRight", "synthetic"),
        )
        for position, (key, _) in enumerate(keys, 1):
            page.keyboard.press(key)
            wait_for(page, position)
        standing = read_answers(served.answers_path(), served.pictures)
        assert [line.answer for line in standing] == [answer for _, answer in keys]
        assert all(0 < line.seconds < 60 for line in standing)
        for key, position in (("u", 3), ("Backspace", 2)):
            page.keyboard.press(key)
            wait_for(page, position)
        page.keyboard.press("p")
        assert page.locator("#trial").is_hidden()
        page.keyboard.press("r")  # a hidden picture cannot be answered
        page.wait_for_timeout(100)
        page.keyboard.press("Enter")
        page.wait_for_selector("#frame img:visible")
        page.keyboard.down("r")
        page.keyboard.down("r")  # repeats while it is held
        page.keyboard.press("Control+s")
        wait_for(page, 3)
        assert served.state()["position"] == 3


def test_a_test_with_buttons_alone_from_the_first_picture_to_the_result(
    browser, turing_eyes, tmp_path
):  # fmt: skip
    with (
        serving(turing_eyes, tmp_path, **FEW) as served,
        visiting(browser, served, "phone") as page,
    ):
        page.get_by_role("button", name="Begin").tap()
        for position in range(6):
            wait_for(page, position)
            assert page.get_by_role("img", name=f"Picture {position + 1} of 10").is_visible()
            page.get_by_role("button", name="Synthetic").tap()
        page.get_by_role("heading", name="Part 2 of 2").wait_for()
        page.get_by_role("button", name="Continue").tap()
        wait_for(page, 6)
        page.get_by_role("button", name="Undo the last").tap()
        wait_for(page, 5)
        assert "Part 1 of 2 · Picture 6 of 10" in page.locator("#where").inner_text()
        page.get_by_role("button", name="Real", exact=True).tap()
        page.get_by_role("button", name="Continue").tap()
        assert page.get_by_role("img", name="Example 10 of 10: real").is_visible()
        for position in range(6, 10):
            wait_for(page, position)
            page.get_by_role("button", name="Pause").tap()
            page.get_by_role("button", name="Continue").tap()
            page.get_by_role("button", name="Real", exact=True).tap()
        page.get_by_role("heading", name="Thank you").wait_for()
        looked_at(page, "end-phone")
        with page.expect_popup() as opened:
            page.get_by_role("link", name="Show the result").tap()
        opened.value.wait_for_load_state()
        assert "Visual Turing test" in opened.value.title()
        assert opened.value.evaluate("document.documentElement.scrollWidth") <= 390
        page.get_by_role("button", name="End").tap()
        page.get_by_role("heading", name="The test has ended").wait_for()


def test_it_goes_on_after_a_reload_and_after_the_server_was_started_again(
    browser, turing_eyes, tmp_path
):  # fmt: skip
    with serving(turing_eyes, tmp_path, **FEW) as served:
        with visiting(browser, served) as page:
            begin(page)
            for position in (1, 2):
                page.keyboard.press("s")
                wait_for(page, position)
            page.reload()
            begin(page)
            assert "Picture 3 of 10" in page.locator("#where").inner_text()
            page.keyboard.press("r")
            wait_for(page, 3)
        port = served.server.server_port
        page = browser.new_page()
        page.goto(served.server.url)
        begin(page)
    page.keyboard.press("r")
    page.wait_for_selector("#problem:visible")
    assert "The server does not answer" in page.locator("#problem").inner_text()
    looked_at(page, "away")
    with serving(turing_eyes, tmp_path, port=port, **FEW) as served:
        page.keyboard.press(
            "r"
        )  # without a reload: what is in view is the picture whose turn it is
        wait_for(page, 4)
        assert page.locator("#problem").is_hidden()
        page.close()
        standing = read_answers(served.answers_path(), served.pictures)
        assert [line.answer for line in standing] == ["synthetic", "synthetic", "real", "real"]


def test_a_window_that_lags_behind_catches_up(browser, turing_eyes, tmp_path):
    with serving(turing_eyes, tmp_path, **FEW) as served:
        page = browser.new_page()
        page.goto(served.server.url)
        begin(page)
        served.let_answer(lambda _: "real", most=2)
        page.keyboard.press("s")
        page.wait_for_selector("#problem:visible")
        assert "not the one whose turn it is" in page.locator("#problem").inner_text()
        begin(page)
        assert "Picture 3 of 10" in page.locator("#where").inner_text()
        page.close()


@pytest.mark.parametrize("size", SIZES)
def test_the_analysis_fits_its_window(browser, turing_eyes, tmp_path, size):
    for observer in ("one", "two"):
        with serving(turing_eyes, tmp_path, observer=observer, num_examples=20) as served:
            served.let_answer(lambda image: "real" if image.mean() > 130 else "synthetic")
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto((tmp_path / "turing.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
    if LOOK_HERE:
        page.screenshot(path=f"{LOOK_HERE}/turing-analysis-{size}.png", full_page=True)
    page.close()
