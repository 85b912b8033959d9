"""The pages of evaluations and ablations in a real browser: whole, folded, and as wide as their
window."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from factory.evaluation.ablation import Row
from factory.evaluation.ablation_page import ablation_page
from factory.evaluation.comparison.page import Figure, Pictures, write_page
from factory.evaluation.comparison.plots import arms_plot
from factory.measures.two_sample import TwoSampleTest
from factory.validation.held_out import HeldOut
from schemas.evaluation import (
    ArmResult,
    EvaluationReport,
    Interval,
    Looks,
    PairedDifference,
    Verdict,
)
from support.coins import CoinScoring
from support.pages import LOOK_HERE, SIZES, Page, Visit
from support.tables import without_unit

pytestmark = pytest.mark.slow


def interval(value: float) -> Interval:
    return Interval(value=value, low=value - 0.5, high=value + 0.5)


def evaluation() -> str:
    arms = ("renders", "matched degradation", "refined, held strongly")
    results = tuple(
        ArmResult(
            arm=arm,
            kind="renders",
            size=None,
            model="gaze network",
            test="webcam",
            unit="deg",
            mean=interval(9 - k),
            by_seed=tuple((seed, 9 - k + 0.1 * seed) for seed in range(5)),
            collapsed_seeds=(),
            within={"7": 0.3 + 0.1 * k},
            updates=(),
        )
        for k, arm in enumerate(arms)
    )
    row = {"size": None, "model": "gaze network", "test": "webcam"}
    report = EvaluationReport(
        domain="eye",
        baseline=arms[0],
        control=arms[1],
        seeds=tuple(range(5)),
        num_trials=15,
        arms=results,
        differences=tuple(
            PairedDifference(
                arm=arms[2],
                other=other,
                unit="deg",
                num_seeds=5,
                difference=interval(-1.8),
                relative=Interval(value=-0.2, low=-0.24, high=-0.07),
                **row,
            )
            for other in arms[:2]
        ),
        gaps=(),
        verdicts=(Verdict(arm=arms[2], outcome="pays", why="The error is 20 % below.", **row),),
        looks=(Looks(test="webcam", num_settings=30, num_new_settings=1),),
        notes=("The eyes are of one person.",),
    )
    plot = arms_plot(results, report.baseline)
    figures = [
        Figure("error", "webcam: error of each arm", plot, "errors", "Mean error.", first=True),
        Figure("curves", "webcam: share within an error", plot, "curves", "Shares."),
    ]
    images = np.random.default_rng(0).integers(0, 256, (3, 35, 55), dtype=np.uint8)
    return write_page(report, figures, Pictures(dict.fromkeys(arms, images), 255.0))


def ablation() -> str:
    cells = ("0.80 ± 0.02", "0.285 ± 0.010", "83.0% ± 2.0%")
    images = np.random.default_rng(0).integers(0, 256, (3, 35, 55), dtype=np.uint8)
    names = [f"variant number {k}" for k in range(6)]
    metrics = b'{"step": 1, "phase": "train", "refiner_loss": 1.0}\n'
    return ablation_page(
        [Row(name, 3, cells) for name in names],
        CoinScoring(TwoSampleTest()),
        HeldOut(pa.table({}), images, images),
        dict.fromkeys(names, images),
        {names[0]: metrics},
        split="test",
        seed=0,
        full_scale=255.0,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    pages = {"evaluation": evaluation(), "ablation": ablation()}
    for name, html in pages.items():
        (folder / f"{name}.html").write_text(html)
    return {name: folder / f"{name}.html" for name in pages}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["evaluation", "ablation"])
def test_it_opens_whole_and_nothing_is_wider_than_the_window(browser, files, name, size):
    visit = Visit(browser, files[name], SIZES[size])
    visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert visit.page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    assert visit.page.evaluate(
        "[...document.querySelectorAll('table')].every("
        "t => t.getBoundingClientRect().right <= document.documentElement.clientWidth)"
    )
    assert visit.said == []
    assert [url for url in visit.asked if not url.startswith("data:")] == [files[name].as_uri()]
    if LOOK_HERE:
        visit.page.screenshot(path=f"{LOOK_HERE}/{name}-{size}.png", full_page=True)
    visit.page.close()


def test_an_evaluation_says_what_was_asked_then_the_verdict_pictures_and_folded_tables(files):
    html = files["evaluation"].read_text()
    words = ("models were trained on renders, matched degradation, refined, held strongly, and",
             "scored on real images (webcam)", "Pays:", "The same renders in each arm",
             "error of each arm", "<details>", "<table")  # fmt: skip
    places = [html.index(one) for one in words]
    assert places == sorted(places)
    assert html.count("<details>") == 3 and "−1.80° (−2.30 to −1.30)" in html


@pytest.mark.parametrize("name", ["evaluation", "ablation"])
def test_numbers_have_units_and_no_code_is_among_the_words(files, name):
    html = files[name].read_text()
    page = Page(html)
    assert without_unit(html) == [] and page.codes() == [] and not page.open
    assert "http:" not in html and "https:" not in html and "<script" not in html
    policy = re.findall('Security-Policy" content="([^"]*)"', html)
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_paper_shows_what_the_screen_folds(browser, files):
    visit = Visit(browser, files["evaluation"], (718, 1000))
    assert not visit.page.locator("table").first.is_visible()
    visit.page.emulate_media(media="print")
    assert all(visit.page.locator("table").nth(k).is_visible() for k in range(2))
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 718
    visit.page.close()
