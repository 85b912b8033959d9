"""The last lines of a demo: what was made, how it was judged, what to open."""

import logging
import shutil
from pathlib import Path

import pytest

from factory.dataset.dataset import Dataset
from factory.validation.refiner_verdict import verdict_of
from jobs.demo import _conclude
from schemas.report import GateCheck
from support.releases import put_report, report_on

MISSED = GateCheck(measure="drift.drift_px.median", at_most=0.1, why="x", value=0.5, passed=False)


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        ((), "passed: all 0 limits of the gate; the refiner closed 93 % of the distance to real"),
        (
            (MISSED,),
            "failed: 1 of the gate's 1 limits were missed (drift.drift_px.median); the refiner "
            "moved labels (median of the drift of the fitted iris is 0.5 px, at most 0.1 px); "
            "closed 93 % of the",
        ),
    ],
)
def test_three_lines_say_it_all(synthetic, tmp_path, caplog, checks, words) -> None:
    folder = tmp_path / "refined"
    shutil.copytree(Path(synthetic.location), folder)
    dataset = Dataset.open(str(folder))
    report = report_on(dataset, checks=checks)
    report_id = put_report(dataset, checks=checks, refiner_verdict=verdict_of(report))
    (folder / "reports" / report_id / "report.html").write_text("<p>page</p>")
    with caplog.at_level(logging.INFO):
        _conclude(str(folder), tmp_path)
    made, judged, look = (record.getMessage() for record in caplog.records[-3:])
    assert made.startswith("made: 24 refined images") and judged.startswith(words)
    assert look == f"open: {tmp_path / 'report.html'}"
    assert (tmp_path / "report.html").read_text() == "<p>page</p>"
