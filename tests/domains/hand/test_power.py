"""jobs/power.py on hands, without Ray: from a clean dataset to the table and the gate."""

import numpy as np
import pytest

from factory.domains.base import NoOptions
from factory.domains.hand.looks import SENSOR_LOOK, in_look
from factory.domains.hand.sources.nyu import NyuOptions
from factory.domains.registry import domain_of
from factory.validation.gate import load_gate
from factory.validation.power import limits
from factory.validation.power.run import measure_power
from factory.validation.sampling import shards_of
from schemas.hand.report import HandReport
from schemas.power import PowerReport, PowerSettings
from support import fakes, hands
from support.hand_pairs import refined_by

NUM_FRAMES = 4
TRIED = ("shift 4 px", "depth_offset 30 mm", "finger_removed")


def sensed(images: np.ndarray, shard: int) -> np.ndarray:
    return in_look(images, SENSOR_LOOK, shard)


@pytest.mark.slow
def test_the_power_of_the_validation_of_hands_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MIN_CLEAN", 5)
    hands.write_frames(tmp_path / "frames", NUM_FRAMES, prefixes={"synthdepth": 0})
    parent = fakes.ingest_here(tmp_path / "frames", tmp_path / "d", NyuOptions(), shard_size=12)
    refined = refined_by(parent, sensed, tmp_path / "refined")
    domain = domain_of(refined)
    damages = domain.damage()
    witnesses = domain.validator().witnesses(refined, parent, {}, NoOptions())
    settings = PowerSettings(
        set_sizes=(200,), num_clean=300, num_damaged=100, shards=4, num_splits=1
    )
    output = tmp_path / "power"
    report = measure_power(
        refined,
        parent,
        None,
        witnesses,
        damages,
        settings,
        str(output),
        make_shards=fakes.make_shards_here,
        side_by_side=fakes.call_here,
        only=[damage for damage in damages.damages if damage.name in TRIED],
    )
    num_samples = sum(refined.facts(shard).num_samples for shard in shards_of(refined, None))
    assert report.num_samples == num_samples == 3 * NUM_FRAMES
    assert [line.damage for line in report.caught] == [
        damage.name for damage in damages.damages if damage.name in TRIED
    ]
    by_damage = {line.damage: line for line in report.caught}
    assert "silhouette_drift_px" in by_damage["shift 4 px"].by_measure
    assert "joint_depth_shift_mm" in by_damage["depth_offset 30 mm"].by_measure
    assert "lost_share" in by_damage["finger_removed"].by_measure
    raw = (output / "power.json").read_bytes()
    assert PowerReport.from_json(raw, where="power.json") == report
    head = '[[limit]]\nmeasure = "mean_abs_change.mean"\nat_most = 1\nwhy = "for the test"\n'
    (tmp_path / "gate.toml").write_text(head + (output / "gate.toml").read_text())
    assert load_gate(tmp_path / "gate.toml", HandReport).samples == report.limits
    assert len(list((output / "damaged").iterdir())) == len(TRIED)
    assert (output / "power.png").read_bytes().startswith(b"\x89PNG")
