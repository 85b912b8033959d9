"""What an operator watches: read from records, and shown to Prometheus."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.job.command import parse, run_command
from factory.dataset.dataset import Dataset
from factory.dataset.names import tar_name
from factory.release.latest import LATEST_NAME, latest_or_none, note_nothing_newer, swap_latest
from factory.release.publish import publish
from factory.upkeep.expire import expire_releases
from factory.upkeep.watched.metrics import METRICS, RecordsCollector
from factory.upkeep.watched.records import WatchedRun, watch
from jobs.metrics import MetricsJob, main
from schemas.summary import RunSummary
from support import releases
from support.clusters import free_port
from support.filtered import REPORT_ID
from support.places import ROOT


def put_run(dataset: Dataset, day: int, job: str, what: str | None = None, **counts: int) -> None:
    """A run of a day of November, with a summary where `what` names one."""
    name = f"runs/202611{day:02d}T020000Z-{job}-{day:04x}"
    dataset.store.put(f"{name}/config.json", b"{}")
    if what is None:
        return
    counted = {"num_shards": 1, "num_set_aside": 0, "num_samples": 0, "num_rejected": 0,
               "num_filtered": 0} | counts  # fmt: skip
    summary = RunSummary(
        what=what, reasons={}, set_aside={}, wall_s=1.0, images_per_s=50.0, workers=2, stages=(),
        engines={}, **counted,
    )  # fmt: skip
    dataset.store.put(f"{name}/{what}.json", summary.to_json())


def test_a_dataset_without_a_past(synthetic) -> None:
    watched = watch(synthetic.location)
    assert (watched.num_committed, watched.num_lost_tars, watched.num_releases) == (5, 0, 0)
    assert (watched.released, watched.reported, watched.report_passed) == (None, None, None)
    assert watched.runs == ()


@pytest.mark.slow
def test_a_release_its_report_and_a_lost_tar(refined) -> None:
    before = time.time() - 1
    releases.release(refined, "r1")
    releases.release(refined, "r2")
    hour_ago = time.time() - 3600
    newest = Path(refined.location) / "releases/r2/manifest.json"
    os.utime(Path(refined.location) / "releases/r1/manifest.json", (1.0, 1.0))
    os.utime(newest, (hour_ago, hour_ago))
    lost = tar_name(refined.facts(2))
    (Path(refined.location) / lost).unlink()

    watched = watch(refined.location)
    assert (watched.num_committed, watched.num_lost_tars, watched.num_releases) == (5, 1, 2)
    assert watched.released == watched.release_confirmed == pytest.approx(hour_ago)
    assert watched.reported is not None and before < watched.reported <= time.time()
    assert watched.report_passed is True

    releases.put_report(refined, id="20261122-000000-aaaa", passed=False)
    releases.put_report(refined, id="20261120-000000-aaaa", passed=True)
    (Path(refined.location) / "reports/20261123-000000-aaaa").mkdir()  # it is being written
    assert watch(refined.location).report_passed is False
    expire_releases(refined, ["r1"], delete=True)  # which changes its manifest now
    watched = watch(refined.location)
    assert watched.num_releases == 1 and watched.released == pytest.approx(hour_ago)


def test_a_night_that_finds_nothing_newer_confirms_the_latest_release(refined, kept) -> None:
    """Which the filtered dataset has: the pointer of the refined one says when it was published."""
    publish(kept, "r1", REPORT_ID)
    before = time.time() - 1
    swap_latest(refined, "r1", within=kept)
    watched = watch(refined.location)
    assert watched.num_releases == 0
    assert watched.released is not None and before < watched.released <= time.time()
    assert watched.release_confirmed == watched.released
    long_ago = latest_or_none(refined.store).model_copy(
        update={"published": "2026-01-02T03:04:05+00:00"}
    )
    refined.store.put(LATEST_NAME, long_ago.to_json())
    note_nothing_newer(refined)
    watched = watch(refined.location)
    assert time.gmtime(watched.released)[:6] == (2026, 1, 2, 3, 4, 5)
    assert watched.release_confirmed is not None and watched.release_confirmed > before


def test_runs_of_each_job_and_the_usual_share_of_rejects(refined) -> None:
    for day in range(1, 5):
        put_run(refined, day, "ingest", "ingest", num_samples=95 - day, num_rejected=5 + day)
    put_run(refined, 5, "ingest", "ingest", num_samples=60, num_rejected=20, num_filtered=20,
            num_set_aside=3)  # fmt: skip
    put_run(refined, 6, "ingest")  # found nothing to do
    put_run(refined, 6, "refine", "refine", num_samples=10)
    put_run(refined, 7, "describe")
    (Path(refined.location) / "runs/notes").mkdir()
    ingest, refine = watch(refined.location).runs
    assert ingest.job == "ingest" and ingest.summary is not None
    assert time.gmtime(ingest.started)[:4] == (2026, 11, 6, 2)
    assert ingest.summary.num_set_aside == 3
    assert ingest.rejected_share == pytest.approx(0.2)
    assert ingest.usual_rejected_share == pytest.approx(0.075)  # of 6, 7, 8 and 9 %
    assert refine == WatchedRun(
        job="refine", started=refine.started, summary=refine.summary, rejected_share=0.0
    )


def shown(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and labels, in order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run_command(MetricsJob, main, list(map(str, arguments)))
    return int(str(ended.value.code))


def test_the_job_prints_every_metric_and_goes_on_past_a_dataset_that_is_gone(
    refined, tmp_path, capsys
) -> None:
    releases.release(refined)
    for day in range(1, 6):
        put_run(refined, day, "ingest", "ingest", num_samples=9, num_rejected=1)
    assert run("--input", refined.location, tmp_path / "gone") == 1
    values = shown(capsys.readouterr().out)
    location = refined.location
    assert {name for name, *_ in values} == set(METRICS)
    assert values["simgan_dataset_readable", location] == 1
    assert values["simgan_dataset_readable", str(tmp_path / "gone")] == 0
    assert ("simgan_lost_tars", str(tmp_path / "gone")) not in values
    assert values["simgan_committed_shards", location] == 5
    assert values["simgan_report_passed", location] == 1
    assert values["simgan_rejected_share", location, "ingest"] == pytest.approx(0.1)
    assert values["simgan_run_images_per_second", location, "ingest"] == 50
    assert values[("simgan_records_read_timestamp_seconds",)] == pytest.approx(time.time(), abs=60)


def test_a_text_file_is_whole_and_readable_for_everyone(synthetic, tmp_path) -> None:
    path = tmp_path / "collected" / "simgan.prom"
    assert run("--input", synthetic.location, "--textfile", path) == 0
    assert shown(path.read_text())["simgan_committed_shards", synthetic.location] == 5
    assert path.stat().st_mode & 0o777 == 0o644
    assert [file.name for file in path.parent.iterdir()] == ["simgan.prom"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "--input"),
        (["--input", "a", "--textfile", "simgan.txt"], "ends in .prom"),
        (["--input", "a", "--textfile", "s.prom", "--port", "9808"], "exclude each other"),
        (["--input", "a", "--port", "70000"], "port"),
    ],
)
def test_options_that_cannot_be_used_end_with_exit_code_2(given, said, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(MetricsJob, given)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_scrape_sees_the_last_reading_and_never_waits_for_a_store(refined) -> None:
    collector = RecordsCollector([refined.location])
    assert list(collector.collect()) == []
    assert collector.refresh()
    (Path(refined.location) / tar_name(refined.facts(0))).unlink()
    lost = {f.name: f.samples[0].value for f in collector.collect()}["simgan_lost_tars"]
    assert lost == 0
    collector.refresh()
    lost = {f.name: f.samples[0].value for f in collector.collect()}["simgan_lost_tars"]
    assert lost == 1


@contextmanager
def exporter(*places: str) -> Iterator[str]:
    """The job in a process of its own; gives the URL of its metrics."""
    port = free_port()
    command = [sys.executable, "jobs/metrics.py", "--input", *places, "--port", str(port),
               "--interval-s", "1"]  # fmt: skip
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        assert line == f"metrics are at http://127.0.0.1:{port}/metrics\n"
        yield line.split()[-1]
    finally:
        server.terminate()
        assert server.wait(30) == 128 + 15


@pytest.mark.long
def test_the_job_serves_what_changes(refined) -> None:
    with exporter(refined.location) as url:

        def lost() -> float:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return shown(answer.read().decode())["simgan_lost_tars", refined.location]

        assert lost() == 0
        (Path(refined.location) / tar_name(refined.facts(0))).unlink()
        until = time.monotonic() + 30
        while lost() == 0 and time.monotonic() < until:
            time.sleep(0.2)
        assert lost() == 1
    assert refined.store.size(f"reports/{REPORT_ID}/report.json") is not None
