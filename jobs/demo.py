"""Run the whole chain on built-in renders, in a few minutes on two CPU cores.

`make demo` calls it, for hands `make demo DOMAIN=hand`.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import Field, JsonValue

from cluster.job import estimators
from cluster.job.command import JobConfig, load_config, run_command
from jobs import ingest, publish, refine, simulate, train, validate
from schemas.base import Model
from schemas.options import value_of
from schemas.place import PlacePath
from schemas.shipped import ConfigFile, config_file
from schemas.toml import tables_in

log = logging.getLogger(__name__)
RELEASE = "demo"
Job = tuple[type[JobConfig], Callable[[Any], None]]
SIMULATE: Job = (simulate.SimulateJob, simulate.main)
INGEST: Job = (ingest.IngestJob, ingest.main)
TRAIN: Job = (train.TrainJob, train.main)
REFINE: Job = (refine.RefineJob, refine.main)
VALIDATE: Job = (validate.ValidateJob, validate.main)
PUBLISH: Job = (publish.PublishJob, publish.main)


class Chain(Model):
    """What differs between the chains of two domains: table `[chain]` of the settings."""

    renders: dict[str, JsonValue]
    """options of jobs/ingest.py for the renders, beside those in `[ingest]`"""
    camera: dict[str, JsonValue]
    """options of jobs/ingest.py for the stand-ins for camera images, beside those in `[ingest]`"""
    estimators: tuple[str, ...] = ()
    """networks that are trained on the renders, and that validation then measures with"""


class DemoJob(JobConfig):
    """The whole chain on built-in renders: simulate, ingest, train, refine, validate, publish.

    Stand-ins for the camera images are drawn by the same program in another look, so nothing is
    downloaded. The last three lines of the output say what was made, whether it passed its gate and
    what the refiner did, and which report to open.
    """

    domain: str = "eye"
    """what is rendered: eye, hand"""
    output: Annotated[PlacePath | None, tyro.conf.arg(metavar="PATH")] = None
    """folder of everything that is made; default out/demo for eyes, out/demo-hand for hands"""
    settings: Annotated[ConfigFile | None, tyro.conf.arg(metavar="PATH")] = None
    """file with a table of options for each step, or the name of one that comes with
    simgan-factory; default demo for eyes, demo-hand for hands"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of the renders, of the stand-ins and of the training"""

    @property
    def name(self) -> str:
        """Name of the default folder and of the default settings."""
        return "demo" if self.domain == "eye" else f"demo-{self.domain}"


def main(job: DemoJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    import ray

    from cluster.on_ray.connect import ensure_ray
    from cluster.on_ray.session import start

    with value_of(f"--domain {job.domain} without --settings"):
        settings = job.settings or config_file(Path("configs", f"{job.name}.toml"))
    with value_of(f"--settings {settings}"):
        chain = Chain.model_validate(tables_in(settings).get("chain"))
    out = job.output or Path("out") / job.name
    renders, camera = f"{out}/renders", f"{out}/camera"
    synthetic, real, refined = f"{out}/synthetic", f"{out}/real", f"{out}/refined"
    networks = {name: f"{out}/{name}" for name in chain.estimators}

    def step(title: str, kind_and_main: Job, **options: JsonValue) -> None:
        kind, run = kind_and_main
        with _timed(title):
            run(load_config(kind, settings, options))

    with start(job, out):
        ensure_ray(dashboard=True)
        try:
            step(
                "simulate renders",
                SIMULATE,
                domain=job.domain,
                output=renders,
                seed=2 * job.seed,
            )
            step(
                "simulate stand-ins for camera images",
                SIMULATE,
                domain=job.domain,
                output=camera,
                style="camera",
                seed=2 * job.seed + 1,
            )
            step("ingest the renders", INGEST, input=renders, output=synthetic, **chain.renders)
            step("ingest the stand-ins", INGEST, input=camera, output=real, **chain.camera)
            step(
                "train the refiner",
                TRAIN,
                synthetic=synthetic,
                real=real,
                output=f"{out}/run",
                seed=job.seed,
            )
            for name, network in networks.items():
                step(
                    f"train the estimator {name}",
                    (estimators.estimator_job(name), estimators.main),
                    synthetic=synthetic,
                    output=network,
                )
            step("refine", REFINE, input=synthetic, refiner=f"{out}/run", output=refined)
            step("validate", VALIDATE, input=refined, real=real, witnesses=networks)
            step("publish", PUBLISH, input=refined, release=RELEASE)
        finally:  # also where the gate was missed: the report says why
            ray.shutdown()
            _conclude(refined, out)


def _conclude(refined: str, out: Path) -> None:
    """Put the report where it is easily found, and say what was made, how it was judged and where
    to look; nothing where the chain ended before it was validated."""
    from factory.dataset.dataset import Dataset
    from factory.release.publish import latest_report, read_report

    if not any(Path(refined, "reports").glob("*/report.json")):
        return
    dataset = Dataset.open(refined)
    report, _ = read_report(dataset, latest_report(dataset))
    shutil.copyfile(Path(refined, "reports", report.id, "report.html"), out / "report.html")
    verdict = report.refiner_verdict
    assert verdict is not None, "jobs/validate.py writes one"
    missed = [check for check in report.checks if not check.passed]
    num = len(report.checks)
    released = f", released as {RELEASE!r}" if not missed else ", not released"
    log.info("made: %d refined images with labels in %s%s", report.num_samples, refined, released)
    if missed:
        names = ", ".join(check.measure for check in missed)
        log.info(
            "failed: %d of the gate's %d limits were missed (%s); the refiner %s",
            len(missed), num, names, verdict.words,
        )  # fmt: skip
    else:
        log.info("passed: all %d limits of the gate; the refiner %s", num, verdict.words)
    log.info("open: %s", (out / "report.html").absolute())


@contextmanager
def _timed(title: str) -> Iterator[None]:
    log.info("== %s", title)
    started = time.monotonic()
    yield
    log.info("   %s: %.1f s", title, time.monotonic() - started)


if __name__ == "__main__":
    run_command(DemoJob, main)
