"""The report page is whole in itself, safe to open, and says what the report says."""

import base64
import dataclasses
import json
import re
from typing import get_args

import numpy as np
import pytest

from factory.domains.eye.page import GazeTable, render_page
from factory.domains.eye.pupil.drift import ABSTENTION_WORDS, OTHER_CIRCLE
from factory.domains.eye.pupil.finder import Reason
from factory.images.png import decode_png
from factory.validation.measure_words import measure_of
from factory.validation.refiner_verdict import verdict_of
from factory.validation.report.figures import (
    Outline,
    heat,
    histogram,
    overlay,
)
from schemas.eye.report import MIN_BIN_SAMPLES, EyeReport
from schemas.realism import ClosedShare
from schemas.report import ShardCount
from support.pages import HOSTILE, Page
from support.report_example import (
    PITCHES,
    YAWS,
    example_fidelity,
    example_judged,
    example_pictures,
    example_report,
    example_sample_check,
    example_witness,
)
from support.tables import without_unit


@pytest.mark.slow
def test_the_page_needs_nothing_from_outside() -> None:
    html = render_page(example_judged(), example_pictures())
    page = Page(html)
    assert not page.open
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base", "form")
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "xlink:href", "action"):
                assert value is not None
                assert value.startswith(("data:image/png;base64,", "#"))
    assert "http:" not in html and "https:" not in html
    assert "@import" not in html and "url(" not in html
    policy = [attrs["content"] for _, attrs in page.tags if "http-equiv" in attrs]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert len(html) < 3_000_000


@pytest.mark.slow
def test_every_image_decodes_to_the_pixels_it_shows() -> None:
    pictures = example_pictures(12)
    addresses = Page(render_page(example_report(), pictures)).images()
    images = [decode_png(base64.b64decode(uri.split(",", 1)[1])) for uri in addresses]
    assert all(image.shape == (35, 55) for image in images)
    shown = {image.tobytes() for image in images}
    for image in (*pictures.synthetic_NHW, *pictures.refined_NHW, *pictures.real_NHW):
        assert image.tobytes() in shown
    for pair in pictures.worst:
        assert pair.synthetic.tobytes() in shown


@pytest.mark.slow
def test_large_images_are_shown_fewer() -> None:
    rng = np.random.default_rng(0)
    large = rng.integers(0, 65536, (30, 224, 224), dtype=np.uint16)
    pictures = dataclasses.replace(
        example_pictures(30), synthetic_NHW=large, refined_NHW=large, real_NHW=large
    )
    worst = [dataclasses.replace(pair, synthetic=large[0]) for pair in pictures.worst]
    pictures = dataclasses.replace(pictures, worst=worst)
    assert 0 < len(render_page(example_report(), pictures)) < 3_000_000


@pytest.mark.slow
def test_text_from_outside_is_escaped() -> None:
    report = example_report(name=HOSTILE)
    report = report.model_copy(
        update={
            "location": f"s3://bucket/{HOSTILE}",
            "gate": "0" * 64,
            "gate_name": HOSTILE,
            "witnesses": report.witnesses.model_copy(
                update={"pupil": example_witness().model_copy(update={"unmeasured": {HOSTILE: 3}})}
            ),
            "dataset": report.dataset.model_copy(update={"config": {"who": HOSTILE}}),
        }
    )
    pictures = dataclasses.replace(
        example_pictures(9), keys=[HOSTILE] * 9, notes=[HOSTILE, "a stand-in"]
    )
    pictures = dataclasses.replace(
        pictures, worst=[dataclasses.replace(pair, key=HOSTILE) for pair in pictures.worst]
    )
    page = Page(render_page(report, pictures))
    assert not [tag for tag, attrs in page.tags if tag == "script" or "onerror" in attrs]
    assert page.text.count(HOSTILE) > 6 and "a stand-in" in page.text


@pytest.mark.slow
def test_the_page_says_what_the_report_says() -> None:
    report = example_judged(1.2)
    verdict = verdict_of(report)
    report = report.model_copy(update={"refiner_verdict": verdict})
    text = Page(render_page(report, example_pictures())).text
    assert verdict.moved and verdict.words in text
    assert f"The refiner moved labels, as {len(verdict.moved)} measurements say." in text
    drift, null = report.drift.drift_px, report.calibration.null_drift_px
    iris = report.witnesses.iris
    assert drift is not None and iris is not None and iris.drift is not None
    assert iris.floor is not None
    for value in (
        "FAIL 3 of 11 limits of the gate are missed: median of the drift of the fitted iris; 95th",
        f"{iris.drift.median:.2f} px the iris moved, in the median",
        f"{iris.floor.median:.2f} px is what the same measurement shows where nothing moved",
        f"{100 * iris.drift.median / 40:.1f} % of the eye's width",
        f"{drift.mean:.2f} ± {drift.sd:.2f} px",
        f"Floor: {null.median:.2f} px median, {null.p95:.2f} px at the 95th percentile",
        "1.1 ± 0.8",
        "white): 0.141 ± 0.030",
        "93 % of the distance to real closed",
        "95 % interval: 90 to 96 %.",
        "9 of 1,440 samples (0.6 %)",
        "told from real: renders 100 %, refined 83 %, real from real 51 %",
        "says nothing for 9.7 %",
        "the gate eye-landmarks.toml.",
        "camera style",
        report.calibration.truth,
        report.dataset.digest(),
        "b" * 64,
        report.shards[2].tar_sha256,
    ):
        assert value in text
    for line in report.checks:
        assert line.measure in text and line.why in text
        assert measure_of(report, line.measure).words in text


@pytest.mark.slow
def test_what_was_asked_comes_first_then_the_verdict_numbers_pictures_misses_and_tables() -> None:
    report = example_judged(1.2)
    html = render_page(report, example_pictures(), example_report())
    places = [
        html.index(words)
        for words in (
            'class="asked"',
            'class="badge"',
            "How much nearer to real?",
            "Did the labels stay true?",
            "How many samples fail?",
            "<h2>Pictures",
            "The samples that moved most",
            "<h2>Missed limits",
            '<details class="fold"',
        )
    ]
    assert places == sorted(places) and html.count('class="card"') == 3
    folded = html[places[-1] :]
    assert "<table" not in html[: places[-1]] and "<section" not in folded
    assert folded.count("<h2>") == folded.count('<details class="fold"') == 10
    assert "<details open" not in folded
    asked = Page(html[places[0] - 3 : places[1]].split("</p>")[0] + "</p>").text
    assert asked == (
        "On 2026-11-21 10:15 UTC, its 1,440 refined images were compared with the renders that "
        "they were made from (renders) and with real images (camera), and judged by the gate "
        "eye-landmarks.toml."
    )


@pytest.mark.slow
def test_a_report_that_does_not_name_its_gate_is_read_and_shows_its_digest() -> None:
    report = example_judged()
    content = json.loads(report.to_json())
    assert content.pop("gate_name") == "eye-landmarks.toml"
    old = EyeReport.from_json(json.dumps(content).encode(), where="report.json")
    assert old.gate_name is None and old.gate is not None
    text = Page(render_page(old, example_pictures(1))).text
    assert f"judged by the gate with the digest {old.gate[:12]}." in text


@pytest.mark.slow
def test_every_missed_limit_is_in_words_and_in_sight() -> None:
    bad = ShardCount(shard=12, num_missed=88, num_samples=100)
    unmeasured = example_sample_check().model_copy(
        update={"measure": "gaze_drift_deg", "num_measured": 0, "passed": False}
    )
    samples = (example_sample_check(90, (bad,)), unmeasured, example_sample_check())
    report = example_judged(1.2, samples=samples)
    html = render_page(report, example_pictures())
    missed = html.split("<h2>Missed limits</h2>")[1].split("</section>")[0]
    text = Page(missed).text
    for words in (
        "Median of the drift of the fitted iris: 1.43 px; allowed is at most 0.8 px.",
        "Displacement of the edges around the iris, samples with more than 2 px: 90 samples "
        "(6.2 %); shard 000012 is bad: 88 of its 100 samples; allowed is at most 24 samples.",
        "This was measured on no sample, because the network that measures it was not given "
        "(--witnesses), or because nothing could be measured: angle between the gazes",
    ):
        assert words in text
    assert missed.count("<li>") == sum(not c.passed for c in (*report.checks, *report.samples)) + 1


@pytest.mark.slow
def test_no_code_and_no_number_without_its_unit_is_among_the_words() -> None:
    report = example_judged(1.2)
    report = report.model_copy(
        update={"refiner_verdict": verdict_of(report), "fidelity": example_fidelity()}
    )
    html = render_page(report, example_pictures(), example_report())
    assert Page(html).codes() == [] and without_unit(html) == []
    assert without_unit("<table><tr><th>drift</th></tr><tr><td>0.4</td></tr></table>") != []


@pytest.mark.slow
def test_every_reason_why_nothing_was_measured_is_a_sentence() -> None:
    codes = {
        *(f"{which}:{code}" for which in ("parent", "refined") for code in get_args(Reason)),
        OTHER_CIRCLE,
    }
    assert set(ABSTENTION_WORDS) == codes
    assert all(words[0].isupper() and words[-1] == "." for words in ABSTENTION_WORDS.values())
    text = Page(render_page(example_report(), example_pictures(1))).text
    assert "In the refined image, ellipses at two places fit nearly equally well.412.8 %" in text


@pytest.mark.slow
def test_the_floor_stands_beside_every_drift() -> None:
    html = render_page(example_report(), example_pictures())
    parts = {part.split("</h2>")[0]: part for part in html.split("<h2>")[1:]}
    assert ">0.20\N{NO-BREAK SPACE}px</span> is what" in parts["Did the labels stay true?"]
    for title in ("Pictures", "How well the labels held", "Drift by direction of gaze"):
        assert "loor: 0.20\N{NO-BREAK SPACE}px median, 0.41\N{NO-BREAK SPACE}px" in parts[title]


@pytest.mark.slow
@pytest.mark.parametrize(("gated", "verdict"), [(True, "PASS"), (False, "NO GATE")])
def test_the_verdict_comes_first(gated: bool, verdict: str) -> None:
    without = example_report().model_copy(update={"samples": ()})
    report = example_judged() if gated else without
    text = Page(render_page(report, example_pictures())).text
    assert text.index(report.dataset.name) < text.index(verdict) < text.index("How much nearer")
    assert ("so no sample was judged" in text) != gated


@pytest.mark.slow
def test_a_report_without_anything_measured_still_renders() -> None:
    report = example_report()
    drift = report.drift.model_copy(
        update={
            "num_measured": 0,
            "drift_px": None,
            "drift_percent_eye_width": None,
            "mean_shift_px": None,
            "bins": (),
        }
    )
    pictures = dataclasses.replace(example_pictures(1), drift_px=np.empty(0), worst=[])
    nothing = example_witness().model_copy(
        update={"num_measured": 0, "drift": None, "floor": None, "error": None, "bins": ()}
    )
    witnesses = report.witnesses.model_copy(update={"iris": nothing, "pupil": nothing})
    report = example_judged(drift=drift, witnesses=witnesses)
    page = Page(render_page(report, pictures))
    assert "Nothing was measured" in page.text and "FAIL" in page.text


@pytest.mark.slow
def test_a_share_that_is_not_known_is_not_a_number_on_the_page() -> None:
    report = example_report()
    closed = ClosedShare(share=None, why_not="the renders are no farther than real images")
    unknown = report.looks.model_copy(update={"closed_share": closed})
    of_before = report.looks.model_copy(update={"closed_share": None})
    for looks, words in (
        (unknown, "Not known: the renders are no farther than real images."),
        (of_before, "83 % told from real ones, renders 100 %"),
    ):
        page = render_page(report.model_copy(update={"looks": looks}), example_pictures(1))
        text = Page(page).text
        assert words in text and "% of the distance to real closed" not in text


@pytest.mark.slow
def test_shares_of_two_reports_are_compared_by_what_is_left() -> None:
    html = render_page(example_report(), example_pictures(1), example_report())
    assert "distance to real that is left, %" in html and "7.10 (4.40 to 9.90)" in html


@pytest.mark.slow
def test_fid_stands_beside_its_floor_and_says_what_it_can_be_compared_with() -> None:
    report = example_report().model_copy(update={"fidelity": example_fidelity()})
    html = render_page(report, example_pictures(1), report)
    section = Page(html).text.split("FID and KID", 1)[1]
    for words in (
        "FID, no unit98.241.522.8",
        "100 subsets of 7500.0812 ± 0.00210.0304 ± 0.0021−0.0001 ± 0.0021",
        "torch-fidelity 0.4.0",
        "1,500 images of each set of 35×55 px, grey repeated to three channels",
        "FID grows as sets shrink",
    ):
        assert words in section
    assert "FID of refined, 1,500 images" in html
    assert "FID" not in render_page(example_report(), example_pictures(1), report)


def test_the_gaze_table_is_laid_out_as_the_eye_looks() -> None:
    table = GazeTable.of(example_report().drift.bins)
    assert table.yaws == sorted(YAWS, reverse=True)  # positive yaw is image left
    assert [pitch for pitch, _ in table.rows] == sorted(PITCHES, reverse=True)
    for pitch, cells in table.rows:
        for yaw, cell in zip(table.yaws, cells, strict=True):
            assert cell is not None and (cell.bin.yaw_deg, cell.bin.pitch_deg) == (yaw, pitch)
            assert bool(cell.style) == (cell.bin.drift_px is not None)


def test_a_gaze_of_few_samples_has_no_colour() -> None:
    (first, *_) = (line for line in example_report().drift.bins if line.drift_px)
    assert first.drift_px is not None
    few = first.drift_px.model_copy(update={"num": MIN_BIN_SAMPLES - 1})
    for spread, coloured in ((first.drift_px, True), (few, False)):
        table = GazeTable.of([first.model_copy(update={"drift_px": spread})])
        assert [bool(c.style) for _, cells in table.rows for c in cells if c] == [coloured]


def test_histogram_bars_are_shares_and_the_tail_is_kept() -> None:
    values = np.concatenate([np.full(150, 0.2), np.full(49, 0.9), [80.0]])
    svg = str(histogram(values, axis="px", colour="#000"))
    heights = [float(h) for h in re.findall(r'<rect [^>]*height="([\d.]+)"', svg)]
    drawn = [h for h in heights if h > 0]
    assert len(drawn) == 3 or sum(drawn) == pytest.approx(sum(heights))
    assert max(heights) / sum(heights) == pytest.approx(150 / 200, abs=0.01)
    assert "1+" in svg
    same = histogram(np.zeros(5), axis="px", colour="#000", floor=np.zeros(0))
    assert "nan" not in str(same)


def test_heat_grows_with_the_value() -> None:
    assert heat(0, 2) == "background:rgb(255,255,255)"
    assert heat(2, 2) == heat(5, 2) != heat(1, 2)


def test_pairs_must_be_pairs() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        dataclasses.replace(example_pictures(4), keys=["000000-000000"])


def test_what_was_not_measured_is_not_drawn() -> None:
    nowhere = Outline((float("nan"), float("nan")), (7.0, 7.0))
    image = example_pictures(1).refined_NHW[0]
    drawn = overlay(image, [(nowhere, "#000")], arrow=((3.0, 4.0), nowhere.center_px))
    assert "nan" not in drawn and "ellipse" not in drawn
    assert "ellipse" in overlay(image, [(Outline((3.0, 4.0), (7.0, 7.0)), "#000")])


@pytest.mark.slow
def test_a_second_judge_stands_beside_the_paper_in_its_unit() -> None:
    report = example_report()
    judge = report.witnesses.iris
    assert judge is not None and judge.drift is not None
    witnesses = report.witnesses.model_copy(update={"mediapipe": judge})
    both = report.model_copy(update={"witnesses": witnesses})
    html = render_page(both, dataclasses.replace(example_pictures(), eye_width_px=22.0))
    shown = re.search(r"MediaPipe&#39;s iris, px of 55</th><td class=\"n\">([\d.]+) ± ", html)
    assert shown is not None and float(shown[1]) == pytest.approx(2.5 * judge.drift.mean, abs=0.006)
    assert "here it is 22 px wide" in html
    without = render_page(report, example_pictures())
    assert "MediaPipe" not in without and "ours, px of 55" in without
