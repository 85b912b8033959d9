"""What a run did, and which stage held it back."""

from collections import Counter
from collections.abc import Sequence

from factory.dataset.shard_tasks import reasons_of
from schemas.outcome import Outcome
from schemas.summary import RunSummary, StageTime


def summarise(what: str, outcomes: Sequence[Outcome], wall_s: float, workers: int) -> RunSummary:
    """Add up the outcomes of a run."""
    seconds: Counter[str] = Counter()
    for outcome in outcomes:
        seconds.update(outcome.stage_seconds)
    made = [outcome for outcome in outcomes if outcome.error is None]
    return RunSummary(
        what=what,
        num_shards=len(made),
        num_set_aside=len(outcomes) - len(made),
        num_samples=sum(outcome.num_samples for outcome in made),
        num_rejected=sum(outcome.num_rejected for outcome in made),
        num_filtered=sum(outcome.num_filtered for outcome in made),
        reasons=dict(reasons_of(outcomes).most_common()),
        set_aside={o.shard: o.error for o in outcomes if o.error is not None},
        wall_s=wall_s,
        images_per_s=sum(outcome.num_inputs for outcome in made) / wall_s,
        workers=workers,
        stages=tuple(
            StageTime(name=name, seconds=total, busy=total / (wall_s * workers))
            for name, total in seconds.items()
        ),
        engines=dict(Counter(outcome.engine for outcome in made if outcome.engine is not None)),
    )
