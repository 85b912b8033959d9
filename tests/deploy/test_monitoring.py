"""Alert rules, the dashboard and the example configuration ask for metrics that there are.

tests/deploy/test_prometheus.py lets a real Prometheus scrape running jobs with them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from cluster.job.command import parse
from cluster.on_ray.connect import metrics_port
from cluster.on_ray.pipeline import (
    SAMPLES_METRIC,
    SECONDS_METRIC,
    SHARDS_METRIC,
)
from factory.upkeep.watched.metrics import METRICS, OF_ALL, OF_DATASET
from jobs.metrics import MetricsJob
from support.monitoring import FOLDER, RULES, queries_of_the_dashboard
from support.places import ROOT
from support.prometheus import program

OF_JOBS = {
    f"ray_{SHARDS_METRIC}_total": {"stage", "result"},
    f"ray_{SAMPLES_METRIC}_total": {"result"},
    **{
        f"ray_{SECONDS_METRIC}_{part}": {"stage"} | ({"le"} if part == "bucket" else set())
        for part in ("bucket", "sum", "count")
    },
}
"""what Prometheus calls the metrics of running jobs, with our labels"""
OF_RECORDS = {
    name: set() if name in OF_ALL else {"dataset"} if name in OF_DATASET else {"dataset", "job"}
    for name in METRICS
}
DECLARED = OF_JOBS | OF_RECORDS
NAME = re.compile(r"\b(?:ray_)?simgan_\w+")
LABEL = re.compile(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)|by \(([\w, ]+)\)")
FOLDED = re.compile(r'"[^"]*"')


def rules() -> list[dict]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def unknown_in(expression: str) -> set[str]:
    """Metrics that nobody declares, and labels that none of the metrics in the expression has."""
    bare = FOLDED.sub('""', expression)
    names = set(NAME.findall(bare))
    labels = {
        label.strip() for one, many in LABEL.findall(bare) for label in (one or many).split(",")
    }
    known = set[str]().union(*(DECLARED.get(name, set()) for name in names))
    return (names - DECLARED.keys()) | (labels - known)


def test_the_check_finds_what_is_not_there() -> None:
    assert unknown_in("rate(ray_simgan_shards_totals[5m])") == {"ray_simgan_shards_totals"}
    assert unknown_in('simgan_lost_tars{jobs="a"} > 0') == {"jobs"}
    assert unknown_in("sum by (le, stages) (ray_simgan_stage_seconds_bucket)") == {"stages"}
    assert unknown_in('simgan_rejected_share{job="a", dataset=~"b=c"}') == set()


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    queries = queries_of_the_dashboard()
    assert {query: unknown for query in queries if (unknown := unknown_in(query))} == {}
    asked = {name for query in queries for name in NAME.findall(query)}
    assert OF_JOBS.keys() - asked == {f"ray_{SECONDS_METRIC}_count"}
    assert len(OF_RECORDS.keys() & asked) > 10


def test_panels_lie_beside_each_other_and_have_names_of_their_own() -> None:
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    covered = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & covered and at["x"] + at["w"] <= 24, panel["title"]
        covered |= cells
    for field in ("id", "title"):
        assert len({panel[field] for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels if panel["type"] != "row")


def test_alerts_ask_for_metrics_that_there_are_and_say_what_to_do() -> None:
    for rule in rules():
        assert unknown_in(rule["expr"]) == set(), rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}
        for job in re.findall(r"jobs/\w+\.py", rule["annotations"]["description"]):
            assert (ROOT / job).is_file()


def test_the_page_explains_every_metric_and_every_alert() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    named = set(re.findall(r"`((?:ray_)?[Ss]imgan_?\w+)`", page))
    alerts = {rule["alert"] for rule in rules()}
    counted = {f"ray_{SECONDS_METRIC}_{part}" for part in ("bucket", "sum", "count")}
    assert named == DECLARED.keys() - counted | {f"ray_{SECONDS_METRIC}"} | alerts


def test_every_alert_has_a_test_of_its_own() -> None:
    text = (Path(__file__).parent / "monitoring" / "rules_test.yml").read_text()
    courses = [check for test in yaml.safe_load(text)["tests"] for check in test["alert_rule_test"]]
    fires = {check["alertname"] for check in courses if check["exp_alerts"]}
    assert fires == {rule["alert"] for rule in rules()}


def test_the_service_starts_the_job_on_datasets_of_the_night() -> None:
    text = (FOLDER / "simgan-metrics.service").read_text()
    started = re.search(r"^ExecStart=/opt/simgan-factory/.venv/bin/python (\S+) (.*)$", text, re.M)
    assert started is not None and started[1] == "jobs/metrics.py"
    settings = (ROOT / "cluster" / "deploy" / "nightly.env.example").read_text()
    names = re.findall(r"\$\{(\w+)\}", started[2])
    assert names and all(f"\n{name}=" in settings for name in names)
    given = re.sub(r"\$\{(\w+)\}", r"/data/\1", started[2]).split()
    asked = parse(MetricsJob, given)
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    targets = [s["targets"] for c in config["scrape_configs"] for s in c.get("static_configs", [])]
    assert [f"127.0.0.1:{asked.port}"] in targets
    if (analyze := shutil.which("systemd-analyze")) is not None:
        done = subprocess.run(
            [analyze, "verify", FOLDER / "simgan-metrics.service"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        wrong = [line for line in done.stderr.splitlines() if "simgan-metrics" in line]
        assert [line for line in wrong if "not executable" not in line] == []


def passes_promtool(*arguments: object) -> None:
    done = subprocess.run(
        [program("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_promtool_takes_the_rules_and_the_example() -> None:
    passes_promtool("check", "rules", "--lint-fatal", RULES)
    passes_promtool("check", "config", FOLDER / "prometheus.yml")


@pytest.mark.long
def test_each_alert_begins_and_ends_when_it_should() -> None:
    passes_promtool("test", "rules", Path(__file__).parent / "monitoring" / "rules_test.yml")


def test_the_port_of_metrics_is_checked(monkeypatch) -> None:
    monkeypatch.delenv("SIMGAN_METRICS_PORT", raising=False)
    assert metrics_port() is None
    monkeypatch.setenv("SIMGAN_METRICS_PORT", "8080")
    assert metrics_port() == 8080
    for wrong in ("0", "65536", "-1", "http"):
        monkeypatch.setenv("SIMGAN_METRICS_PORT", wrong)
        with pytest.raises(RuntimeError, match=r"SIMGAN_METRICS_PORT=.* is no port"):
            metrics_port()
