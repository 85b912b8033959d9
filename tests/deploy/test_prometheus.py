"""A real Prometheus scrapes running jobs and the records of datasets, and its alerts begin."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
import ray.cloudpickle
import yaml

from cluster.on_ray.pipeline import (
    SAMPLES_METRIC,
    SHARDS_METRIC,
    Workers,
    run_on_ray,
)
from factory.dataset.names import tar_name
from factory.dataset.shard_tasks import Stage, collect
from schemas.outcome import Outcome
from support import fakes, planted, releases
from support.clusters import free_port, without_ray_address
from support.monitoring import FOLDER, RULES, queries_of_the_dashboard
from support.places import ROOT
from support.prometheus import program, running_prometheus

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test
pytestmark = [pytest.mark.long, pytest.mark.ray]


def config_for_a_test(records: int, of_job: int) -> str:
    """The example's, at these ports and without its pauses; the alerts begin at once."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    ports = {"simgan-records": records, "ray-of-a-job": of_job}
    config["scrape_configs"] = [s for s in config["scrape_configs"] if s["job_name"] in ports]
    for scrape in config["scrape_configs"]:
        (fixed,) = scrape["static_configs"]
        fixed["targets"] = [f"127.0.0.1:{ports[scrape['job_name']]}"]
    return yaml.safe_dump(config)


@contextmanager
def job(*arguments: object, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A job in a process of its own, which is asked to end if it has not."""
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=ROOT, env=without_ray_address() | environment
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def test_a_real_prometheus_scrapes_a_running_job_and_alerts(synthetic, tmp_path) -> None:
    """A refining with a damaged parent shard, beside a released dataset that lost a tar."""
    program("prometheus")
    parent = planted.copied(synthetic, tmp_path / "eyes")
    refiner = fakes.save_tiny_refiner(tmp_path / "refiner", seed=1)
    released = fakes.refine_here(parent, refiner, tmp_path / "released")
    releases.release(released)
    manifest = Path(released.location) / "releases/r1/manifest.json"
    os.utime(manifest, (1.7e9, 1.7e9))
    (Path(released.location) / tar_name(released.facts(1))).unlink()
    damaged = Path(parent.location) / tar_name(parent.facts(3))
    damaged.write_bytes(damaged.read_bytes()[:2000])

    folder, records, of_job = tmp_path / "prometheus", free_port(), free_port()
    folder.mkdir()
    waits = re.sub(r"\n +for: \w+", "", RULES.read_text())
    (folder / "rules.yml").write_text(waits)
    with (
        running_prometheus(folder, config_for_a_test(records, of_job)) as prometheus,
        job("jobs/metrics.py", "--input", released.location, "--port", records,
            "--interval-s", "1"),
        job("jobs/refine.py", "--input", parent.location, "--refiner", refiner, "--output",
            tmp_path / "refined", "--workers", "1", SIMGAN_METRICS_PORT=str(of_job),
            RAY_metrics_report_interval_ms="200") as refining,
    ):  # fmt: skip
        firing = prometheus.eventually(
            lambda: (
                {"SimganIndexWithoutTar", "SimganNoReleaseFor26Hours"} <= prometheus.firing().keys()
                and prometheus.firing()
            ),
            120,
            "the release that is overdue and the lost tar",
        )
        assert firing["SimganIndexWithoutTar"]["dataset"] == released.location
        assert not {"SimganDatasetUnreadable", "SimganRecordsNotRead"} & firing.keys()
        (sample,) = prometheus.query("simgan_lost_tars")
        assert sample["value"][1] == "1"

        failed = f'ray_{SHARDS_METRIC}_total{{result="failed"}}'
        (series, *_) = prometheus.eventually(
            lambda: prometheus.query(f"last_over_time({failed}[10m]) > 0"), 180, "a failed shard"
        )
        assert series["metric"]["stage"] == "read" and series["metric"]["job"] == "ray-of-a-job"
        firing = prometheus.eventually(
            lambda: prometheus.firing().get("SimganShardsFailing"), 60, "the alert about it"
        )
        assert firing["stage"] == "read"
        assert refining.wait(180) == 1  # a shard was set aside
        for query in queries_of_the_dashboard():
            if not query.startswith("label_values("):
                prometheus.query(query.replace("$dataset", ".*").replace("$__rate_interval", "1m"))


def count_slowly(shard: int) -> Outcome:
    time.sleep(4)  # workers report every ten seconds
    return Outcome(shard=shard, num_samples=3, num_rejected=1)


def counting() -> Callable[[int], Outcome]:
    return count_slowly


def test_prometheus_finds_the_nodes_of_a_standing_ray_by_its_file(shared_ray, tmp_path) -> None:
    program("prometheus")
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms"}
    del config["rule_files"]
    (scrape,) = [s for s in config["scrape_configs"] if s["job_name"] == "ray"]
    (found_by,) = scrape["file_sd_configs"]
    (file,) = map(Path, found_by["files"])
    found_by["files"] = [str(session / file.name)]
    config["scrape_configs"] = [scrape]
    with running_prometheus(tmp_path / "prometheus", yaml.safe_dump(config)) as prometheus:
        collect(run_on_ray((Stage("count", counting),), range(5), Workers(1)))
        (sample,) = prometheus.eventually(
            lambda: prometheus.query(
                f'max_over_time(ray_{SAMPLES_METRIC}_total{{job="ray", result="rejected"}}[5m]) > 0'
            ),
            60,
            "the samples of a job on the cluster",
        )
        assert 1 <= float(sample["value"][1]) <= 5
