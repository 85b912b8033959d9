"""Variants of a training configuration and the table that compares them: the paper's ablations, or
any others."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from pydantic import ValidationError

from factory.training.config import TrainConfig
from factory.validation.held_out import Scoring, Shown
from schemas.base import spell_out
from schemas.score import Score
from schemas.toml import tables_in


def load_variants(path: Path) -> dict[str, TrainConfig]:
    """The configurations of a TOML file, by name, in its order.

    `[train]` is what all have in common, as in the files for jobs/train.py; each table
    `[variants.NAME]` is what one of them changes.

    Raises:
        ValueError: no variants, or one that does not fit; the message names it.
    """
    tables = tables_in(path)
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
    cells: tuple[str, ...]
    """the numbers of `columns_of`, in their order"""


def columns_of(scoring: Scoring) -> tuple[Shown, ...]:
    """The numbers that a table of variants shows."""
    return (
        *scoring.shown,
        Shown("mean_abs_delta", "mean |Δ| on [−1, 1]", "{:.3f}"),
        Shown("two_sample_accuracy", "told from real", "{:.1%}", "lower"),
    )


def row_of(name: str, scores: Sequence[Score], columns: Sequence[Shown]) -> Row:
    """A variant's scores, one for each seed. Counts of what was measured are means alone; a mean
    over some of the seeds, as the number could not be measured with the others, says so."""
    metrics = [score.metrics() for score in scores]
    cells = []
    for column in columns:
        values = [values[column.name] for values in metrics if column.name in values]
        if column.name == "num_measured":
            cells.append(column.form.format(fmean(values)))
        else:
            cells.append(_mean_and_sd(values, column.form, len(scores)))
    return Row(name, len(scores), tuple(cells))


def _mean_and_sd(values: Sequence[float], form: str, num_seeds: int) -> str:
    if not values:
        return "not measured"
    text = form.format(fmean(values))
    if len(values) > 1:
        text += f" ± {form.format(stdev(values))}"
    return text if len(values) == num_seeds else f"{text} ({len(values)} of {num_seeds} seeds)"
