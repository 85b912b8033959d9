"""The job that trains a network which reads labels off images; its kinds are those of the domains.

`jobs/estimator.py KIND` has the options of this module, and those with which the kind is trained.
"""

import argparse
import inspect
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from pydantic import create_model

from cluster.job.command import JobConfig, OptionalCount, run_command
from cluster.job.program import program_of
from factory.domains.registry import estimators
from factory.networks.estimator_kinds import EstimatorKind, check_dataset, train_estimator
from schemas.place import Place

if TYPE_CHECKING:
    from factory.networks.estimator_training import OnUpdate


class EstimatorJob(JobConfig):
    """Train a network that reads labels off images. `estimator_job` adds the options of a kind."""

    KIND: ClassVar[EstimatorKind[Any, Any, Any]]
    resumes: ClassVar[bool] = False

    synthetic: Place
    """dataset of labelled images to learn from: renders, or refined images"""
    output: Place
    """folder for the network and its pictures, or s3://bucket/prefix"""
    split: str = "train"
    """split to train on"""
    held_out: str = "test"
    """split that the errors are measured on"""
    num_threads: OptionalCount = None
    """CPU threads; default all cores"""

    @classmethod
    def command(cls) -> str:
        """The name of the kind, which is that of its table in a config file."""
        return cls.KIND.name

    @classmethod
    def program(cls) -> str:
        return f"{program_of('estimator')} {cls.command()}"


def estimator_job(name: str) -> type[EstimatorJob]:
    """The job of a kind of estimator: `EstimatorJob` with the options of the kind's training.

    Raises:
        ValueError: no domain brings such a kind.
    """
    kinds = estimators()
    if name not in kinds:
        raise ValueError(f"no domain brings an estimator {name!r}; there are {', '.join(kinds)}")
    kind = kinds[name]
    return create_model(
        f"{name.capitalize()}Job",
        __base__=(kind.training, EstimatorJob),  # pydantic lists the fields of the last one first
        __doc__=inspect.getdoc(type(kind)),
        KIND=(ClassVar[EstimatorKind[Any, Any, Any]], kind),
    )


def main(job: EstimatorJob) -> None:
    """Train the network of a job into its output, unless the very same is there.

    Raises:
        ValueError: the dataset is of another domain, lacks a split or labels, or the output holds a
            network of another training.
        RuntimeError: a loss is not finite.
    """
    # Imported here, so that --help and wrong options are answered at once.
    import torch

    from cluster.job.start import logged_run
    from factory.dataset.dataset import Dataset
    from factory.training.inputs import lineage_of

    kind, dataset = job.KIND, Dataset.open(job.synthetic)
    training = job.part(kind.training)
    check_dataset(kind, training, dataset, (job.split, job.held_out))
    with logged_run(job, job.output):
        if job.num_threads is not None:
            torch.set_num_threads(job.num_threads)
        train_estimator(
            kind,
            training,
            dataset,
            job.output,
            split=job.split,
            held_out=job.held_out,
            lineage=lineage_of(dataset, job.split),
            progress=_progress(kind, training.steps),
        )


@contextmanager
def _progress(kind: EstimatorKind[Any, Any, Any], num_updates: int) -> "Iterator[OnUpdate]":
    from cluster.job.progress import Progress

    with closing(Progress(kind.name, num_updates, "updates")) as progress:
        yield lambda loss: progress.advance(1, f"loss {kind.loss_format.format(loss)}")


def run_estimator(arguments: Sequence[str]) -> NoReturn:
    """Run `jobs/estimator.py` with arguments, of which the first is the kind, and exit."""
    kinds = estimators()
    parser = argparse.ArgumentParser(
        prog=program_of("estimator"),
        usage="%(prog)s KIND [OPTIONS]",
        description="Train a network that reads labels off images. "
        f"`{program_of('estimator')} KIND --help` shows the options of a kind.",
        epilog="Exit codes and --config FILE.toml are those of the other jobs; the options of a "
        "kind are in the file's table of its name.",
    )
    kind_parsers = parser.add_subparsers(title="kinds", dest="kind", metavar="KIND", required=True)
    for name, kind in kinds.items():
        summary = (inspect.getdoc(type(kind)) or "").partition("\n")[0]
        kind_parsers.add_parser(name, help=f"{summary} (domain {kind.domain})", add_help=False)
    chosen = parser.parse_args(arguments[:1]).kind
    run_command(estimator_job(chosen), main, list(arguments[1:]))
