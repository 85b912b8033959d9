"""A report in MLflow: its page, its numbers, and which training it judges."""

from factory.dataset.dataset import Dataset
from factory.store.open import name_of
from factory.tracking.delivery import Delivery
from factory.tracking.mlflow_run import TAG, MlflowRun, deferred, is_passing, now_ms
from factory.tracking.options import MlflowOptions
from factory.validation.gate import value_of
from factory.validation.verdicts import report_name
from schemas.report import Report
from schemas.version import WRITER

HEADLINES = (
    "num_samples",
    "mean_abs_change.mean",
    "realism.synthetic_vs_real.accuracy",
    "realism.refined_vs_real.accuracy",
    "realism.real_vs_real.accuracy",
    "verdicts.num_kept",
    "verdicts.dropped_share",
)
"""numbers of every report, by their dotted names"""


def headline_numbers(report: Report) -> dict[str, float]:
    """The numbers by which reports are compared: those of every domain, what each witness says of
    drift, and all that the gate limits. What could not be measured is left out."""
    names = [*HEADLINES, *report.derived, *(check.measure for check in report.checks)]
    numbers = {name: value_of(report, name) for name in names}
    for name, witness in report.by_witness():
        if witness is not None and witness.drift is not None:
            numbers[f"witness.{name}.drift_{witness.unit}.median"] = witness.drift.median
            numbers[f"witness.{name}.drift_{witness.unit}.p95"] = witness.drift.p95
    return {name: value for name, value in numbers.items() if value is not None}


def tell_mlflow(options: MlflowOptions, dataset: Dataset, report: Report, page: str) -> None:
    """Log a report that is written as a run of its own, below the run of the training whose refiner
    it judges, where the experiment has that. A server out of reach is a warning.

    Args:
        options: with a place.
        dataset: the refined dataset, which has the report.
        page: name of the report's page in the dataset.
    """
    refiner = None if report.dataset.refiner is None else report.dataset.refiner.sha256
    tags = {
        "mlflow.source.name": "simgan-factory validate",
        f"{TAG}.version": WRITER,
        f"{TAG}.dataset": dataset.location,
        f"{TAG}.report": report.id,
        f"{TAG}.passed": {None: "no gate", True: "passed", False: "failed"}[report.passed],
    }
    if refiner is not None:
        tags[f"{TAG}.judges"] = refiner
    if report.refiner_verdict is not None:
        tags["mlflow.note.content"] = f"The refiner {report.refiner_verdict.words}."
    run = deferred(
        lambda: MlflowRun(
            options,
            name=f"{name_of(dataset.location)} {report.id}",
            tags=tags,
            parent=None if refiner is None else lambda made: made.trained(refiner),
        )
    )
    params = {
        "dataset": dataset.location,
        "parent": report.parent_location,
        "real": report.real_location,
        "gate": report.gate or "none",
    }
    now = now_ms()
    points = [(name, value, 0, now) for name, value in headline_numbers(report).items()]
    read = dataset.store.read
    delivery = Delivery(
        f"MLflow at {options.mlflow}", f"{dataset.location} has all of it", is_passing
    )
    delivery.give(lambda: run().log_params(params))
    delivery.give(lambda: run().log_metrics(points))
    delivery.give(lambda: run().log_file("report.html", read(page)))
    delivery.give(lambda: run().log_file("report.json", read(report_name(report.id))))
    delivery.give(lambda: run().end("FINISHED"))
    delivery.close()
