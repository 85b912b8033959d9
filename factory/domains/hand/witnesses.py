"""The witnesses of hands: what each says of a refined dataset, and of pictures whose look was
changed and whose geometry was not; and how well known displacements are recovered.

`factory.validation.witnesses` defines a witness and has what is common to those of all domains.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.dataset.columns import values_of
from factory.domains.hand.depth.edges import Depth
from factory.domains.hand.looks import (
    FLOOR_LOOKS,
    LOOKS,
    SENSOR_LOOK,
    deepened,
    in_look,
    moved,
)
from factory.domains.hand.measures import HandMeasurer, HandWitnesses
from factory.measures.statistics import (
    Condition,
    clusters_of,
    estimate,
    quantile_edges,
)
from factory.validation.witnesses import (
    NUM_QUANTILE_BINS,
    PLAIN,
    Means,
    NullMeasures,
    own_by_looks,
    shift_of,
    witness_of,
)
from schemas.hand.report import HandChange, HandWitnessesFound, Planted
from schemas.report import Estimate, Witness

SHIFTS_PX = (0.5, 1.0, 2.0, 3.0)
DEPTHS_MM = (1, 2, 5)
TILT_EDGES_DEG = (0.0, 20.0, 40.0, 60.0, 90.1)

DRIFTS = {
    "silhouette": Means(
        "px",
        "the signed distance to the outline, slid over that of the parent",
        "silhouette_drift_px",
        shift=("silhouette_shift_x_px", "silhouette_shift_y_px"),
    ),
    "edges": Means(
        "px",
        "what the near side of depth discontinuities won or lost along their normals, averaged "
        "over stretches longer than the teeth of a ragged outline; at most 6 px",
        "edge_drift_px",
    ),
    "depth": Means(
        "mm",
        "the depth of the skin before the visible joints, against the parent's",
        "joint_depth_error_mm",
    ),
    "joints": Means(
        "px",
        "the mean distance of fourteen joints that a network finds in each picture by itself",
        "joint_drift_px",
        "joint_error_px",
        ("joint_shift_x_px", "joint_shift_y_px"),
    ),
}
"""the witnesses by name"""
_UNMEASURED = {
    "edges": "too few depth discontinuities",
    "depth": "no joint visible in both pictures",
    "joints": "no hand in one of the pictures",
}


Trial = Callable[[], pa.Table]
"""measures one look or one displacement"""


def null_trials(
    images_NHW: Depth, rows: pa.Table, witnesses: HandWitnesses, seed: int
) -> dict[str, Trial]:
    """By look: measurements of pictures whose look was changed and whose geometry was not."""
    measured = partial(_in_look, images_NHW, rows, witnesses, seed)
    return {PLAIN: partial(measured, None)} | {look: partial(measured, look) for look in LOOKS}


def _in_look(
    images_NHW: Depth, rows: pa.Table, witnesses: HandWitnesses, seed: int, look: str | None
) -> pa.Table:
    other = images_NHW if look is None else in_look(images_NHW, look, seed)
    return HandMeasurer(witnesses)(rows, images_NHW, other)


def displacement_trials(
    images_NHW: Depth, rows: pa.Table, witnesses: HandWitnesses, seed: int
) -> list[Callable[[], list[Planted]]]:
    """How well known displacements, seen in the look of a sensor, are recovered: shifts across the
    picture, and changes of depth."""
    given = images_NHW, rows, witnesses, seed
    return [
        *(partial(_shifted, *given, shift_px) for shift_px in SHIFTS_PX),
        *(partial(_deepened, *given, by_mm) for by_mm in DEPTHS_MM),
    ]


def _shifted(
    images_NHW: Depth, rows: pa.Table, witnesses: HandWitnesses, seed: int, shift_px: float
) -> list[Planted]:
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, len(images_NHW))
    direction_N2 = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    other = in_look(moved(images_NHW, shift_px * direction_N2), SENSOR_LOOK, seed)
    measures = HandMeasurer(witnesses)(rows, images_NHW, other)
    recoveries = []
    for name in ("silhouette", "joints"):
        shift = DRIFTS[name].shift
        assert shift is not None
        recovered = sum(
            values_of(measures, column) * part
            for column, part in zip(shift, direction_N2.T, strict=True)
        )
        recoveries += _recovery(name, "px", shift_px, np.asarray(recovered))
    return recoveries


def _deepened(
    images_NHW: Depth, rows: pa.Table, witnesses: HandWitnesses, seed: int, by_mm: int
) -> list[Planted]:
    other = in_look(deepened(images_NHW, by_mm), SENSOR_LOOK, seed)
    measures = HandMeasurer(witnesses)(rows, images_NHW, other)
    return _recovery("depth", "mm", by_mm, values_of(measures, "joint_depth_shift_mm"))


def _recovery(
    name: str, unit: str, planted: float, recovered_N: NDArray[np.float64]
) -> list[Planted]:
    """One entry, or an empty list where nothing was measured."""
    error = recovered_N[np.isfinite(recovered_N)] - planted
    if not len(error):
        return []
    return [
        Planted.model_validate(
            {
                "witness": name,
                "unit": unit,
                "planted": planted,
                "mean_signed_error": float(error.mean()),
                "sd": float(error.std()),
                "num": len(error),
            }
        )
    ]


# --- what the witnesses say -----------------------------------------------------------------------


def witnesses_of(
    measures: pa.Table, null: NullMeasures, witnesses: HandWitnesses
) -> HandWitnessesFound:
    """Every witness' distribution, bins and floor."""
    conditions = _conditions(measures)
    by_name: dict[str, Witness | None] = {}
    for name, means in DRIFTS.items():
        if name == "joints" and witnesses.joints_sha256 is None:
            by_name[name] = None
            continue
        by_name[name] = witness_of(
            measures,
            means,
            own_by_looks(null, means, FLOOR_LOOKS),
            conditions,
            network=witnesses.joints_sha256 if name == "joints" else None,
            unmeasured=_unmeasured(measures, name),
            mean_shift=shift_of(measures, means),
        )
    return HandWitnessesFound.model_validate(by_name)


def change_of(measures: pa.Table, null: NullMeasures) -> HandChange:
    """What refining did to hands."""

    def estimated(rows: pa.Table, name: str) -> Estimate | None:
        return estimate(values_of(rows, name), clusters_of(rows["identity"].to_pylist()))

    return HandChange(
        depth_shift_mm=estimated(measures, "joint_depth_shift_mm"),
        growth_px=estimated(measures, "edge_growth_px"),
        lost_share=estimated(measures, "lost_share"),
        grown_share=estimated(measures, "grown_share"),
        lost_joint_share=estimated(measures, "lost_joint_share"),
        label_fit=estimated(measures, "label_fit"),
        parent_label_fit=estimated(null[PLAIN], "label_fit"),
    )


def _unmeasured(measures: pa.Table, name: str) -> Mapping[str, int]:
    if name == "silhouette":
        return dict(sorted(Counter(filter(None, measures["reason"].to_pylist())).items()))
    missing = measures[DRIFTS[name].drift].null_count
    return {_UNMEASURED[name]: missing} if missing else {}


def _conditions(measures: pa.Table) -> Sequence[Condition]:
    """What drifts are binned by."""
    tilt = Condition(
        "palm against the line of sight, deg",
        values_of(measures, "palm_tilt_deg"),
        TILT_EDGES_DEG,
    )
    others = []
    for words, column in (
        ("distance, mm", "distance_mm"),
        ("share of the joints visible", "visible_share"),
    ):
        values = values_of(measures, column)
        others.append(Condition(words, values, quantile_edges(values, NUM_QUANTILE_BINS)))
    return (tilt, *others)
