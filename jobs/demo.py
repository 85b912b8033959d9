"""The whole chain on built-in renders, in a few minutes on two CPU cores: `make demo`, for hands
`make demo DOMAIN=hand`."""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import ray
import tyro

from cluster.job import estimators
from cluster.job.command import JobConfig, load_config, run_command
from cluster.on_ray.connect import ensure_ray
from cluster.on_ray.session import start
from factory.dataset.dataset import Dataset
from factory.release.publish import latest_report
from jobs import ingest, publish, refine, simulate, train, validate

log = logging.getLogger(__name__)
RELEASE = "demo"
SOURCES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "eye": ({"source": "unityeyes"}, {"source": "images"}),
    "hand": ({"source": "nyu"}, {"source": "nyu", "nyu": {"kind": "real"}}),
}
"""of the renders and of the camera's pictures, by domain"""
WITNESSES: dict[str, tuple[str, ...]] = {"eye": (), "hand": ("joints",)}
"""networks that are trained to measure with, by domain; the eyes' demo has no time for its own"""
Step = tuple[str, type[JobConfig], Callable[[Any], None], dict[str, Any]]


class DemoJob(JobConfig):
    """The whole chain on built-in renders: simulate, ingest, train, refine, validate, publish.

    The camera images are stand-ins drawn by the same program in another look; nothing is
    downloaded. Ends with the path of a report of pictures.
    """

    domain: Literal["eye", "hand"] = "eye"
    """what is rendered"""
    output: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """folder of everything that is made; default out/demo for eyes, out/demo-hand for hands"""
    settings: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """the configuration of every step; default configs/demo.toml, configs/demo-hand.toml"""

    @property
    def name(self) -> str:
        """Of the default folder and configuration."""
        return "demo" if self.domain == "eye" else f"demo-{self.domain}"


def main(job: DemoJob) -> None:
    out = job.output or Path("out") / job.name
    settings = job.settings or Path("configs") / f"{job.name}.toml"
    renders, camera = SOURCES[job.domain]
    with start(job, out):
        ensure_ray(dashboard=True)
        started = time.monotonic()
        steps: list[Step] = [
            (
                "simulate renders",
                simulate.SimulateJob,
                simulate.main,
                {"domain": job.domain, "output": out / "renders"},
            ),
            (
                "simulate the camera's stand-in",
                simulate.SimulateJob,
                simulate.main,
                {
                    "domain": job.domain,
                    "output": out / "camera",
                    "style": "camera",
                    "seed": 1,
                },
            ),
            (
                "ingest the renders",
                ingest.IngestJob,
                ingest.main,
                {**renders, "input": out / "renders", "output": out / "synthetic"},
            ),
            (
                "ingest the stand-ins",
                ingest.IngestJob,
                ingest.main,
                {**camera, "input": out / "camera", "output": out / "real"},
            ),
            (
                "train the refiner",
                train.TrainJob,
                train.main,
                {"synthetic": out / "synthetic", "real": out / "real", "output": out / "run"},
            ),
            *_witnesses(job.domain, out),
            (
                "refine",
                refine.RefineJob,
                refine.main,
                {"input": out / "synthetic", "refiner": out / "run", "output": out / "refined"},
            ),
            (
                "validate",
                validate.ValidateJob,
                validate.main,
                {
                    "input": out / "refined",
                    "real": out / "real",
                    "witnesses": {name: str(out / name) for name in WITNESSES[job.domain]},
                },
            ),
            (
                "publish",
                publish.PublishJob,
                publish.main,
                {"input": out / "refined", "release": RELEASE},
            ),
        ]
        try:
            for title, kind, run, options in steps:
                with _timed(title):
                    given = {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}
                    run(load_config(kind, settings, given))
        finally:  # also where the gate was missed: the report says why
            _copy_report(out)
        log.info("all of it took %.0f s", time.monotonic() - started)
        log.info("open %s", (out / "report.html").absolute())
        ray.shutdown()


def _witnesses(domain: str, out: Path) -> list[Step]:
    return [
        (
            f"train a witness: {name}",
            estimators.estimator_job(name),
            estimators.main,
            {"synthetic": out / "synthetic", "output": out / name},
        )
        for name in WITNESSES[domain]
    ]


def _copy_report(out: Path) -> None:
    if any((out / "refined" / "reports").glob("*/report.json")):
        latest = latest_report(Dataset.open(out / "refined"))
        page = out / "refined" / "reports" / latest / "report.html"
        shutil.copyfile(page, out / "report.html")


@contextmanager
def _timed(title: str) -> Iterator[None]:
    log.info("== %s", title)
    started = time.monotonic()
    yield
    log.info("   %s: %.1f s", title, time.monotonic() - started)


if __name__ == "__main__":
    run_command(DemoJob, main)
