"""A released dataset without a validation run: a report by hand, then the real publish."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from factory.dataset.dataset import Dataset
from factory.dataset.tar import sha256
from factory.release.publish import publish, read_report
from factory.validation.verdicts import report_name, verdicts_name
from schemas.release import ReleaseManifest
from schemas.report import GateCheck, Report, ValidatedShard
from support import report_example

GATE = "e" * 64
REPORT_ID = "20261121-000000-aaaa"


def report_on(dataset: Dataset, /, **changes) -> Report:
    """A report that passes, on every committed shard."""
    facts = [dataset.facts(shard) for shard in dataset.committed()]
    check = GateCheck(measure="drift.drift_px.median", at_most=1.0, why="x", value=0.5, passed=True)
    fields = {
        "id": REPORT_ID,
        "dataset": dataset.card,
        "shards": tuple(
            ValidatedShard(shard=f.shard, tar_sha256=f.tar_sha256, num_samples=f.num_samples)
            for f in facts
        ),
        "num_samples": sum(f.num_samples for f in facts),
        "gate": GATE,
        "checks": (check,),
        "passed": True,
    }
    return report_example.example_report().model_copy(update=fields | changes)


def put_report(dataset: Dataset, /, **changes) -> str:
    """Write a report where validation writes it; gives its id."""
    report = report_on(dataset, **changes)
    name = verdicts_name(report.id)
    if dataset.store.size(name) is not None:
        report = _naming(report, dataset.store.read(name))
    dataset.store.put(report_name(report.id), report.to_json())
    return report.id


def _naming(report: Report, verdicts: bytes) -> Report:
    summed = report.verdicts.model_copy(update={"sha256": sha256(verdicts)})
    return report.model_copy(update={"verdicts": summed})


def release(dataset: Dataset, name: str = "r1", /, **changes) -> ReleaseManifest:
    """Publish on a passing report."""
    return publish(dataset, name, put_report(dataset, **changes))


def urls_of(dataset: Dataset, name: str = "r1") -> list[str]:
    """Paths of a release's shards, from its manifest alone, as an outsider finds them."""
    folder = Path(dataset.location) / "releases" / name
    manifest = orjson.loads((folder / "manifest.json").read_bytes())
    return [str((folder / shard["url"]).resolve()) for shard in manifest["shards"]]


def put_verdicts(
    dataset: Dataset, failed: Mapping[str, Sequence[str]], report_id: str = REPORT_ID
) -> None:
    """Verdicts on every committed sample, as validation leaves them beside its report, if any.

    Args:
        failed: key to the limits that the sample missed.
    """
    keys = sorted(
        key for shard in dataset.committed() for key in dataset.index(shard)["key"].to_pylist()
    )
    assert failed.keys() <= set(keys)
    table = pa.table(
        {
            "key": keys,
            "keep": [key not in failed for key in keys],
            "reasons": pa.array([list(failed.get(key, ())) for key in keys], pa.list_(pa.string())),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    dataset.store.put(verdicts_name(report_id), buffer.getvalue())
    if dataset.store.size(report_name(report_id)) is not None:
        report = _naming(read_report(dataset, report_id)[0], buffer.getvalue())
        dataset.store.put(report_name(report_id), report.to_json())
