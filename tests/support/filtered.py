"""A refined dataset with a report that passes and verdicts, and its filtered child."""

from pathlib import Path
from typing import Any

import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import collect, run_here
from factory.release.filtered import FilteredContent, enter_filtered, filter_task
from support import fakes, planted, releases

REPORT_ID = releases.REPORT_ID
GAZE = "gaze_deg"
FAILED = {
    "000000-000001": ["drift_px"],
    "000001-000000": ["drift_px", GAZE],
    **{f"000002-{index:06d}": [GAZE] for index in range(5)},
}
"""one, one and all of the five samples of shards 0, 1 and 2"""
PAGE = b"<html>"


@pytest.fixture(scope="session")
def judged_once(synthetic, tmp_path_factory) -> Dataset:
    """Five shards, with a passing report and verdicts. Read only."""
    folder = tmp_path_factory.mktemp("judged")
    refiner = fakes.save_tiny_refiner(folder / "refiner", seed=1)
    dataset = fakes.refine_here(synthetic, refiner, folder / "refined")
    releases.put_report(dataset)
    releases.put_verdicts(dataset, FAILED)
    dataset.store.put(f"reports/{REPORT_ID}/report.html", PAGE)
    return dataset


@pytest.fixture
def refined(judged_once, tmp_path) -> Dataset:
    """A copy of it, which a test may change."""
    return planted.copied(judged_once, tmp_path / "refined")


@pytest.fixture
def kept(refined, tmp_path) -> Dataset:
    return kept_here(refined, tmp_path / "kept")


def kept_here(refined: Dataset, location: str | Path, report_id: str = REPORT_ID) -> Dataset:
    """What the job does, in this process."""
    child = enter_filtered(refined, report_id, str(location), "kept")
    missing = sorted(set(FilteredContent(child, refined).validated) - set(child.committed()))
    collect(run_here(filter_task(child, refined), missing))
    return child


def parts_of(dataset: Dataset) -> dict[str | int, Any]:
    return planted.content(dataset, "runs/", "children/")
