"""From a clean refined dataset to the table of what its validation catches, and a gate."""

import logging
from collections.abc import Sequence
from functools import partial

from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import MakeShards, SideBySide
from factory.store.extras import require
from factory.store.open import absolute, open_store
from factory.validation.gate import Gate
from factory.validation.power.damaged import DamageMeasurer
from factory.validation.power.damages import Damage, Damages
from factory.validation.power.table import curves_png, gate_toml, markdown, power_of
from factory.validation.protocols import Witnesses
from factory.validation.sampling import shards_of
from factory.validation.shard_measures import measure_new_shards, read_measures
from schemas.power import PowerReport, PowerSettings

log = logging.getLogger(__name__)


def measure_power(
    refined: Dataset,
    parent: Dataset,
    split: str | None,
    witnesses: Witnesses,
    damages: Damages,
    settings: PowerSettings,
    output: str,
    *,
    make_shards: MakeShards,
    side_by_side: SideBySide,
    only: Sequence[Damage] | None = None,
    gate: Gate | None = None,
) -> PowerReport:
    """Measure the clean samples and every kind of damage, and write what validation catches.

    Writes power.md, power.png, power.json and, of fitted limits, gate.toml, and the measurements
    under damaged/.

    Args:
        refined: a dataset that is taken to be good.
        split: of the refined dataset; all of it when None.
        damages: of the datasets' domain.
        output: a folder or s3://bucket/prefix.
        only: the damages to try; all of the domain's when None.
        gate: whose limits on samples are tried; None to fit limits.

    Raises:
        ValueError: there are too few samples or identities to fit limits on, or the gate has no
            limits on samples.
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "power.png")
    if gate is not None and not gate.samples:
        raise ValueError("the gate has no limits on samples, and damage is caught by these")
    shards = shards_of(refined, split)
    measure_new_shards(refined, parent, shards, witnesses, "measure", make_shards)
    measurer = DamageMeasurer(
        refined, parent, tuple(shards), witnesses, damages, absolute(output), settings.seed
    )
    tried = damages.damages if only is None else only
    damaged = side_by_side([partial(measurer, damage) for damage in tried], "damage")
    if gate is None:
        log.info("fitting limits on one half of the identities, trying them on the other")
    report = power_of(
        read_measures(refined, shards, witnesses),
        damaged,
        damages.tails,
        settings,
        dataset=refined.card.digest(),
        witnesses=witnesses.digest(),
        given=() if gate is None else gate.samples,
    )
    store = open_store(output)
    store.put("power.md", markdown(report).encode())
    store.put("power.png", curves_png(report))
    if report.is_fitted:
        store.put("gate.toml", gate_toml(report.limits).encode())
    store.put("power.json", report.to_json())
    for line in markdown(report).splitlines():
        log.info("%s", line)
    for name in report.misses():
        log.warning("validation must catch this damage at 1 %% and does not: %s", name)
    return report
