"""The integrity check: everything is read, and every part of a dataset compared with the others.

A shard's tar against the digest in its index; every row of the index against the tar; what is
missing against `rejected/`; all against plan and card, or against the parent and its verdicts.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial

import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.dataset.inspection import Expected, inspect_tar
from factory.dataset.names import Version, index_name, plan_name, rejects_name, tar_name
from factory.dataset.shard_tasks import MakeTask
from factory.dataset.tar import DamagedShardError, sha256
from factory.ingestion.shards import expected_of
from factory.release.filtered import FilteredContent
from factory.release.latest import LATEST_NAME, wrong_with_latest
from factory.release.publish import finished_reports, read_report
from factory.release.state import (
    held_by,
    read_manifest,
    release_names,
    release_state,
)
from factory.store.parquet import read_parquet
from factory.validation.verdicts import own_verdicts, report_name, verdicts_name
from schemas.base import FormatError
from schemas.dataset import ShardPlan
from schemas.index import ShardFacts
from schemas.outcome import Outcome
from schemas.problem import Problem, ProblemKind

REPAIR = "Mend it: jobs/repair.py --apply"
REFINE_ANEW = "Refine it anew: jobs/repair.py --withdraw-stale --apply --refiner RUN"
FILTER_ANEW = "Validate the parent again, and filter by that into another dataset"
POINT_ANEW = (
    "Publish the last release that holds once more, by its name and --report: that replaces it"
)
PUT_BACK = "Remove it if it is there; publish with --drop-failed and --report puts it back"


class NotWholeError(RuntimeError):
    """A check found problems, which were listed."""


def expected_shard(dataset: Dataset, shard: int, parent: Dataset | None) -> Expected:
    """What a shard has to be, from its plan or, if it is a refined one, from its parent.

    Raises:
        FileNotFoundError: it is not planned, or its parent does not have it.
        FormatError: plan, parent's index or a filtered dataset's verdicts cannot be read.
        ValueError: a refined dataset, and no parent; or a filtered one, whose parent changed.
    """
    if dataset.card.kept is not None:
        return FilteredContent(dataset, parent).expected(shard)
    if dataset.card.parent is None:
        return expected_of(dataset.plan(shard))
    if parent is None:
        raise ValueError(f"{dataset.location}: what shard {shard} has to be is in its parent")
    rows, facts = parent.index_and_facts(shard)
    return Expected.of_rows(
        rows,
        shard=shard,
        split=facts.split,
        parent_sha256=facts.tar_sha256,
        refined_from=facts.tar_sha256,
    )


# --- one shard ----------------------------------------------------------------------------------


@dataclass
class ShardVerifier:
    """Checks one shard at a time, in full. Its findings are the outcome's `problems`."""

    dataset: Dataset
    parent: Dataset | None
    """of a refined dataset; None also where it cannot be reached"""

    def __call__(self, shard: int) -> Outcome:
        started = time.perf_counter()
        num_samples, problems = 0, []
        try:
            rows, facts = self.dataset.index_and_facts(shard)
        except FileNotFoundError:
            problems = list(self._lost_record(shard))
        except FormatError as error:
            version = Version(shard, self.dataset.generation(shard))
            what = f"cannot be read ({error})"
            problems = [_problem("index", version, index_name(*version), what, REPAIR)]
        else:
            num_samples = facts.num_samples
            problems = list(self._committed(shard, facts, rows))
        return Outcome(
            shard=shard,
            num_samples=num_samples,
            problems=tuple(problems),
            seconds=time.perf_counter() - started,
        )

    def _lost_record(self, shard: int) -> Iterator[Problem]:
        """A shard that is listed and not found: withdrawn since then, or without a record of its
        earlier generations, by which readers count."""
        record = self.dataset.indexes().get(shard)
        if record is not None and self.dataset.generation(shard) < record.generation:
            version = Version(shard, self.dataset.generation(shard))
            name = index_name(shard, version.generation + 1)
            yield _problem("index", version, name, "is missing, and later ones are there", REPAIR)

    def _committed(self, shard: int, facts: ShardFacts, rows: pa.Table) -> Iterator[Problem]:
        yield from self._facts(shard, facts, rows)
        yield from self._parent_link(shard, facts)
        plan: ShardPlan | None = None
        if self.dataset.card.parent is None:
            try:
                plan = self.dataset.plan(shard)
            except (FileNotFoundError, FormatError) as error:
                yield _problem(
                    "plan", facts, plan_name(shard), f"cannot be read ({error})",
                    "Put it back from a backup; without it, ingest cannot go on",
                )  # fmt: skip
            else:
                yield from self._plan(plan, facts)
        yield from self._tar(shard, facts, rows, self._expected(facts, rows, plan))
        if plan is not None:
            yield from self._rejects(plan, facts, rows)

    def _facts(self, shard: int, facts: ShardFacts, rows: pa.Table) -> Iterator[Problem]:
        card = self.dataset.card
        refiner = card.refiner.sha256 if card.refiner is not None else None
        dealt_with = facts.num_samples + facts.num_rejected + facts.num_filtered
        for name, actual, expected in (
            ("shard", facts.shard, shard),
            ("samples", facts.num_samples, len(rows)),
            ("planned inputs", facts.num_planned, dealt_with),
            ("config digest", facts.config_digest, card.config_digest),
            ("refiner", facts.refiner, refiner),
        ):
            if actual != expected:
                what = f"is not of this dataset: {name} {actual}, expected {expected}"
                yield _in_index("index", facts, what, REPAIR)

    def _parent_link(self, shard: int, facts: ShardFacts) -> Iterator[Problem]:
        if self.parent is None:
            return
        try:
            now = self.parent.facts(shard).tar_sha256
        except FileNotFoundError:
            now = None
        except FormatError as error:
            fix = f"Mend the parent first: jobs/verify.py --input {self.parent.location}"
            what = f"its parent shard cannot be read ({error})"
            yield _in_index("parent", facts, what, fix)
            return
        if now == facts.parent_sha256:
            return
        filtered = self.dataset.card.kept is not None
        made = "filtered" if filtered else "refined"
        then = f"{facts.parent_sha256 or 'none'}"[:12]
        what = f"was {made} from a parent shard (sha256 {then}…) that is gone"
        if now is not None:
            what = f"was {made} from another parent shard (sha256 {then}…) than now ({now[:12]}…)"
        fix = FILTER_ANEW if filtered else REFINE_ANEW
        yield _in_index("stale", facts, what, fix)

    def _plan(self, plan: ShardPlan, facts: ShardFacts) -> Iterator[Problem]:
        if (len(plan.inputs), plan.split) != (facts.num_planned, facts.split):
            what = (
                f"plans {len(plan.inputs)} inputs of {plan.split}, its index says "
                f"{facts.num_planned} of {facts.split}"
            )
            fix = "Put it back from a backup"
            yield _problem("plan", facts, plan_name(plan.shard), what, fix)

    def _expected(self, facts: ShardFacts, rows: pa.Table, plan: ShardPlan | None) -> Expected:
        """What the tar has to be; where plan or parent cannot say, what its index says of it."""
        if plan is not None and len(plan.inputs) == facts.num_planned:
            return expected_of(plan)
        if self.parent is not None:
            with suppress(FileNotFoundError, FormatError, DamagedShardError):
                if self._keeping is not None:
                    theirs = self._keeping.expected(facts.shard)
                else:
                    theirs = expected_shard(self.dataset, facts.shard, self.parent)
                if theirs.parent_sha256 == facts.parent_sha256:
                    return theirs
        return self._of_index(facts, rows)

    def _of_index(self, facts: ShardFacts, rows: pa.Table) -> Expected:
        if self._keeping is not None:
            with suppress(FormatError):  # of the verdicts: a problem of its own
                rows = self._keeping.among(rows, facts.shard)
        return Expected.of_rows(
            rows,
            shard=facts.shard,
            split=facts.split,
            parent_sha256=facts.parent_sha256,
            refined_from=facts.parent_sha256 if self._keeping is None else None,
        )

    @cached_property
    def _keeping(self) -> FilteredContent | None:
        """Once for all shards of a filtered dataset: it looks into every shard of the parent."""
        filtered = self.dataset.card.kept is not None
        return FilteredContent(self.dataset, self.parent) if filtered else None

    def _tar(
        self, shard: int, facts: ShardFacts, rows: pa.Table, expected: Expected
    ) -> Iterator[Problem]:
        name = tar_name(facts)
        try:
            tar = self.dataset.store.read(name)
        except FileNotFoundError:
            yield _problem("tar", facts, name, "is committed and missing", REPAIR)
            return
        digest = sha256(tar)
        if (digest, len(tar)) != (facts.tar_sha256, facts.tar_size):
            what = (
                f"is damaged: sha256 {digest[:12]}…, its index says {facts.tar_sha256[:12]}…; "
                f"{len(tar)} bytes, expected {facts.tar_size}"
            )
            yield _problem("tar", facts, name, what, REPAIR)
            return
        try:
            built = inspect_tar(self.dataset, expected, tar, where="it")
        except DamagedShardError as error:
            yield _problem("tar", facts, name, f"is not the planned shard: {error}", REPAIR)
            return
        wrong = _difference(built, rows)
        if wrong is not None:
            what = f"does not say what its tar holds: {wrong}"
            yield _in_index("rows", facts, what, REPAIR)

    def _rejects(self, plan: ShardPlan, facts: ShardFacts, rows: pa.Table) -> Iterator[Problem]:
        expected = expected_of(plan)
        name = rejects_name(facts)
        committed = set(rows["key"].to_pylist())
        missing = {k: s for k, s in expected.source_ids.items() if k not in committed}
        try:
            recorded, _ = read_parquet(self.dataset.store, name)
            rejected = dict(zip(recorded["key"].to_pylist(), recorded["source_id"].to_pylist(),
                             strict=True))  # fmt: skip
            num_filtered = recorded["kind"].to_pylist().count("filtered")
        except FileNotFoundError:
            yield _problem("rejects", facts, name, "is missing", REPAIR)
            return
        except (FormatError, KeyError) as error:
            yield _problem("rejects", facts, name, f"cannot be read ({error})", REPAIR)
            return
        if rejected != missing or len(recorded) != len(missing):
            what = (
                f"names {len(recorded)} inputs, not exactly the {len(missing)} planned ones "
                "that the tar lacks"
            )
            yield _problem("rejects", facts, name, what, REPAIR)
        elif (num_filtered, len(recorded) - num_filtered) != (
            facts.num_filtered,
            facts.num_rejected,
        ):
            what = f"counts {num_filtered} filtered inputs, the index says {facts.num_filtered}"
            yield _problem("rejects", facts, name, what, REPAIR)


def _difference(built: pa.Table, rows: pa.Table) -> str | None:
    """Where an index differs from the one that its tar gives, in words."""
    if len(built) != len(rows):
        return f"{len(rows)} rows, the tar has {len(built)} samples"
    for name in built.column_names:
        if name not in rows.column_names:  # written before there was such a column
            if built[name].null_count < len(built):
                return f"it has no column {name}"
        elif not built[name].equals(rows[name]):
            pairs = zip(built[name].to_pylist(), rows[name].to_pylist(), strict=True)
            row = next((i for i, (a, b) in enumerate(pairs) if a != b), 0)
            return f"{name} of {built['key'][row].as_py()}"
    return None


def _problem(
    kind: ProblemKind, of: Version | ShardFacts, name: str, what: str, fix: str
) -> Problem:
    return Problem(
        kind=kind, name=name, shard=of.shard, generation=of.generation, what=what, fix=fix
    )


def _in_index(kind: ProblemKind, facts: ShardFacts, what: str, fix: str) -> Problem:
    """A problem that the index of a shard shows."""
    return _problem(kind, facts, index_name(facts.shard, facts.generation), what, fix)


# --- a dataset ----------------------------------------------------------------------------------


def verify_task(dataset: Dataset, parent: Dataset | None) -> MakeTask:
    """What a worker needs to check shards."""
    return partial(ShardVerifier, dataset, parent)


def problems_of(outcomes: Iterable[Outcome]) -> list[Problem]:
    """The problems of all shards, in order."""
    return [problem for outcome in outcomes for problem in outcome.problems]


def verify_reports_and_releases(
    dataset: Dataset, problems: Iterable[Problem], names: Iterable[str] | None = None
) -> Iterator[Problem]:
    """Check every report and release, and which is the latest, after the shards.

    Args:
        problems: of the shards.
        names: of the releases to check, leaving reports alone; None for all of both.
    """
    if names is None:
        for report_id in finished_reports(dataset):
            yield from _verify_report(dataset, report_id)
        yield from _verify_verdicts(dataset)
    wanted = release_names(dataset) if names is None else list(names)
    damaged = {problem.name for problem in problems if problem.kind == "tar"}
    held = held_by(dataset, dataset.committed() if wanted else (), damaged)
    for name in wanted:
        try:
            state = release_state(dataset, read_manifest(dataset, name), held, read_all=True)
        except FormatError as error:
            yield _broken(name, f"cannot be read ({error})")
            continue
        yield from (_broken(name, wrong) for wrong in state.broken)
    if names is None and (wrong := wrong_with_latest(dataset)) is not None:
        yield Problem(kind="release", name=LATEST_NAME, shard=None, what=wrong, fix=POINT_ANEW)


def _verify_report(dataset: Dataset, report_id: str) -> Iterator[Problem]:
    try:
        read_report(dataset, report_id)
    except FormatError as error:
        yield _of_report(report_name(report_id), f"cannot be read ({error})", "Validate again")


def _verify_verdicts(dataset: Dataset) -> Iterator[Problem]:
    """Whether a filtered dataset still has the report and verdicts that it was filtered by."""
    kept = dataset.card.kept
    if kept is None:
        return
    if dataset.store.size(report_name(kept.report)) is None:
        yield _of_report(report_name(kept.report), "is missing", PUT_BACK)
    try:
        own_verdicts(dataset)
    except FormatError as error:
        yield _of_report(verdicts_name(kept.report), f"cannot be read ({error})", PUT_BACK)


def _of_report(name: str, what: str, fix: str) -> Problem:
    return Problem(kind="report", name=name, shard=None, what=what, fix=fix)


def _broken(name: str, wrong: str) -> Problem:
    return Problem(
        kind="release",
        name=f"releases/{name}/manifest.json",
        shard=None,
        what=wrong,
        fix="Tell its readers; mend the dataset, validate and publish under another name",
    )
