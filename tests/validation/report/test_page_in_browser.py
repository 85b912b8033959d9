"""The report page in a real browser: nothing fails, nothing is fetched, every picture loads."""

from pathlib import Path

import pytest

from factory.domains.eye.page import render_page
from factory.validation.gate import judged, load_gate
from factory.validation.refiner_verdict import verdict_of
from schemas.eye.report import EyeReport
from schemas.report import ShardCount
from support.pages import LOOK_HERE, SIZES, Visit
from support.places import ROOT
from support.report_example import example_pictures, example_report, example_sample_check

EYE_GATE = ROOT / "gates" / "eye-landmarks.toml"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    """A report that fails, with every part a report can have."""
    bad = ShardCount(shard=12, num_missed=88, num_samples=100)
    report = example_report(scale_px=1.2).model_copy(
        update={"samples": (example_sample_check(90), example_sample_check(9, (bad,)))}
    )
    report = judged(report, load_gate(EYE_GATE, EyeReport))
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
def test_the_page_is_never_wider_than_its_window(browser, page_file, size):
    visit = Visit(browser, page_file, SIZES[size])
    visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    visit.page.close()


def test_the_first_screen_has_verdict_numbers_and_pictures(browser, page_file):
    visit = Visit(browser, page_file, SIZES["desk"])
    tops = [
        visit.page.locator(selector).first.bounding_box()
        for selector in (".badge", ".card .big", ".strip img")
    ]
    assert all(box is not None and box["y"] < SIZES["desk"][1] for box in tops)
    visit.page.close()


def test_it_prints(browser, page_file):
    visit = Visit(browser, page_file, SIZES["desk"])
    raw = visit.page.pdf(format="A4")
    assert raw.startswith(b"%PDF") and 2 <= raw.count(b"/Type /Page\n") <= 30
    if LOOK_HERE:
        Path(LOOK_HERE, "report.pdf").write_bytes(raw)
    visit.page.close()
