"""The quality gate: a reviewed file of limits that a validation report must keep.

A gate is a TOML file::

    [[limit]]
    measure = "witnesses.iris.drift.median"
    at_most = 0.8
    why = "labels must stay on the pupil"

    [[sample]]
    measure = "iris_registration_px"
    at_most = 2.0
    max_share = 0.001
    why = "an iris that moved by more than this has another gaze than its label"

The measure of a `limit` is a dotted path to a number of the domain's report, or one of those that
follow from several of them (its `derived`). That of a `sample` is a column of the domain's
measurements: single samples that miss it are dropped, and too many of them fail the dataset
(`factory.validation.sample_checks`). Names are checked when the file is read, hours before they are
needed. The models of the file are in `schemas.gate`.
"""

import difflib
import hashlib
import math
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union

from pydantic import BaseModel, ValidationError

from schemas.base import FORMAT_VERSION, FormatError, Model, Sha256
from schemas.gate import GateFile, Limit, SampleLimit
from schemas.report import GateCheck, Report, SampleCheck
from schemas.toml import parse_tables


class Gate(Model):
    """A gate, and the digest that a report names it by."""

    limits: tuple[Limit, ...]
    samples: tuple[SampleLimit, ...] = ()
    sha256: Sha256
    """of the bytes of the file"""
    name: str
    """of the file, without its folder"""


def load_gate(path: Path, kind: type[Report]) -> Gate:
    """Read and check a gate file.

    Args:
        kind: of the reports that it is for.

    Raises:
        FormatError: no TOML, of a newer format, without limits, or a limit on no known measure;
            the message lists the measures of similar name.
    """
    raw = path.read_bytes()
    content = parse_tables(raw, path)
    version = content.get("format_version", FORMAT_VERSION)
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise FormatError(
            f"{path}: format version {version} is newer than this program's "
            f"({FORMAT_VERSION}); update simgan-factory to read it"
        )
    try:
        read = GateFile.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors()
        )
        raise FormatError(f"{path}: not a valid gate: {problems}") from error
    known = measures(kind)
    try:
        for limit in read.limit:
            _require_known(limit.measure, known)
        for sample in read.sample:
            _require_known(sample.measure, tuple(kind.sample_measures))
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from error
    return Gate(
        limits=read.limit,
        samples=read.sample,
        sha256=hashlib.sha256(raw).hexdigest(),
        name=path.name,
    )


def _require_known(measure: str, known: Sequence[str]) -> None:
    if measure not in known:
        close = difflib.get_close_matches(measure, known, n=4, cutoff=0.4)
        raise ValueError(
            f"no measure {measure!r}; "
            + (f"close: {', '.join(close)}" if close else f"known: {', '.join(known)}")
        )


Judged = TypeVar("Judged", bound=Report)


def check(report: Report, gate: Gate) -> tuple[GateCheck, ...]:
    """Every limit against a report, whose own `checks` are not looked at."""
    values = [value_of(report, limit.measure) for limit in gate.limits]
    return tuple(
        GateCheck(**limit.model_dump(), value=value, passed=limit.holds(value))
        for limit, value in zip(gate.limits, values, strict=True)
    )


def judged(report: Judged, gate: Gate) -> Judged:
    """The report with the gate's verdict in it; its `samples` are already the gate's."""
    checks = check(report, gate)
    passed = all(line.passed for line in checks) and all(line.passed for line in report.samples)
    return report.model_copy(
        update={
            "gate": gate.sha256,
            "gate_name": gate.name,
            "checks": checks,
            "passed": passed,
        }
    )


def misses_of(report: Report) -> list[str]:
    """Names of the limits that a report misses."""
    return [line.measure for line in report.checks if not line.passed] + [
        line.limit for line in report.samples if not line.passed
    ]


def explain(report: Report) -> str:
    """The verdict for a terminal, on one screen: misses first, each with its reason; then what was
    kept, limits on samples in one line."""
    lines = [*map(_check_line, report.checks), *map(_sample_line, report.samples)]
    if not lines:
        return "no verdict: no gate was asked for"
    missed = [line for line in lines if not line.passed]
    kept = [line for line in map(_check_line, report.checks) if line.passed]
    width = max(len(line.name) for line in [*missed[:MAX_MISSES], *kept, lines[0]])
    head = f"FAIL: {len(missed)} of {len(lines)} limits missed"
    text = [head if missed else f"PASS: all {len(lines)} limits kept"]
    for line in missed[:MAX_MISSES]:
        text += [f"  miss  {line.name:<{width}}  {line.value}", f"        {line.why}"]
    if len(missed) > MAX_MISSES:
        text.append(f"  miss  and {len(missed) - MAX_MISSES} more, see the report")
    text += [f"  kept  {line.name:<{width}}  {line.value}" for line in kept]
    num_kept = sum(line.passed for line in report.samples)
    if num_kept:
        text.append(f"  kept  {num_kept} limits on samples")
    return "\n".join(text)


MAX_MISSES = 10
"""that `explain` spells out"""


class _Line(NamedTuple):
    """A limit as `explain` shows it."""

    name: str
    value: str
    why: str
    passed: bool


def _check_line(line: GateCheck) -> _Line:
    value = f"{value_text(line):>12}  ({limit_text(line)})"
    return _Line(line.measure, value, line.why, line.passed)


def _sample_line(line: SampleCheck) -> _Line:
    return _Line(line.limit, sample_text(line), line.why, line.passed)


def value_text(line: GateCheck) -> str:
    """What was found, in four significant digits."""
    return "not measured" if line.value is None else f"{line.value:.4g}"


def sample_text(line: SampleCheck) -> str:
    """How many samples miss a limit on samples, how many may, and bad shards."""
    if not line.passed and line.num_measured == 0:
        return "not measured on any sample; the gate needs the network that measures it"
    text = f"{line.num_missed:,} samples ({100 * line.share:.2g} %)"
    if line.most_allowed is not None:
        text += f", at most {line.most_allowed:,}"
    if line.bad_shards:
        worst = line.bad_shards[0]
        text += (
            f"; bad shards: {line.num_bad_shards}, the worst {worst.shard:06d} with "
            f"{worst.num_missed} of {worst.num_samples}"
        )
    return text


def limit_text(line: GateCheck, shown: Callable[[float], str] = "{:g}".format) -> str:
    """`at most 0.8`, `at least 0.03`, or both.

    Args:
        shown: what becomes of a bound, e.g. `Measure.shown` for one with its unit.
    """
    bounds = (("at least", line.at_least), ("at most", line.at_most))
    return ", ".join(f"{side} {shown(bound)}" for side, bound in bounds if bound is not None)


# --- measures -----------------------------------------------------------------------------------


_NOT_MEASURED = frozenset({"format_version", "dataset", "parent", "real", "gate", "checks"})
"""fields of a report that are no findings"""


def measures(kind: type[Report]) -> tuple[str, ...]:
    """All names that a limit may use in a gate for reports of this kind."""
    return (*_numbers(kind), *kind.derived)


def value_of(report: Report, measure: str) -> float | None:
    """A number of a report by its name; None where it could not be measured or is not finite.

    Raises:
        ValueError: no such measure.
    """
    if measure in report.derived:
        return _finite(report.derived[measure][0](report))
    if measure not in measures(type(report)):
        raise ValueError(f"no measure {measure!r}")
    value: Any = report
    for name in measure.split("."):
        if value is None:
            return None
        value = getattr(value, name)
    return _finite(value)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _numbers(model: type[BaseModel]) -> Iterator[str]:
    """Dotted paths of all numbers of a model and of the models in it, lists left out."""
    for name, field in model.model_fields.items():
        if issubclass(model, Report) and name in _NOT_MEASURED:
            continue
        for kind in _alternatives(field.annotation):
            if kind in (int, float):
                yield name
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from (f"{name}.{inner}" for inner in _numbers(kind))


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The members of a union, `Annotated` taken off; an annotation alone is its own union."""
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _alternatives(member)
    elif origin is Annotated:
        yield from _alternatives(typing.get_args(annotation)[0])
    elif origin is not Literal:
        yield annotation
