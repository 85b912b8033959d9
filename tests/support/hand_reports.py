"""Hands validated whole: three small datasets, and the report and page that they give."""

import numpy as np

from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import collect, run_here
from factory.domains.base import NoOptions
from factory.domains.hand.looks import SENSOR_LOOK, in_look
from factory.domains.registry import domain_of
from factory.measures.two_sample import TwoSampleTest
from factory.validation.protocols import Trio
from factory.validation.report import assemble
from factory.validation.sampling import shards_of
from factory.validation.settings import ValidationSettings
from factory.validation.shard_measures import measure_task
from schemas.hand.report import HandReport
from support import fakes

QUICK = ValidationSettings(
    test=TwoSampleTest(seeds=(0,), num_steps=3), num_calibration=2, num_realism=40
)
NUM_FRAMES = 8


def sensed(images: np.ndarray, shard: int) -> np.ndarray:
    return in_look(images, SENSOR_LOOK, shard)


def validated(
    refined: Dataset, parent: Dataset, real: Dataset, networks=None, gate=None, earlier=None
) -> tuple[HandReport, str]:
    trio, validator = Trio(refined, parent, real), domain_of(refined).validator()
    witnesses = validator.witnesses(refined, parent, networks or {}, NoOptions())
    shards = shards_of(refined, None)
    outcomes = collect(run_here(measure_task(refined, parent, witnesses), shards))
    assert not [outcome.error for outcome in outcomes if outcome.error]
    examined = validator.examine(trio, shards, None, witnesses, QUICK, NoOptions(), fakes.call_here)
    report, _ = assemble.make_report(trio, "r1", shards, validator, examined, gate)
    page = examined.page(report, ["the real pictures are drawn"], earlier)
    assert any("drift by silhouette" in line for line in validator.summary(report))
    return report, page
