"""One run of validation, with the validator of the dataset's domain.

How shards are measured is an argument: on a cluster, or one after the other in a debugger.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from factory.dataset.dataset import DatasetPlace, location_of
from factory.dataset.session import BeginSession, here
from factory.domains.registry import GivenOptions, domain_of, options_for
from factory.measures.threads import threads_kept
from factory.store.open import absolute
from factory.tracking.options import NO_MLFLOW, MlflowOptions
from factory.validation.pairs import open_trio
from factory.validation.run import Validation
from factory.validation.settings import ValidationSettings
from schemas.report import Report
from schemas.shipped import gate_file

SETTINGS = ValidationSettings()


def validate(
    input: DatasetPlace,
    *,
    real: DatasetPlace,
    gate: str | Path | None = None,
    witnesses: Mapping[str, str | Path] | None = None,
    parent: DatasetPlace | None = None,
    split: str | None = None,
    leave_out: Collection[int] = (),
    settings: ValidationSettings = SETTINGS,
    measuring: GivenOptions = None,
    options: GivenOptions = None,
    against: str | None = None,
    evaluation: str | Path | None = None,
    inception: str | Path | None = None,
    notes: Sequence[str] = (),
    mlflow: str | None = None,
    mlflow_experiment: str = NO_MLFLOW.mlflow_experiment,
    on: BeginSession = here,
) -> Report:
    """Measure whether a refined dataset kept its labels and became more realistic.

    Writes reports/<id>/ into the refined dataset: report.html, report.json and every sample's
    verdict; and measures/, every sample's measurements. The next call measures only new shards.

        report = validate("data/refined", real="data/camera", gate="eye")
        assert report.passed, [check.measure for check in report.checks if not check.passed]

    Args:
        input: the refined dataset, or where it is.
        real: the dataset of camera images to compare with, or where it is.
        gate: TOML file of limits that decide pass or fail, or the name of one that comes with
            simgan-factory; None for a report without a verdict.
        witnesses: where each trained network to measure with is stored, by its name.
        parent: where the synthetic parent is now, if it was moved.
        split: only this split of the datasets; None for all.
        leave_out: shards of the refined dataset that are not validated, and of which a release by
            this report holds nothing.
        settings: how samples are judged, whatever their domain.
        measuring: how samples are measured: a model of the domain, such as `EyeMeasuringOptions`,
            or its fields by name.
        options: how looks are compared: a model of the domain, such as `EyeValidationOptions`, or
            its fields by name.
        against: id of an earlier report of this dataset, or the path of any report.json, to compare
            with.
        evaluation: output of jobs/evaluate.py with this refiner, whose verdict the report repeats.
        inception: file of Inception's weights for FID and KID.
        notes: sentences for the top of the page.
        mlflow: an MLflow server or a local folder that is told of the report too; one that cannot
            be reached is a warning.
        mlflow_experiment: name of the experiment in MLflow.
        on: begins the session in which shards are measured.

    Returns:
        The report. Its `passed` is None without a gate, and False where a limit was missed.

    Raises:
        FileNotFoundError: a dataset, a network, the gate, the earlier report or the evaluation is
            not there.
        NotComparableError: the datasets do not belong together.
        OldFormatError: the refined dataset is of an earlier format.
        ValueError: options, networks, the gate or the evaluation do not fit; or a dataset has no
            such split, or too few images.
        MissingExtraError: jinja2 is not installed, or what `inception` or `mlflow` needs.
        ShardsFailedError: some shards could not be measured; all others were.
    """
    tracking = MlflowOptions(mlflow=mlflow, mlflow_experiment=mlflow_experiment)
    trio = open_trio(
        location_of(input), location_of(real), None if parent is None else location_of(parent)
    )
    domain = domain_of(trio.refined)
    examining = options_for(domain, "validation_options", options)
    validation = Validation.prepare(
        trio,
        domain.validator(),
        {name: absolute(place) for name, place in (witnesses or {}).items()},
        options_for(domain, "measuring_options", measuring),
        gate=None if gate is None else gate_file(Path(gate)),
        against=against,
        evaluation=None if evaluation is None else str(evaluation),
        inception=None if inception is None else Path(inception),
        tracking=tracking.located(),
    )
    trio.refined.require_current_format()
    if split is not None:
        for dataset in (trio.refined, trio.real):
            dataset.require_splits(split)
    with on() as session, threads_kept():  # what measures in this process takes one thread
        return validation.run(
            split,
            settings,
            examining,
            notes,
            leave_out=leave_out,
            make_shards=session.make_shards,
            side_by_side=session.side_by_side,
        )
