"""Nights on datasets in an object store."""

import pytest

from cluster.job.command import GateFailedError
from factory.reading.release import Release
from factory.release.state import broken_releases
from factory.validation.withheld import withheld_shards
from support import planted
from support.nights import FakeSteps, Nights

pytestmark = [pytest.mark.s3, pytest.mark.slow]


def test_nights_in_an_object_store_end_in_releases(any_location, judged_once, tmp_path) -> None:
    dataset = planted.copied(judged_once, f"{any_location}/refined")
    nights = Nights(FakeSteps(dataset, drop_failed=True))
    nights.run()
    nights.steps.arrived.add(4)
    nights.steps.bad = {nights.steps.digest(4)}
    with pytest.raises(GateFailedError, match="bad shards: 000004; they are withheld"):
        nights.run()
    latest = Release(f"{any_location}/refined/releases/latest", cache=tmp_path)
    assert latest.location.endswith("/refined-kept-2026-11-28/releases/2026-11-28")
    assert nights.run().record(0).outcome == "nothing new"
    assert list(withheld_shards(dataset)) == [4] and broken_releases(dataset) == []
