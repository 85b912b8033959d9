"""A report with plausible numbers, for tests of what reads one."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.domains.eye.gaze_arrows import Shifts
from factory.domains.eye.page import ReportPictures, WorstDrift
from factory.validation.gate import judged, load_gate
from factory.validation.report.figures import Outline
from schemas.dataset import DatasetCard, ImageSpec, ParentRef, RefinerRef
from schemas.eye.report import (
    EyeReport,
    GazeBin,
    NullDrift,
    PlantedShift,
    PupilCalibration,
    PupilDrift,
    Witnesses,
)
from schemas.realism import (
    ClosedShare,
    ClosestPair,
    Compared,
    Curves,
    Distance,
    Fidelity,
    InceptionDistance,
    LookDistances,
)
from schemas.report import (
    Agreement,
    Estimate,
    LookDrift,
    Realism,
    SampleCheck,
    ShardCount,
    Spread,
    TwoSample,
    ValidatedShard,
    ValueBin,
    Verdicts,
    Witness,
)
from support.places import ROOT

YAWS = ((-25.0, -15.0), (-15.0, -5.0), (-5.0, 5.0), (5.0, 15.0), (15.0, 25.0))
PITCHES = ((-20.0, -7.0), (-7.0, 7.0), (7.0, 20.0))


ABSTAINED = {"parent:arc": 92, "refined:ambiguous": 41, "pair:other_circle": 7}
"""the pupil finder's codes, and a number of samples for each"""


def spread_of(values: NDArray[np.floating]) -> Spread:
    return Spread(
        num=len(values),
        mean=float(values.mean()),
        sd=float(values.std()),
        median=float(np.median(values)),
        p95=float(np.percentile(values, 95)),
    )


def example_drift(scale_px: float = 0.45, num: int = 1300) -> NDArray[np.float64]:
    return np.random.default_rng(1).rayleigh(scale_px, num)


def example_null() -> NDArray[np.float64]:
    return np.random.default_rng(2).rayleigh(0.17, 2400)


def example_card(kind: str, name: str) -> DatasetCard:
    refined = kind == "refined"
    return DatasetCard.model_validate(
        {
            "name": name,
            "kind": kind,
            "domain": "eye",
            "labelled": kind != "real",
            "image": ImageSpec(height=35, width=55),
            "shard_size": 512,
            "parent": ParentRef(
                location="out/synthetic", card=example_card("synthetic", "renders").digest()
            )
            if refined
            else None,
            "refiner": RefinerRef(sha256="b" * 64, config="c" * 64) if refined else None,
            "config": {"crop": {"height": 35, "width": 55, "equalise": True}, "source": name},
            "config_digest": "d" * 64,
        }
    )


def two_sample(accuracy: float) -> TwoSample:
    return TwoSample(
        accuracy=accuracy,
        low=max(0.0, accuracy - 0.02),
        high=min(1.0, accuracy + 0.02),
        num_train=2400,
        num_test=1600,
        seeds=(0, 1, 2),
    )


def example_calibration() -> PupilCalibration:
    null = spread_of(example_null())
    looks = ("blur 0.7 px", "noise 6", "gamma 0.7", "contrast 60 %", "camera style")
    return PupilCalibration(
        circle="iris",
        window_radius_px=8,
        truth="1,000 built-in renders, whose centre is known; 400 hand-made masks",
        error_px=Spread(num=1400, mean=0.41, sd=0.33, median=0.32, p95=1.02),
        error_percent_eye_width=Spread(num=1400, mean=1.0, sd=0.8, median=0.8, p95=2.5),
        shifts=tuple(
            PlantedShift(shift_px=shift, mean_signed_error_px=error, sd_px=0.2, num=500)
            for shift, error in ((0.5, -0.012), (1.0, 0.021), (2.0, -0.043))
        ),
        null_drift=tuple(
            NullDrift(look=look, drift_px=null, abstained_share=0.04 + 0.02 * k)
            for k, look in enumerate(looks)
        ),
        null_drift_px=null,
        abstained_share=0.08,
    )


def example_drift_found(scale_px: float = 0.45) -> PupilDrift:
    drift = example_drift(scale_px)
    rng = np.random.default_rng(3)
    bins = []
    for yaw in YAWS:
        for pitch in PITCHES:
            here = rng.rayleigh(scale_px * (1 + abs(yaw[0] + yaw[1]) / 30), 80)
            bins.append(
                GazeBin(yaw_deg=yaw, pitch_deg=pitch, num_samples=96, drift_px=spread_of(here))
            )
    bins[0] = bins[0].model_copy(update={"drift_px": None, "num_samples": 7})
    return PupilDrift(
        num_samples=1440,
        num_measured=len(drift),
        abstained=ABSTAINED,
        drift_px=spread_of(drift),
        drift_percent_eye_width=spread_of(drift * 2.5),
        mean_shift_px=(0.08, -0.05),
        bins=tuple(bins),
    )


def example_estimate(scale: float = 0.45, num: int = 1300) -> Estimate:
    drift = example_drift(scale, num)
    mean, median, p95 = drift.mean(), np.median(drift), np.percentile(drift, 95)
    return Estimate(
        num=num,
        mean=mean,
        mean_low=0.95 * mean,
        mean_high=1.05 * mean,
        sd=drift.std(),
        median=median,
        median_low=0.94 * median,
        median_high=1.06 * median,
        p95=p95,
        p95_low=0.9 * p95,
        p95_high=1.1 * p95,
        p99=np.percentile(drift, 99),
    )


def example_witness(scale: float = 0.45, unit: str = "px", network: str | None = None) -> Witness:
    floor = spread_of(example_null())
    edges = (None, -15.0, 0.0, 15.0, None)
    return Witness.model_validate(
        {
            "unit": unit,
            "means": "an ellipse fitted to the border of iris and sclera",
            "network": network,
            "num_samples": 1440,
            "num_measured": 1300,
            "unmeasured": {"too little of the picture to match": 140},
            "drift": example_estimate(scale),
            "mean_shift": (0.08, -0.05),
            "label_error": example_estimate(1.3 * scale),
            "error": floor,
            "null_drift": [LookDrift(look=look, drift=floor) for look in ("blur", "camera style")],
            "floor": floor,
            "bins": [
                ValueBin(
                    by="head yaw, deg",
                    low=low,
                    high=high,
                    num_samples=360,
                    estimate=None if high is None else example_estimate(scale, 325),
                )
                for low, high in itertools.pairwise(edges)
            ],
        }
    )


def example_witnesses(scale_px: float) -> Witnesses:
    return Witnesses(
        pupil=example_witness(scale_px).model_copy(update={"unmeasured": ABSTAINED}),
        iris=example_witness(scale_px, network="e" * 64),
        lids=example_witness(scale_px, network="e" * 64),
        gaze=example_witness(3 * scale_px, "deg", "f" * 64),
        registration=example_witness(0.6 * scale_px),
        iris_registration=example_witness(0.8 * scale_px),
    )


def example_sample_check(num_missed: int = 9, bad: tuple[ShardCount, ...] = ()) -> SampleCheck:
    return SampleCheck(
        limit="iris_registration_px > 2",
        measure="iris_registration_px",
        at_most=2.0,
        at_least=None,
        why="the iris moved against its place in the parent",
        drop=True,
        max_share=0.005,
        shard_share=0.02,
        num_measured=1440,
        num_missed=num_missed,
        share=num_missed / 1440,
        most_allowed=24,
        num_bad_shards=len(bad),
        bad_shards=bad,
        passed=num_missed <= 24 and not bad,
    )


def example_looks(closed_share: float = 0.929) -> LookDistances:
    def compared(synthetic: float, refined: float, floor: float) -> Compared:
        return Compared(
            **{
                name: Distance(value=value, low=0.9 * value, high=1.1 * value)
                for name, value in (
                    ("synthetic", synthetic),
                    ("refined", refined),
                    ("floor", floor),
                )
            }
        )

    def curves(num: int) -> Curves:
        at = np.arange(num, dtype=float)
        return Curves(
            at=tuple(at),
            synthetic=tuple(np.exp(-at / num)),
            refined=tuple(np.exp(-1.5 * at / num)),
            real=tuple(np.exp(-2 * at / num)),
        )

    return LookDistances(
        frechet=compared(324, 73, 0.5),
        kernel=compared(762, 130, 0.01),
        closed_share=ClosedShare(
            share=Distance(value=closed_share, low=closed_share - 0.028, high=closed_share + 0.027),
            why_not=None,
        ),
        sliced_wasserstein_fine=compared(0.35, 0.06, 0.02),
        sliced_wasserstein_coarse=compared(0.27, 0.26, 0.01),
        spectrum_db=compared(7.0, 1.2, 0.1),
        grey=compared(1.2, 0.02, 0.02),
        gradient=compared(3.7, 1.2, 0.1),
        coverage=compared(0.01, 0.04, 0.97),
        density=compared(0.01, 0.13, 0.98),
        diversity=compared(1.5, 1.06, 1.01),
        memorised_share=compared(0, 0, 0.011),
        copy_distance=0.21,
        copy_percentile=1.0,
        closest=(ClosestPair(refined=3, real=5, distance=0.3),),
        spectra=curves(17),
        grey_histogram=curves(256),
        gradient_histogram=curves(64),
        num_images=720,
        num_identities=20,
    )


def example_fidelity() -> Fidelity:
    def distance(fid: float, kid: float) -> InceptionDistance:
        return InceptionDistance(fid=fid, kid=kid, kid_sd=0.0021)

    return Fidelity(
        synthetic=distance(98.25, 0.0812),
        refined=distance(41.5, 0.0304),
        floor=distance(22.75, -0.0001),
        num_images=1500,
        height=35,
        width=55,
        channels=1,
        kid_subsets=100,
        kid_subset_size=750,
        library="torch-fidelity 0.4.0",
        weights="6726825d" + "0" * 56,
    )


def example_report(
    scale_px: float = 0.45, closed_share: float = 0.929, name: str = "eyes, refined"
) -> EyeReport:
    return EyeReport(
        id="20261121-101500-3fa9",
        created="2026-11-21T10:15:00Z",
        writer="simgan-factory 0.1.0",
        location="out/refined",
        dataset=example_card("refined", name),
        parent_location="out/synthetic",
        parent=example_card("synthetic", "renders"),
        real_location="out/real",
        real=example_card("real", "camera"),
        shards=tuple(
            ValidatedShard(shard=k, tar_sha256=f"{k:064x}", num_samples=480) for k in range(3)
        ),
        num_samples=1440,
        mean_abs_change=Spread(num=1440, mean=0.141, sd=0.03, median=0.138, p95=0.19),
        drift=example_drift_found(scale_px),
        calibration=example_calibration(),
        witnesses=example_witnesses(scale_px),
        agreement=(
            Agreement(
                first="pupil",
                second="iris",
                num=1300,
                rank_correlation=0.61,
                median_difference_px=0.2,
            ),
        ),
        samples=(example_sample_check(),),
        looks=example_looks(closed_share),
        verdicts=Verdicts(sha256="9" * 64, num_kept=1431, num_dropped=9, dropped_share=9 / 1440),
        realism=Realism(
            synthetic_vs_real=two_sample(0.997),
            refined_vs_real=two_sample(0.83),
            real_vs_real=two_sample(0.508),
        ),
        gate=None,
        checks=(),
        passed=None,
    )


def example_judged(scale_px: float = 0.45, **changes: Any) -> EyeReport:
    """The example, judged by the gate for eyes with landmarks.

    Args:
        changes: fields of the report in place of its own, before it is judged.
    """
    report = example_report(scale_px).model_copy(update=changes)
    return judged(report, load_gate(ROOT / "gates" / "eye-landmarks.toml", EyeReport))


def example_pictures(num: int = 40) -> ReportPictures:
    rng = np.random.default_rng(4)
    synthetic = rng.integers(0, 256, (num, 35, 55), dtype=np.uint8)
    refined = rng.integers(0, 256, (num, 35, 55), dtype=np.uint8)
    worst = [
        WorstDrift(
            key=f"000000-{k:06d}",
            synthetic=synthetic[k],
            refined=refined[k],
            synthetic_outline=Outline((27.0, 17.0), (7.5, 6.8), 0.2),
            refined_outline=Outline((29.5, 18.0), (7.2, 6.9), -0.1),
            drift=f"{2.7 - 0.1 * k:.2f} px by the witness pupil",
            synthetic_points=np.full((25, 2), 12.5),
            refined_points=np.full((25, 2), 13.5),
            gaze_deg=(12.0, -4.0),
        )
        for k in range(min(8, num))
    ]
    return ReportPictures(
        keys=[f"000000-{k:06d}" for k in range(num)],
        synthetic_NHW=synthetic,
        refined_NHW=refined,
        real_NHW=rng.integers(0, 256, (num - 1, 35, 55), dtype=np.uint8),
        worst=worst,
        drift_px=example_drift(),
        null_drift_px=example_null(),
        mean_abs_change=rng.normal(0.141, 0.03, 1440),
        eye_width_px=40.0,
        shifts=Shifts(
            rng.uniform(-25, 25, 1440), rng.uniform(-20, 20, 1440), rng.normal(0.1, 0.4, (1440, 2))
        ),
    )
