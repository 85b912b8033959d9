"""Hands validated whole: from three datasets to a report, its page and the gate's verdict."""

import base64

import numpy as np
import pytest

from factory.domains.hand.looks import SENSOR_LOOK, moved
from factory.domains.hand.page import HandPictures, outline_of, render_hand_page
from factory.domains.hand.validator import HandValidator
from factory.domains.hand.witnesses import DEPTHS_MM, SHIFTS_PX
from factory.domains.registry import domain_named
from factory.images.png import decode_png
from factory.validation.gate import load_gate, measures, value_of
from schemas.hand.report import HandReport
from support.hand_pairs import refined_by
from support.hand_reports import sensed, validated
from support.pages import HOSTILE, Page
from support.places import ROOT
from support.tables import without_unit

GATES = ROOT / "gates"
HAND_GATE = GATES / "hand.toml"


def test_hands_are_validated_by_their_own_validator() -> None:
    assert isinstance(domain_named("hand").validator(), HandValidator)


@pytest.mark.slow
def test_a_report_on_hands_has_every_witness_beside_its_floor(sound) -> None:
    report, _ = sound
    assert report.num_samples == 24
    for name, witness in report.witnesses:
        assert witness.num_measured == 24 and witness.floor is not None, name
        assert {line.look for line in witness.null_drift} >= {SENSOR_LOOK, "holes"}
        assert sum(line.num_samples for line in witness.bins) == 3 * 24
    assert report.witnesses.silhouette.drift.median < 0.6
    assert report.witnesses.joints.error is not None and report.witnesses.joints.network is not None
    planted = {(line.witness, line.unit, line.planted) for line in report.planted}
    assert planted == {
        (name, "px", px) for name in ("silhouette", "joints") for px in SHIFTS_PX
    } | {("depth", "mm", mm) for mm in DEPTHS_MM}
    assert report.boundary.raggedness_px.refined.value > 0
    assert report.boundary.noise_mm is None, "the drawn frames have none, so no spread either"
    assert HandReport.from_json(report.to_json(), where="r1") == report


@pytest.mark.slow
def test_a_refiner_that_moves_hands_drifts_by_as_much(parent, real, sound, tmp_path) -> None:
    def shifted(images: np.ndarray, shard: int) -> np.ndarray:
        return sensed(moved(images, np.full((len(images), 2), (2.0, 0.0))), shard)

    report, page = validated(refined_by(parent, shifted, tmp_path), parent, real, earlier=sound[0])
    assert report.witnesses.silhouette.mean_shift == pytest.approx((2, 0), abs=0.3)
    assert value_of(report, "derived.mean_shift_px") == pytest.approx(2, abs=0.3)
    assert value_of(report, "derived.silhouette_over_floor_px") > 1.2
    assert value_of(report, "derived.joints_over_floor_px") is None, "no network was given"
    assert "drift by silhouette, median, px" in Page(page).text and "▲ worse" in page


def test_the_gate_names_only_what_reports_on_hands_have() -> None:
    assert load_gate(GATES / "demo-hand.toml", HandReport).limits
    gate = load_gate(HAND_GATE, HandReport)
    assert gate.limits and gate.samples
    assert {limit.measure for limit in gate.limits} <= set(measures(HandReport))
    assert {"derived.boundary_gain", "witnesses.edges.drift.median"} <= set(measures(HandReport))


@pytest.mark.slow
def test_a_copied_parent_and_a_moved_hand_fail_the_gate(parent, real, tmp_path) -> None:
    gate = load_gate(HAND_GATE, HandReport)

    def spoiled(images: np.ndarray, shard: int) -> np.ndarray:
        out = sensed(images, shard)
        out[0] = 0
        return moved(out, np.full((len(out), 2), (0.0, 3.0)))

    for name, change, missed in (
        ("copied", lambda images, _: images, "mean_abs_change.median"),
        ("moved", spoiled, "derived.mean_shift_px"),
    ):
        refined = refined_by(parent, change, tmp_path / name)
        report, page = validated(refined, parent, real, gate=gate)
        assert report.passed is False
        assert missed in {line.measure for line in report.checks if not line.passed}
        assert "FAIL" in Page(page).text
        assert report.verdicts.num_dropped == (24 if name == "moved" else 0)


# --- the page -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_page_is_whole_in_itself_and_every_picture_decodes(sound) -> None:
    report, html = sound
    page = Page(html)
    assert not page.open and "url(" not in html
    assert "http:" not in html and "https:" not in html
    assert page.codes() == [] and without_unit(html) == []
    assert page.text.index("PASS" if report.passed else "NO GATE") < page.text.index("Pictures")
    folded = html.index('<details class="fold"')
    assert "<table" not in html[:folded] and html[:folded].count('class="card"') == 3
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "form")]
    addresses = page.images()
    assert len(addresses) > 3 * 8 and len(html) < 3_500_000
    for address in addresses:
        assert address.startswith("data:image/png;base64,")
        image = decode_png(base64.b64decode(address.split(",", 1)[1]))
        assert image.shape == (224, 224) and image.dtype == np.uint8
    for words in (
        f"{report.witnesses.silhouette.drift.median:.2f} px the outline moved, in the median",
        f"{report.witnesses.silhouette.floor.median:.2f} px is what the same measurement shows",
        "told from real ones, renders",
        "no gate was given, so no sample was judged",
        "Boundaries and surfaces",
        "the real pictures are drawn",
        "windows of 40x40 px",
        "joints, px",
    ):
        assert words in page.text


@pytest.mark.slow
def test_text_from_outside_is_escaped(sound) -> None:
    report, _ = sound
    hostile = report.dataset.model_copy(update={"name": HOSTILE})
    some = np.zeros((1, 224, 224), np.uint16)
    pictures = HandPictures(
        keys=[HOSTILE], synthetic_NHW=some, refined_NHW=some, real_NHW=some, cube_mm=300, worst=[],
        drift_px=np.empty(0), null_drift_px=np.empty(0), depth_error_mm=np.empty(0),
        null_depth_error_mm=np.empty(0), mean_abs_change=np.empty(0), notes=[HOSTILE],
    )  # fmt: skip
    page = Page(render_hand_page(report.model_copy(update={"dataset": hostile}), pictures))
    assert not [tag for tag, attrs in page.tags if tag == "script" or "onerror" in attrs]
    assert HOSTILE in page.text


def test_an_outline_runs_along_the_hands_last_pixels() -> None:
    hand = np.zeros((224, 224), np.uint16)
    hand[50:81, 60:101] = 120
    (line,) = outline_of(hand)
    assert {tuple(point) for point in line.tolist()} == {(60, 50), (100, 50), (100, 80), (60, 80)}
