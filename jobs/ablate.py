"""Train several configurations on the same images and compare what comes out."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from cluster.job.command import JobConfig, run_command
from cluster.on_ray.session import start
from factory.dataset.dataset import Dataset
from factory.domains.eye.pupil.finder import PupilFinder
from factory.evaluation.ablation import Row, load_variants, row_of
from factory.evaluation.ablation_page import Pictures, write_page
from factory.measures.two_sample import TwoSampleTest
from factory.refinement.engines.choose import make_engine
from factory.store.open import open_store
from factory.training.config import TrainConfig
from factory.training.metrics_log import METRICS_NAME
from factory.training.run_on_datasets import train_on_datasets
from factory.training.scores import score_refiner
from factory.validation.held_out import HeldOut, require_scorable
from schemas.score import Score

log = logging.getLogger(__name__)
NUM_PICTURES = 12


class AblateJob(JobConfig):
    """Train several configurations on the same images and compare what comes out.

    Trains every variant with every seed, each run on one core (or GPU) beside the others, scores
    the refiners on the held-out split (drift, change, two-sample test), and writes ablation.html
    with a table, pictures side by side and the losses. A stopped ablation goes on where it was.
    """

    variants: Path
    """TOML file, as configs/ablation.toml: [train] is common, [variants.NAME] what one changes"""
    synthetic: str
    """dataset of labelled renders, with the splits below"""
    real: str
    """dataset of camera images, with the splits below"""
    output: str
    """folder of the ablation, or s3://bucket/prefix"""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    """one run of each variant for each"""
    split: str = "train"
    """to train on"""
    held_out: str = "test"
    """split to score on"""
    num_held_out: Annotated[int, Field(ge=40)] = 1000
    """renders, and real images, to score on"""
    use_gpu: bool = False
    """give each run a GPU"""
    finder: PupilFinder = PupilFinder()
    """the pupil finder"""
    test: TwoSampleTest = TwoSampleTest()
    """the two-sample test"""


class Run(NamedTuple):
    """One variant with one seed."""

    name: str
    config: TrainConfig
    location: str


def main(job: AblateJob) -> None:
    configs = load_variants(job.variants)
    for location in (job.synthetic, job.real):
        dataset = Dataset.open(location)
        require_scorable(dataset)
        dataset.require_splits(job.split, job.held_out)
    root = open_store(job.output).location
    runs = [
        Run(
            name,
            config.model_copy(update={"seed": seed}),
            f"{root}/{_slug(name)}/seed-{seed}",
        )
        for seed in job.seeds
        for name, config in configs.items()
    ]
    with start(job, job.output) as session:
        calls = [partial(_train_and_score, run, job) for run in runs]
        scores = session.side_by_side(calls, "ablate", use_gpu=job.use_gpu)
        by_name = {
            name: [score for run, score in zip(runs, scores, strict=True) if run.name == name]
            for name in configs
        }
        held_out = _held_out(job)
        (unrefined,) = session.side_by_side(
            [partial(held_out.score, held_out.synthetic, job.finder, job.test)]
        )
        rows = [row_of("not refined", [unrefined])._replace(num_seeds=0)]
        rows += [row_of(name, found) for name, found in by_name.items()]
        _write(job, root, rows, runs[: len(configs)], held_out)
        for row in rows:
            log.info(
                "%s: drift %s px, mean |change| %s, told from real %s",
                row.name, row.drift_median_px, row.mean_abs_delta, row.accuracy,
            )  # fmt: skip
        log.info("report: %s/ablation.html", root)


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def _held_out(job: AblateJob) -> HeldOut:
    return HeldOut.sample(
        Dataset.open(job.synthetic), Dataset.open(job.real), job.held_out, job.num_held_out, seed=0
    )


def _train_and_score(run: Run, job: AblateJob) -> Score:
    """In a worker of its own; does only what is not done yet."""
    train_on_datasets(
        run.config.model_copy(update={"num_threads": run.config.num_threads or 1}),
        job.synthetic,
        job.real,
        run.location,
        split=job.split,
        device="cuda" if job.use_gpu else "cpu",
    )
    return score_refiner(run.location, _held_out(job), job.finder, job.test)


def _write(job: AblateJob, root: str, rows: list[Row], shown: list[Run], held_out: HeldOut) -> None:
    """The page, with pictures of the first seed's runs."""
    refined: Mapping[str, np.ndarray] = {
        run.name: np.asarray(make_engine(run.location)(held_out.synthetic[:NUM_PICTURES]))
        for run in shown
    }
    metrics = {run.name: open_store(run.location).read(METRICS_NAME) for run in shown}
    pictures = Pictures(
        held_out.synthetic[:NUM_PICTURES], refined, held_out.real[:NUM_PICTURES], metrics
    )
    page = write_page(
        rows,
        pictures,
        split=job.held_out,
        seed=job.seeds[0],
        num_samples=len(held_out.synthetic),
        num_real=len(held_out.real),
    )
    store = open_store(root)
    store.put("ablation.html", page.encode())
    store.put("variants.toml", job.variants.read_bytes())


if __name__ == "__main__":
    run_command(AblateJob, main)
