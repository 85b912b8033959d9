"""Which gazes are kept: decided for each input by itself, by weights that are frozen."""

import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from factory.domains.eye.sources.gaze_filter import (
    GazeFilter,
    GazeWeights,
    angles_of,
    load_target,
)
from factory.domains.eye.sources.gaze_weights import weights_for
from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.sources.base import LeftOut
from support import fakes

SHA = "a" * 64
RNG = np.random.default_rng(0)
RENDERS = RNG.uniform(-0.6, 0.6, (60_000, 2))
TARGET = RNG.normal((0.05, -0.1), (0.10, 0.07), (20_000, 2))
WEIGHTS = GazeWeights.matching(RENDERS, TARGET, target_sha256=SHA)


def kept_of(angles: np.ndarray, prefix: str, weights: GazeWeights = WEIGHTS) -> np.ndarray:
    keep = GazeFilter(weights=weights)
    decisions = [
        keep.reason(f"{prefix}/{n}", yaw, pitch, 0.0) is None
        for n, (yaw, pitch) in enumerate(angles)
    ]
    return angles[np.array(decisions)]


@pytest.mark.slow
def test_what_is_kept_follows_the_target() -> None:
    kept = kept_of(RENDERS, "imgs")
    assert len(kept) > 1000
    edges = [np.array(WEIGHTS.yaw_edges_rad), np.array(WEIGHTS.pitch_edges_rad)]
    actual, _, _ = np.histogram2d(*kept.T, bins=edges)
    wanted, _, _ = np.histogram2d(*TARGET.T, bins=edges)
    actual, wanted = actual / actual.sum(), wanted / wanted.sum()
    before, _, _ = np.histogram2d(*RENDERS.T, bins=edges)
    before = before / before.sum()
    assert np.abs(before - wanted).max() > 0.03, "they differed much"
    assert np.abs(actual - wanted).max() < 0.01, "and are alike now, up to the capped peak"
    assert np.allclose(kept.mean(0), TARGET.mean(0), atol=0.01)
    assert np.allclose(kept.std(0), TARGET.std(0), rtol=0.1)


@pytest.mark.slow
def test_nothing_outside_the_target_is_kept() -> None:
    kept = kept_of(RENDERS, "imgs")
    step = math.radians(4)
    assert (kept >= TARGET.min(0) - step).all() and (kept <= TARGET.max(0) + step).all()


def test_a_decision_is_that_of_the_input_alone() -> None:
    """Whatever comes before it, in whatever order, and however often it is asked."""
    keep = GazeFilter(weights=WEIGHTS)
    ids = [f"imgs/{n}" for n in range(500)]
    gazes = dict(zip(ids, RENDERS[:500] * 0.3, strict=True))
    alone = {id: keep.reason(id, *gazes[id], 0.0) for id in ids}
    for id in reversed(ids[::3]):
        assert GazeFilter(weights=WEIGHTS).reason(id, *gazes[id], 0.0) == alone[id]
    assert 50 < sum(reason is None for reason in alone.values()) < 490


def test_weights_survive_being_written_in_the_card() -> None:
    again = GazeWeights.model_validate_json(WEIGHTS.model_dump_json())
    assert again == WEIGHTS
    assert np.array_equal(kept_of(RENDERS[:2000], "x", again), kept_of(RENDERS[:2000], "x"))


@pytest.mark.parametrize(
    ("limits", "yaw_deg", "pitch_deg", "head_yaw_deg", "reason"),
    [
        ({"gaze_yaw_deg": (-10, 10)}, 10.1, 0, 0, "gaze yaw outside -10..10 deg"),
        ({"gaze_yaw_deg": (-10, 10)}, 9.9, 80, 80, None),
        ({"gaze_pitch_deg": (-20, 0)}, 0, 1, 0, "gaze pitch outside -20..0 deg"),
        ({"gaze_pitch_deg": (-20, 0)}, 0, -1, 0, None),
        ({"head_yaw_deg": (-5, 5)}, 0, 0, -6, "head yaw outside -5..5 deg"),
        ({}, 80, 80, 80, None),
    ],
)
def test_ranges_are_in_degrees(limits, yaw_deg, pitch_deg, head_yaw_deg, reason) -> None:
    angles = map(math.radians, (yaw_deg, pitch_deg, head_yaw_deg))
    assert GazeFilter(**limits).reason("1", *angles) == reason


def test_a_range_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"gaze_yaw_deg must be \(low, high\)"):
        GazeFilter(gaze_yaw_deg=(10, -10))


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (0.5, -0.2), (-1.0, 0.7), (0.1, 1.2)])
def test_angles_invert_the_vector(yaw: float, pitch: float) -> None:
    assert np.allclose(angles_of(fakes.unit(yaw, pitch)), (yaw, pitch), atol=1e-12)


def test_a_target_where_no_render_looks_is_refused() -> None:
    with pytest.raises(ValueError, match="no render looks where the target"):
        GazeWeights.matching(RENDERS, TARGET + 2, target_sha256=SHA)


@pytest.mark.parametrize(
    "arrays",
    [{"gaze_rad": TARGET}, {"gaze_yaw_rad": TARGET[:, 0], "gaze_pitch_rad": TARGET[:, 1]}],
)
def test_a_target_file_is_yaw_and_pitch(tmp_path, arrays) -> None:
    np.savez(tmp_path / "target.npz", **arrays)
    assert np.array_equal(load_target(tmp_path / "target.npz"), TARGET)


def bad_targets() -> dict[str, dict[str, np.ndarray]]:
    return {
        "other names": {"angles": TARGET},
        "degrees": {"gaze_rad": np.degrees(TARGET)},
        "three columns": {"gaze_rad": np.zeros((5, 3))},
        "empty": {"gaze_rad": np.zeros((0, 2))},
        "not finite": {"gaze_rad": np.array([[np.nan, 0.0]])},
        "pickled objects": {"gaze_rad": np.array([[{}, {}]], dtype=object)},
    }


@pytest.mark.parametrize("kind", [*bad_targets(), "npy", "text", "cut"])
def test_another_target_file_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "target.npz"
    if kind in bad_targets():
        np.savez(path, **bad_targets()[kind])
    elif kind == "npy":
        np.save(tmp_path / "target.npy", TARGET)
        (tmp_path / "target.npy").rename(path)
    elif kind == "text":
        path.write_text("0.1, 0.2")
    else:
        np.savez(path, gaze_rad=TARGET)
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"target\.npz"):
        load_target(path)


def test_weights_are_estimated_from_labels_and_pass_over_malformed_ones(tmp_path) -> None:
    for number, (yaw, pitch) in enumerate(RENDERS[:30] / 3):
        label = fakes.unityeyes_label()
        x, y, z = fakes.unit(yaw, pitch)
        label["eye_details"]["look_vec"] = f"({x}, {-y}, {z}, 0)"
        fakes.write_pair(tmp_path / "in", str(number), label=label)
    fakes.write_pair(tmp_path / "in", "30", label=b"{")
    np.savez(tmp_path / "target.npz", gaze_rad=RENDERS[:30] / 3)
    source = UnityEyesSource(tmp_path / "in", UnityEyesOptions())
    weights = weights_for(source, source.listing(), tmp_path / "target.npz", SHA)
    assert np.allclose(
        [p for row in weights.keep_probability for p in row if p > 0], 1.0, atol=1e-6
    ), "renders that look as the target does are all kept"
    kept = UnityEyesSource(
        tmp_path / "in", UnityEyesOptions(keep=GazeFilter(weights=weights, gaze_yaw_deg=(0, 90)))
    )
    with pytest.raises(LeftOut, match="gaze yaw outside"):
        kept.load(str(int(RENDERS[:30, 0].argmin())))


def test_wide_open_eyes_can_be_left_out_by_their_lids(tmp_path) -> None:
    fakes.write_pair(tmp_path / "in", "1")
    loaded = UnityEyesSource(tmp_path / "in", UnityEyesOptions()).load("1")
    opening = float(np.ptp(loaded.labels["lid_px"][:, 1]) / loaded.labels["eye_width_px"])
    narrow, wide = GazeFilter(opening=(0.0, opening / 2)), GazeFilter(opening=(0.0, 2 * opening))
    kept = UnityEyesSource(tmp_path / "in", UnityEyesOptions(keep=wide)).load("1")
    assert np.array_equal(kept.image, loaded.image)
    with pytest.raises(LeftOut, match=r"lid opening outside 0\.\."):
        UnityEyesSource(tmp_path / "in", UnityEyesOptions(keep=narrow)).load("1")
    assert "opening" not in GazeFilter().model_dump(), "cards of earlier datasets stay as they are"
    with pytest.raises(ValidationError, match="opening must be"):
        GazeFilter(opening=(0.4, 0.1))
