"""The report page in a real browser: nothing fails, nothing is fetched, every picture loads."""

from pathlib import Path

import pytest

from factory.domains.eye.page import render_page
from factory.validation.refiner_verdict import verdict_of
from schemas.report import ShardCount
from support.pages import LOOK_HERE, SIZES, Visit
from support.report_example import (
    example_judged,
    example_pictures,
    example_report,
    example_sample_check,
)

pytestmark = pytest.mark.slow

A4 = (718, 1000)
"""what A4 has between Chromium's margins, px"""
WIDER = (
    "[...document.querySelectorAll('.scroll, .gaze-frame, section, .fold')]"
    ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 40))"
)
"""the parts of a page that hold more than they are wide"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    """A report that fails, with every part a report can have."""
    bad = ShardCount(shard=12, num_missed=88, num_samples=100)
    samples = (example_sample_check(90), example_sample_check(9, (bad,)))
    report = example_judged(1.2, samples=samples)
    report = report.model_copy(update={"refiner_verdict": verdict_of(report)})
    html = render_page(report, example_pictures(), example_report())
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html)
    return path


@pytest.mark.parametrize("size", SIZES)
def test_nothing_fails_nothing_is_fetched_and_every_picture_loads(browser, page_file, size):
    visit = Visit(browser, page_file, SIZES[size])
    visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    pictures = visit.page.evaluate(
        "[...document.images].map(i => i.complete && i.naturalWidth > 0)"
    )
    drawn = visit.page.evaluate(
        "Promise.all([...document.querySelectorAll('svg image')].map(i => new Promise(done => {"
        " const p = new Image(); p.onload = () => done(p.naturalWidth > 0);"
        " p.onerror = () => done(false); p.src = i.getAttribute('href'); })))"
    )
    assert len(pictures) > 50 and all(pictures)
    assert len(drawn) >= 12 and all(drawn)
    assert visit.said == []
    assert [url for url in visit.asked if not url.startswith("data:")] == [page_file.as_uri()]
    if LOOK_HERE:
        visit.page.screenshot(path=f"{LOOK_HERE}/report-{size}.png", full_page=True)
    visit.page.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("unfolded", [False, True])
def test_nothing_is_wider_than_its_window(browser, page_file, size, unfolded):
    """Neither the page nor, with one more plot or table unfolded, anything that would scroll."""
    visit = Visit(browser, page_file, SIZES[size])
    assert visit.page.locator("table:visible").count() == 0
    if unfolded:
        visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert visit.page.locator("table:visible").count() >= 10
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    assert visit.page.evaluate(WIDER) == []
    visit.page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_grid_of_gazes_fits_whatever_its_columns(browser, tmp_path, width):
    """Renders with gazes up to 80 degrees to either side have seventeen columns."""
    report = example_report()
    (cell, *_) = (line for line in report.drift.bins if line.drift_px)
    bins = tuple(
        cell.model_copy(update={"yaw_deg": (yaw - 5.0, yaw + 5.0), "pitch_deg": (-5.0, 5.0)})
        for yaw in range(-80, 81, 10)
    )
    drift = report.drift.model_copy(update={"bins": bins})
    path = tmp_path / "report.html"
    path.write_text(render_page(report.model_copy(update={"drift": drift}), example_pictures(1)))
    visit = Visit(browser, path, (width, 844))
    visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    cells = visit.page.evaluate(
        "[...document.querySelectorAll('table.gaze td b, table.gaze th')].map(e => {"
        " const r = document.createRange(); r.selectNodeContents(e);"
        " const size = parseFloat(getComputedStyle(e).fontSize);"
        " return [r.getBoundingClientRect().width, e.closest('td, th').clientWidth, size]; })"
    )
    assert len(cells) == 18 + 18
    assert all(text <= inside and size >= 8 for text, inside, size in cells)
    box = visit.page.locator("table.gaze").bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width
    visit.page.close()


def test_the_first_screen_has_verdict_numbers_and_pictures(browser, page_file):
    visit = Visit(browser, page_file, SIZES["desk"])
    tops = [
        visit.page.locator(selector).first.bounding_box()
        for selector in (".asked", ".badge", ".card .big", ".strip img")
    ]
    assert all(box is not None and box["y"] < SIZES["desk"][1] for box in tops)
    visit.page.locator(".answer a").click()
    missed = visit.page.locator("#missed").bounding_box()
    assert missed is not None and -1 < missed["y"] < SIZES["desk"][1]  # pixels are rounded
    visit.page.close()


def test_paper_shows_what_a_screen_folds(browser, page_file):
    visit = Visit(browser, page_file, A4)
    visit.page.emulate_media(media="print")
    heights = visit.page.evaluate(
        "[...document.querySelectorAll('table:not(.files table), .plot')]"
        ".map(e => e.getBoundingClientRect().height)"
    )
    assert len(heights) > 20 and min(heights) > 20
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= A4[0]
    assert visit.page.evaluate(WIDER) == []
    if LOOK_HERE:
        visit.page.screenshot(path=f"{LOOK_HERE}/report-print.png", full_page=True)
    raw = visit.page.pdf(format="A4")
    assert raw.startswith(b"%PDF") and 5 <= raw.count(b"/Type /Page\n") <= 30
    if LOOK_HERE:
        Path(LOOK_HERE, "report.pdf").write_bytes(raw)
    visit.page.close()
