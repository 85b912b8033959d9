"""Power: limits hold on clean sets of other people, damage is caught where it must be."""

import numpy as np
import pyarrow as pa
import pytest

from factory.dataset.columns import values_of
from factory.domains.eye.damage.kinds import DAMAGES
from factory.domains.eye.damage.tails import TAILS
from factory.domains.eye.derived_measures import with_derived
from factory.validation.gate import load_gate
from factory.validation.power.damages import Damage
from factory.validation.power.limits import (
    DamagedFlags,
    Refusals,
    bound_of,
    damaged_flags,
    fitted_limits,
    flags_of,
    halves_of,
    rare_share,
)
from factory.validation.power.table import (
    DamageMeasures,
    curves_png,
    gate_toml,
    markdown,
    power_of,
)
from schemas.eye.measures import EYE_MEASURE_MEANINGS
from schemas.eye.report import EyeReport
from schemas.gate import SampleLimit
from schemas.power import SHARES, PowerSettings
from support.eye_rows import measures

SETTINGS = PowerSettings(set_sizes=(1_000,), num_clean=300, num_damaged=100, shards=10)
NUM, IDENTITIES = 1_200, 24
DIGESTS = {"dataset": "0" * 64, "witnesses": "1" * 64}


def clean_measures(seed: int = 0, scale: float = 1.0) -> pa.Table:
    """Two measures of people who differ a little from each other."""
    rng = np.random.default_rng(seed)
    who = np.arange(NUM) % IDENTITIES
    own = rng.uniform(0.9, 1.1, IDENTITIES)[who]
    return with_derived(
        measures(
            (scale * own * rng.exponential(0.3, NUM)).tolist(),
            NUM,
            identity=[f"p{k}" for k in who],
            likeness=(0.9 - 0.05 * own * rng.exponential(0.3, NUM)).tolist(),
        )
    )


def with_drift(table: pa.Table, drift: np.ndarray) -> pa.Table:
    index = table.schema.get_field_index("iris_drift_px")
    return table.set_column(index, table.schema.field(index), pa.array(drift, pa.float32()))


def refusals(clean: pa.Table, settings: PowerSettings = SETTINGS):
    halves = halves_of(clean, 0)
    limits = fitted_limits(clean.take(pa.array(halves.fit)), TAILS, settings)
    test = clean.take(pa.array(halves.test))
    people = test["identity"].to_pylist()
    return Refusals(flags_of(test, limits), people, limits, settings), test, limits


def everywhere(test: pa.Table, limits, drift: np.ndarray) -> DamagedFlags:
    return DamagedFlags(flags_of(with_drift(test, drift), limits), np.ones(len(test), bool))


def test_the_halves_share_no_identity_and_leave_nobody_out():
    clean = clean_measures()
    halves = halves_of(clean, 3)
    who = np.array(clean["identity"].to_pylist())
    assert not set(who[halves.fit]) & set(who[halves.test])
    assert sorted([*halves.fit, *halves.test]) == list(range(NUM))
    with pytest.raises(ValueError, match="2 identities cannot be split"):
        halves_of(measures([0.1, 0.2], 2, identity=["a", "b"]), 0)


def test_every_tail_is_a_measure_and_every_measure_has_one():
    assert {tail.measure for tail in TAILS} == set(EYE_MEASURE_MEANINGS)


def test_thresholds_grow_with_rarity_and_clean_samples_keep_them():
    clean = clean_measures()
    limits = [x for x in fitted_limits(clean, TAILS, SETTINGS) if x.measure == "iris_drift_px"]
    bounds = [limit.at_most for limit in limits]
    assert bounds == sorted(bounds) and len(set(bounds)) == len(SETTINGS.rates)
    assert [limit.drop for limit in limits] == [False, False, True]
    beyond = values_of(clean, "iris_drift_px") > bounds[1]
    assert beyond.mean() == pytest.approx(0.01, abs=0.003)
    assert not (values_of(clean_measures(7), "iris_drift_px") > bounds[-1]).any()


@pytest.mark.parametrize(
    ("misses", "light", "share"),
    [
        (0, True, 0.001),  # its rate is believed
        (1, True, 0.001),
        (5, True, 0.0052),  # more than the rate explains: what they cannot rule out
        (0, False, 0.0015),
        (1, False, 0.0024),
    ],
)
def test_the_share_of_a_light_tail_is_its_rate(misses, light, share):
    estimated = rare_share(np.arange(2_000) < misses, 0.001, light)
    assert estimated == pytest.approx(share, abs=1e-4)


@pytest.mark.slow
def test_clean_sets_are_hardly_ever_refused():
    drawn, _, _ = refusals(clean_measures())
    bound = drawn.of_clean(1_000, 300)
    assert bound.trials == 300 and bound.share <= bound.upper < 0.03


@pytest.mark.slow
def test_a_gross_damage_is_caught_at_one_in_a_hundred_and_a_faint_one_is_not():
    drawn, test, limits = refusals(clean_measures())
    gross = everywhere(test, limits, np.full(len(test), 9.0))
    _, smallest, _ = drawn.smallest_share(gross, 1_000)
    assert smallest is not None and smallest <= 0.03
    clean = values_of(test, "iris_drift_px")
    curve, smallest, _ = drawn.smallest_share(everywhere(test, limits, clean), 1_000)
    assert smallest is None and max(curve) < 0.1
    assert len(curve) == len(SHARES)


def test_more_damage_is_refused_more_often():
    drawn, test, limits = refusals(clean_measures())
    shifted = everywhere(test, limits, values_of(test, "iris_drift_px") + 0.8)
    refused = [drawn.of_damaged(shifted, 1_000, share)[-1] for share in (0.002, 0.1, 1.0)]
    assert refused[0] < 0.3 and refused[-1] == 1 and refused == sorted(refused)


def test_one_bad_shard_is_caught():
    drawn, test, limits = refusals(clean_measures())
    assert drawn.of_bad_shard(everywhere(test, limits, np.full(len(test), 9.0)), 1_000) == 1
    clean = everywhere(test, limits, values_of(test, "iris_drift_px"))
    assert drawn.of_bad_shard(clean, 1_000) < 0.05


def test_only_samples_that_a_damage_harms_are_drawn():
    drawn, test, limits = refusals(clean_measures())
    harmed = np.arange(len(test)) % 2 == 0
    drift = np.where(harmed, 9.0, 0.1)
    damaged = DamagedFlags(flags_of(with_drift(test, drift), limits), harmed)
    assert drawn.of_damaged(damaged, 1_000, 0.1)[-1] == 1


def test_bounds_are_those_of_clopper_and_pearson():
    assert bound_of(0, 300).upper == pytest.approx(1 - 0.05 ** (1 / 300))
    assert bound_of(300, 300).upper == 1
    assert bound_of(3, 300).share == 0.01 < bound_of(3, 300).upper


@pytest.fixture(scope="module")
def report():
    clean = clean_measures()
    shift = Damage("shift", 3.0, "px", True, "in tests")
    nothing = Damage("blur", 1.0, "px", False, "in tests")
    is_harmed = np.ones(NUM, bool)
    damaged = [
        DamageMeasures(shift, with_drift(clean, np.full(NUM, 9.0)), is_harmed),
        DamageMeasures(nothing, clean, is_harmed),
    ]
    return power_of(clean, damaged, TAILS, SETTINGS, **DIGESTS)


@pytest.mark.slow
def test_the_table_says_what_is_caught_and_by_what(report):
    table = markdown(report)
    assert "| **shift 3 px** |" in table and "iris_drift_px" in table
    assert "| blur 1 px | not caught |" in table
    assert report.num_identities == IDENTITIES
    assert curves_png(report).startswith(b"\x89PNG")


def test_damage_that_harms_nothing_or_is_of_other_samples_is_refused():
    clean, blur = clean_measures(), Damage("blur", 1.0, "px", False, "in tests")
    of_none = DamageMeasures(blur, clean, np.zeros(NUM, bool))
    with pytest.raises(ValueError, match="blur 1 px harms none of the 600 clean samples"):
        power_of(clean, [of_none], TAILS, SETTINGS, **DIGESTS)
    of_others = DamageMeasures(blur, clean.slice(1), np.ones(NUM - 1, bool))
    with pytest.raises(ValueError, match="not of the clean samples: 1199 rows, expected 1200"):
        power_of(clean, [of_others], TAILS, SETTINGS, **DIGESTS)


@pytest.mark.slow
def test_limits_of_a_gate_are_tried_as_they_are_on_all_samples():
    clean = clean_measures()
    shift = Damage("shift", 3.0, "px", True, "in tests")
    damaged = [DamageMeasures(shift, with_drift(clean, np.full(NUM, 9.0)), np.ones(NUM, bool))]
    caught = {}
    for at_most in (8.0, 10.0):
        limit = SampleLimit(
            measure="iris_drift_px", at_most=at_most, max_share=0.001, shard_share=0.01,
            why="the iris moved",
        )  # fmt: skip
        report = power_of(clean, damaged, TAILS, SETTINGS, given=[limit], **DIGESTS)
        assert report.limits == (limit,) and not report.of_other_splits
        assert "1 limits of a gate" in markdown(report)
        caught[at_most] = max(report.caught, key=lambda line: line.set_size).smallest_share
    assert caught[8.0] <= 0.01 and caught[10.0] is None


def test_limits_in_spreads_catch_what_is_rare_and_not_what_most_samples_are():
    clean = clean_measures()
    damaged = with_drift(clean, np.full(NUM, 9.0))
    limit = SampleLimit(
        measure="iris_drift_px", at_most_spreads=10, max_share=0.001, shard_share=0.01,
        why="the iris moved further than others",
    )  # fmt: skip
    is_harmed = np.ones(NUM, bool)
    tries = Refusals(flags_of(clean, [limit]), clean["identity"].to_pylist(), [limit], SETTINGS)
    flagged = damaged_flags(clean, damaged, is_harmed, [limit])
    caught = {share: tries.of_damaged(flagged, 1_000, share)[-1] for share in (0.02, 0.2, 0.5)}
    assert caught == {0.02: 1.0, 0.2: 1.0, 0.5: 0.0}
    assert tries.of_bad_shard(flagged, 1_000) == 1.0


def test_too_few_clean_samples_are_refused():
    few = clean_measures().slice(0, 180)
    with pytest.raises(ValueError, match="limits need 100 measured ones there"):
        power_of(few, [], TAILS, SETTINGS, **DIGESTS)


@pytest.mark.slow
def test_what_must_be_caught_and_is_not_is_named(report):
    for share, missed in ((None, ["shift 3 px"]), (0.02, ["shift 3 px"]), (0.01, [])):
        lines = [line.model_copy(update={"smallest_share": share}) for line in report.caught]
        assert report.model_copy(update={"caught": tuple(lines)}).misses() == missed


@pytest.mark.slow
def test_the_limits_make_a_gate(report, tmp_path):
    path = tmp_path / "gate.toml"
    head = '[[limit]]\nmeasure = "mean_abs_change.mean"\nat_most = 1\nwhy = "for the test"\n'
    path.write_text(head + gate_toml(report.limits))
    assert load_gate(path, EyeReport).samples == report.limits


def test_the_damage_that_must_be_caught_is_all_there():
    must = {damage.name for damage in DAMAGES if damage.must_catch}
    kinds = {damage.kind for damage in DAMAGES if damage.must_catch}
    assert {"shift 3 px", "gaze 10 deg"} <= must
    assert kinds == {
        "shift", "mirrored", "lids_closed", "constant", "inverted", "copied_parent", "gaze",
        "checkerboard", "vertical_shift", "turn", "stretch", "iris_shift", "jpeg",
    }  # fmt: skip
