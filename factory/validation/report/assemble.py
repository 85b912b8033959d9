"""From the results of a domain's validation to its report: the numbers, the page, the verdicts, and
the lines for a terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow.compute as pc

from factory.dataset.tar import sha256
from factory.measures.statistics import spread
from factory.store.parquet import parquet_bytes
from factory.validation.gate import Gate, judged
from factory.validation.protocols import Examined, Trio, Validator
from factory.validation.refiner_verdict import verdict_of
from factory.validation.sample_checks import check_samples, resolved_all, verdicts_of
from factory.validation.verdicts import report_name, verdicts_name
from schemas.evaluation import Verdict
from schemas.realism import Fidelity
from schemas.report import Report, ValidatedShard, Verdicts
from schemas.version import WRITER


def make_report(
    trio: Trio,
    report_id: str,
    shards: Sequence[int],
    validator: Validator,
    examined: Examined,
    gate: Gate | None,
    evaluated: tuple[Verdict, ...] = (),
    fidelity: Fidelity | None = None,
) -> tuple[Report, bytes]:
    """The numbers, of the validator's kind, with the gate's verdict if there is one and the verdict
    on the refiner; and verdicts.parquet.

    Args:
        evaluated: what an evaluation says of the refiner.
        fidelity: FID and KID, where they were measured.
    """
    facts = trio.refined.all_facts(shards)
    measures = examined.measures
    limits = resolved_all(measures, gate.samples) if gate is not None else ()
    verdicts = verdicts_of(measures, limits)
    content = parquet_bytes(verdicts)
    num_dropped = len(verdicts) - int(pc.sum(verdicts["keep"]).as_py() or 0)
    report = validator.report(
        id=report_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        writer=WRITER,
        location=trio.refined.location,
        dataset=trio.refined.card,
        parent_location=trio.parent.location,
        parent=trio.parent.card,
        real_location=trio.real.location,
        real=trio.real.card,
        shards=tuple(
            ValidatedShard(shard=f.shard, tar_sha256=f.tar_sha256, num_samples=f.num_samples)
            for f in facts
        ),
        num_samples=len(measures),
        mean_abs_change=spread(measures["mean_abs_change"].to_numpy()),
        realism=examined.realism,
        fidelity=fidelity,
        samples=check_samples(measures, limits),
        verdicts=Verdicts(
            sha256=sha256(content),
            num_kept=len(verdicts) - num_dropped,
            num_dropped=num_dropped,
            dropped_share=num_dropped / len(verdicts) if len(verdicts) else 0.0,
        ),
        **examined.findings(),
    )
    if gate is not None:
        report = judged(report, gate)
    verdict = verdict_of(report, evaluated)
    return report.model_copy(update={"refiner_verdict": verdict}), content


def write_report(
    trio: Trio,
    report: Report,
    verdicts: bytes,
    examined: Examined,
    notes: Sequence[str],
    earlier: Report | None = None,
) -> str:
    """Write verdicts.parquet, report.html, then report.json: a report exists once its numbers do.

    Returns:
        the name of the page in the refined dataset.
    """
    page = f"reports/{report.id}/report.html"
    store = trio.refined.store
    store.put_new(verdicts_name(report.id), verdicts)
    store.put_new(page, examined.page(report, notes, earlier).encode())
    store.put_new(report_name(report.id), report.to_json())
    return page


def summary_lines(report: Report, validator: Validator) -> list[str]:
    """The report in a few lines for a terminal."""
    realism = report.realism
    verdict = report.refiner_verdict
    return [
        *validator.summary(report),
        f"mean |change| on [-1, 1]: {report.mean_abs_change.mean:.3f}",
        f"told from real: synthetic {realism.synthetic_vs_real.accuracy:.1%}, refined "
        f"{realism.refined_vs_real.accuracy:.1%}, real from real "
        f"{realism.real_vs_real.accuracy:.1%} (50 % is perfect)",
        *([] if report.fidelity is None else [_fidelity_line(report.fidelity)]),
        f"samples kept {report.verdicts.num_kept}, dropped {report.verdicts.num_dropped}",
        *([] if verdict is None else [f"the refiner {verdict.words}"]),
    ]


def _fidelity_line(fidelity: Fidelity) -> str:
    sets = (
        ("synthetic", fidelity.synthetic),
        ("refined", fidelity.refined),
        ("real from real", fidelity.floor),
    )
    distances = ", ".join(f"{name} {one.fid:.1f} and {one.kid:.4f}" for name, one in sets)
    return f"FID and KID, {fidelity.num_images} images of each: {distances}"
