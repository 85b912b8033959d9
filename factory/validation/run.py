"""One validation, from the three datasets to the written report and the gate's verdict."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import MakeShards, SideBySide
from factory.store.extras import require
from factory.tracking.options import NO_MLFLOW, MlflowOptions
from factory.validation.gate import Gate, explain, load_gate
from factory.validation.mlflow_report import tell_mlflow
from factory.validation.protocols import Trio, Validator, Witnesses
from factory.validation.refiner_verdict import evaluated_verdicts
from factory.validation.report.assemble import make_report, summary_lines, write_report
from factory.validation.sampling import (
    check_enough,
    new_report_id,
    sample_images,
    sample_pairs,
    shards_of,
)
from factory.validation.settings import ValidationSettings
from factory.validation.shard_measures import measure_new_shards
from factory.validation.verdicts import report_name
from schemas.base import Model
from schemas.evaluation import Verdict
from schemas.options import value_of
from schemas.realism import Fidelity
from schemas.report import Report

if TYPE_CHECKING:
    from factory.measures.looks.inception import Inception

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validation:
    """What will be validated, and how: checked as far as possible before any work."""

    trio: Trio
    validator: Validator
    witnesses: Witnesses
    gate: Gate | None
    earlier: Report | None
    """a report to compare with"""
    evaluated: tuple[Verdict, ...] = ()
    """what an evaluation says of the refiner"""
    inception: "Inception | None" = None
    """the network for FID and KID"""
    tracking: MlflowOptions = NO_MLFLOW
    """whether MLflow is told of the report"""

    @classmethod
    def prepare(
        cls,
        trio: Trio,
        validator: Validator,
        networks: Mapping[str, str],
        measuring: Model,
        *,
        gate: Path | None,
        against: str | None,
        evaluation: str | None = None,
        inception: Path | None = None,
        tracking: MlflowOptions = NO_MLFLOW,
    ) -> "Validation":
        """Read the gate, the earlier report, the evaluation and the networks.

        Args:
            networks: where each trained network is stored, by the name of its witness.
            measuring: of the domain's `measuring_options`.
            gate: a gate file; None for a report without a verdict.
            against: an earlier report to compare with: its id, or the path of a report.json.
            evaluation: output of jobs/evaluate.py whose verdict on the refiner the report repeats.
            inception: file of the weights for FID and KID; without it they are not measured.
            tracking: whether MLflow is told of the report.

        Raises:
            OptionError: the gate, the earlier report or the weights cannot be used, or a network is
                of no witness of the domain.
            FileNotFoundError: a network or the evaluation is not there.
            FormatError: one of them is damaged.
            ValueError: a network is for other images, or the evaluation is of other refiners.
            MissingExtraError: jinja2 is not installed, or what `inception` or `tracking` needs.
        """
        require("jinja2", "report.html")
        tracking.require()
        with value_of(f"--inception {inception}"):
            network = None if inception is None else _inception(inception, trio)
        with value_of(f"--gate {gate}"):
            limits = None if gate is None else load_gate(gate, validator.report)
        with value_of(f"--against {against}"):
            earlier = _earlier(trio.refined, against, validator.report)
        return cls(
            trio,
            validator,
            validator.witnesses(trio.refined, trio.parent, networks, measuring),
            limits,
            earlier,
            () if evaluation is None else _evaluated(trio.refined, evaluation),
            network,
            tracking,
        )

    def run(
        self,
        split: str | None,
        settings: ValidationSettings,
        options: Model,
        notes: Sequence[str],
        *,
        leave_out: Collection[int] = (),
        make_shards: MakeShards,
        side_by_side: SideBySide,
    ) -> Report:
        """Measure what is new, examine a sample, and write the report, its page and the verdicts.

        Args:
            split: of the refined and the real dataset; both whole when None.
            options: of the domain's `validation_options`.
            notes: sentences for the top of the page.
            leave_out: shards of which the report does not speak.

        Raises:
            ValueError: a dataset has no such split, or too few images.
        """
        shards = shards_of(self.trio.refined, split, leave_out)
        check_enough(self.trio, shards, split)
        measure_new_shards(
            self.trio.refined, self.trio.parent, shards, self.witnesses, "validate", make_shards
        )
        log.info("calibrating the witnesses and testing realism")
        examined = self.validator.examine(
            self.trio, shards, split, self.witnesses, settings, options, side_by_side
        )
        report, verdicts = make_report(
            self.trio,
            new_report_id(),
            shards,
            self.validator,
            examined,
            self.gate,
            self.evaluated,
            self._fidelity(shards, split, settings, side_by_side),
        )
        page = write_report(self.trio, report, verdicts, examined, notes, self.earlier)
        for line in summary_lines(report, self.validator):
            log.info("%s", line)
        log.info("report: %s/%s", self.trio.refined.location, page)
        if self.gate is not None:
            for line in explain(report).splitlines():
                log.info("%s", line)
        if self.tracking.mlflow is not None:
            tell_mlflow(self.tracking, self.trio.refined, report, page)
        return report

    def _fidelity(
        self,
        shards: Sequence[int],
        split: str | None,
        settings: ValidationSettings,
        side_by_side: SideBySide,
    ) -> Fidelity | None:
        """FID and KID of as many images as the two-sample tests may have; None without weights."""
        if self.inception is None:
            return None
        from factory.measures.looks.fidelity import measure_fidelity

        log.info("computing FID and KID")
        num, seed = settings.num_realism, settings.seed
        sampled = sample_pairs(self.trio, shards, num, seed)
        return measure_fidelity(
            sampled.synthetic,
            sampled.refined,
            sample_images(self.trio.real, split, num, seed),
            self.inception,
            self.inception.sha256,
            seed,
            side_by_side,
        )


def _inception(path: Path, trio: Trio) -> "Inception":
    from factory.measures.looks.inception import Inception

    network = Inception.read(path)
    image = trio.refined.card.image
    if image.bits != 8:
        raise ValueError(
            f"it is for images of 8 bits, and those of {trio.refined.location} have "
            f"{image.bits}: papers have no FID of such images to compare with"
        )
    return network


def _evaluated(dataset: Dataset, location: str) -> tuple[Verdict, ...]:
    tars = [facts.tar_sha256 for facts in dataset.all_facts(dataset.committed())]
    return evaluated_verdicts(location, dataset.card, tars)


def _earlier(dataset: Dataset, against: str | None, kind: type[Report]) -> Report | None:
    if against is None:
        return None
    name = report_name(against)
    if dataset.store.size(name) is not None:
        return kind.from_json(dataset.store.read(name), where=f"{dataset.location}/{name}")
    path = Path(against)
    if not path.is_file():
        raise FileNotFoundError(
            f"{against} is neither a report of {dataset.location} nor a report.json"
        )
    return kind.from_json(path.read_bytes(), where=against)
