"""What verifying, cleaning up and repairing found and did, as lines for a terminal."""

from collections.abc import Iterator, Sequence

from factory.upkeep.description_text import age_text, numbers, size_text
from factory.upkeep.expire import ExpiredRelease
from factory.upkeep.garbage import Stray
from factory.upkeep.repair import RepairReport
from schemas.problem import Problem


def problem_lines(problems: Sequence[Problem], read: str) -> Iterator[str]:
    """The problems that an integrity check found.

    Args:
        read: what it read, in words.
    """
    if not problems:
        yield f"verified: nothing is wrong with {read}"
        return
    yield f"verified: {len(problems):,} problems in {read}"
    for problem in problems:
        yield f"  {problem.line()}"


def stray_lines(strays: Sequence[Stray]) -> Iterator[str]:
    """The garbage in a dataset, before or after it was cleaned up."""
    if not strays:
        yield "garbage: none; everything here is part of the dataset"
        return
    to_do = [stray for stray in strays if stray.action != "keep"]
    done = any(stray.became is not None for stray in strays)
    freed = sum(stray.size for stray in to_do if stray.action == "remove")
    yield (
        f"garbage: {len(strays):,} objects, {len(to_do):,} {'dealt with' if done else 'to do'} "
        f"({size_text(freed)} {'freed' if done else 'to free'})"
    )
    for stray in strays:
        yield (
            f"  {stray.became or stray.action:<9}  {stray.kind:<18}  {size_text(stray.size):>8}  "
            f"{age_text(stray.age_s):>7} old  {stray.name}: {stray.why}"
        )
    if to_do and not done:
        yield "  nothing was changed; add --delete to do it"


def expired_lines(releases: Sequence[ExpiredRelease]) -> Iterator[str]:
    """The releases that were given up, or would be."""
    for release in releases:
        size = size_text(release.freed_bytes)
        yield (
            f"release {release.name}: {'' if release.is_given_up else 'would be '}given up; {size} "
            "that only it holds can be removed then with jobs/gc.py --delete"
        )
    if not all(release.is_given_up for release in releases):
        yield "  nothing was changed; add --delete to do it"


def repair_lines(report: RepairReport) -> Iterator[str]:
    """What a repair did or would do."""
    if not report.repairs:
        yield "repair: no shard has to be mended"
    for repair in report.repairs:
        yield f"repair: shard {repair.shard}: {repair.remedy}: {repair.why}"
        if repair.obstacle is not None:
            yield f"  NOT DONE: {repair.obstacle}"
    if not report.applied and any(repair.obstacle is None for repair in report.repairs):
        yield "  nothing was changed; add --apply to do it"
    for what, shards in (
        ("made again", report.remade),
        ("withdrawn, for the next ingest or refine to make", report.withdrawn),
        ("no longer byte for byte what they were, or that is not known", report.changed),
    ):
        if shards:
            yield f"repair: {len(shards):,} shards {what}: {numbers(shards)}"
    for child in report.stale:
        if child.is_filtered:
            yield (
                f"STALE: {child.location}: shards {numbers(child.shards)} were filtered from what "
                "is no longer there; validate again, and publish --drop-failed with another --kept"
            )
            continue
        yield (
            f"STALE: {child.location}: shards {numbers(child.shards)} were refined from what is no "
            f"longer there; python jobs/repair.py --input {child.location} --withdraw-stale "
            "--apply --refiner RUN"
        )
    for release in report.broken_releases:
        yield f"BROKEN: release {release.name}: {'; '.join(release.broken)}"
    if report.failed is not None:
        yield f"FAILED: {report.failed}"
