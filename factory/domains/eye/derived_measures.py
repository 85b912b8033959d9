"""The measures of eyes that follow from others, without what measures them."""

import numpy as np
import pyarrow as pa

from factory.dataset.columns import values_of
from schemas.eye.measures import DERIVED_EYE_MEASURES, EYE_MEASURE_MEANINGS
from schemas.measures import DerivedMeasure, MeasureGuide

_BY_EDGES = ("registration_px", "iris_registration_px")
_BY_NETWORK = "iris_drift_px"
(_AGREED,) = DERIVED_EYE_MEASURES


def agreed_drift_px(measures: pa.Table) -> pa.Array:
    """`agreed_drift_px` of stored measurements, (n,) float32.

    The gross errors of one witness are not those of another, so their geometric mean has a lighter
    tail than any of them, and finds smaller movements.
    """
    names = list(_BY_EDGES)
    if measures[_BY_NETWORK].null_count < len(measures):
        names.append(_BY_NETWORK)
    product = np.prod([values_of(measures, name) for name in names], axis=0)
    agreed = np.maximum(product, 0) ** (1 / len(names))
    return pa.array(agreed, _AGREED.type, from_pandas=True)


def with_derived(measures: pa.Table) -> pa.Table:
    """Stored measurements with those that follow from them (`DERIVED_EYE_MEASURES`)."""
    return measures.append_column(_AGREED.name, agreed_drift_px(measures))


def eye_measure_guide() -> MeasureGuide:
    """What the measures of eyes mean, and what follows from them."""
    derived = DerivedMeasure((*_BY_EDGES, _BY_NETWORK), agreed_drift_px)
    return MeasureGuide(EYE_MEASURE_MEANINGS, {_AGREED.name: derived})
