"""One run of refine: the shards of a parent dataset that its refined child lacks.

How shards are made is an argument: on a cluster, or one after the other in a debugger.
"""

import logging

from factory.dataset.children import register_child
from factory.dataset.dataset import Dataset
from factory.dataset.lost_tars import lost_tars
from factory.dataset.shard_tasks import MakeShards
from factory.dataset.tar import DamagedShardError
from factory.refinement.shards import missing_shards
from schemas.dataset import DatasetCard

log = logging.getLogger(__name__)


def refine_dataset(
    parent: Dataset,
    output: str,
    card: DatasetCard,
    refiner: str,
    *,
    engine: str,
    batch_size: int | None,
    device: str,
    make_shards: MakeShards,
) -> None:
    """Refine every shard of the parent that the child does not have yet.

    Args:
        output: location of the child; it is made if there is none.
        card: of the child, as `refined_card` makes it.
        refiner: a training run or one refiner.safetensors; an absolute path, or s3://bucket/prefix.
        engine: what runs the network, or `auto`.
        batch_size: images refined at once in a worker; None for what suits the engine.
        device: `cpu` or `cuda`.

    Raises:
        CardMismatchError: the child was made with another configuration.
        DamagedShardError: committed shards of the child have lost their tars; all else was done.
        OldFormatError: the child is of an earlier format.
        ShardsFailedError: some shards could not be made; all others were.
        StaleShardsError: shards of the child were refined from parent shards that changed.
    """
    child = Dataset.enter(output, card)
    register_child(parent, child)
    missing = missing_shards(parent, child)
    if missing:
        from factory.refinement.stages import refine_stages  # imports PyTorch

        num_samples = sum(facts.num_samples for facts in parent.all_facts(missing))
        log.info("%d images in %d shards to refine", num_samples, len(missing))
        stages = refine_stages(
            parent, child, refiner, engine=engine, batch_size=batch_size, device=device
        )
        make_shards("refine", stages, missing, num_samples)
    lost = lost_tars(child)
    if lost:
        raise DamagedShardError("everything else is done, but:\n  " + "\n  ".join(lost))
    log.info(
        "%s: %s%d shards, the parent has %d",
        child.location,
        "" if missing else "nothing to do: ",
        len(child.committed()),
        len(parent.committed()),
    )
