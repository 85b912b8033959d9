"""The lines by which a log shows how far a job is."""

import logging
import time

import pytest

from cluster.job.progress import Progress


@pytest.mark.parametrize(
    ("before", "done", "passed_s", "line"),
    [
        (0, 20, 10.5, "refine: 20 of 100 images, 1.9/s, 00:42 left"),
        (70, 20, 10.5, "refine: 90 of 100 images, 1.9/s, 00:05 left"),
        (0, 2, 600.0, "refine: 2 of 100 images, 300.0 s each, 8:10:00 left"),
        (0, 0, 11.0, "refine: 0 of 100 images"),
    ],
)
def test_a_line_says_how_long_it_will_take(
    monkeypatch, caplog, before, done, passed_s, line
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = Progress("refine", 100, "images", done=before)
    now += passed_s
    with caplog.at_level(logging.INFO):
        progress.advance(done)
    progress.close()
    assert [record.getMessage().strip() for record in caplog.records] == [line]
