"""Configurations of training compared with each other: the paper's ablations, or any others."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from pydantic import ValidationError

from factory.training.config import TrainConfig
from schemas.base import spell_out
from schemas.score import Score


def load_variants(path: Path) -> dict[str, TrainConfig]:
    """The configurations of a TOML file, by name, in its order.

    `[train]` is what all have in common, as in the files for jobs/train.py; each table
    `[variants.NAME]` is what one of them changes.

    Raises:
        ValueError: no variants, or one that does not fit; the message names it.
    """
    tables = tomllib.loads(path.read_text())
    common, variants = tables.get("train", {}), tables.get("variants", {})
    if not variants:
        raise ValueError(f"{path}: no table [variants.NAME]; see configs/ablation.toml")
    configs = {}
    for name, changes in variants.items():
        try:
            configs[name] = TrainConfig.model_validate(_merged(common, changes))
        except ValidationError as error:
            raise ValueError(f"{path} [variants.{name}]: {spell_out(error)}") from error
    return configs


def _merged(common: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(common)
    for name, value in changes.items():
        is_table = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merged(merged[name], value) if is_table else value
    return merged


class Row(NamedTuple):
    """One variant in the table: means over seeds with their standard deviations."""

    name: str
    num_seeds: int
    measured: str
    """eyes whose drift could be measured, in the mean, of the held-out ones"""
    drift_median_px: str
    drift_p95_px: str
    mean_abs_delta: str
    accuracy: str
    """of the two-sample test"""


def row_of(name: str, scores: Sequence[Score]) -> Row:
    """A variant's scores, one for each seed."""
    drifts = [score.drift_px for score in scores if score.drift_px is not None]
    return Row(
        name,
        len(scores),
        f"{fmean(d.num if (d := score.drift_px) else 0 for score in scores):.0f}",
        _mean_and_sd([drift.median for drift in drifts], "{:.2f}"),
        _mean_and_sd([drift.p95 for drift in drifts], "{:.2f}"),
        _mean_and_sd([score.mean_abs_delta for score in scores], "{:.3f}"),
        _mean_and_sd([score.two_sample.accuracy for score in scores], "{:.1%}"),
    )


def _mean_and_sd(values: Sequence[float], form: str) -> str:
    if not values:
        return "not measured"
    mean = form.format(fmean(values))
    return mean if len(values) == 1 else f"{mean} ± {form.format(stdev(values))}"
