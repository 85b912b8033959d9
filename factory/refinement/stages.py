"""Refine: shard i of a synthetic dataset becomes shard i of its child.

The child has the same keys, the same labels and new pixels. The work left is every shard that the
parent has committed and the child has not, so resuming, running on a schedule, running twice and
two runs at once are all the same operation.
"""

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from factory.dataset.dataset import Dataset
from factory.dataset.lineage import StaleShardsError, stale_shards
from factory.dataset.shard_tasks import Stage
from factory.networks.precision import computes_bfloat16
from factory.networks.refiner_files import load_refiner
from factory.refinement.card import precision_of
from factory.refinement.engines.base import RefinerEngine
from factory.refinement.engines.choose import make_engine
from factory.refinement.shards import ShardCommitter, ShardPixels, ShardReader

log = logging.getLogger(__name__)


def missing_shards(parent: Dataset, child: Dataset) -> list[int]:
    """Numbers of the shards that the parent has and the child lacks, in order.

    Raises:
        StaleShardsError: the child has shards whose parent shard has changed since, or is gone.
    """
    stale = stale_shards(parent, child)
    if stale:
        raise StaleShardsError(
            f"{child.location}: shards {stale[:10]} were refined from versions of their parent "
            f"shards that {parent.location} no longer holds; refine into a new output, or withdraw "
            "them with jobs/describe.py --repair --withdraw-stale --apply"
        )
    return sorted(set(parent.committed()) - set(child.committed()))


@dataclass
class PixelRefiner:
    """Refines the images of one shard at a time."""

    engine: RefinerEngine

    def __call__(self, pixels: ShardPixels) -> ShardPixels:
        return replace(pixels, images=self.engine(pixels.images), engine=self.engine.name)


def refine_stages(
    parent: Dataset,
    child: Dataset,
    refiner: str | Path,
    *,
    engine: str = "auto",
    batch_size: int | None = None,
    device: str = "cpu",
) -> tuple[Stage, ...]:
    """The three stages of refining, each for workers of its own.

    They read and decode a shard, refine its images, and encode and commit the child's shard.

    Args:
        refiner: what `load_refiner` takes.
        engine, batch_size, device: as in `choose_engine`, by the names there.
    """
    make = partial(
        _make_pixel_refiner,
        child,
        refiner,
        EngineOptions(engine, _preferred(child, refiner, engine, device), batch_size, device),
    )
    return (
        Stage("read", partial(ShardReader, parent), holds_core=False),
        Stage("refine", make, ShardPixels),
        Stage("commit", partial(ShardCommitter, parent, child), ShardPixels, holds_core=False),
    )


@dataclass(frozen=True)
class EngineOptions:
    """What every worker makes its engine with; see `choose_engine`."""

    name: str
    preferred: str | None
    batch_size: int | None
    device: str


def _preferred(child: Dataset, refiner: str | Path, engine: str, device: str) -> str | None:
    """The engine that this machine would choose, for all workers to agree on."""
    precision = precision_of(child.card)
    if engine != "auto" or device != "cpu":  # on all GPUs the order of engines is the same
        return None
    if precision == "bfloat16" and not computes_bfloat16(device):  # the workers may have it
        return None
    chosen = make_engine(refiner, precision=precision)
    return chosen.name.split()[0]


def _make_pixel_refiner(
    child: Dataset, refiner: str | Path, options: EngineOptions
) -> PixelRefiner:
    if options.device == "cpu":  # a worker with one thread on each core is faster than with many
        torch.set_num_threads(1)
    _, described = load_refiner(refiner)
    assert child.card.refiner is not None
    if described.sha256 != child.card.refiner.sha256:
        raise ValueError(
            f"{refiner} changed while the job ran: it is {described.sha256[:12]}… now, and the "
            f"dataset is made with {child.card.refiner.sha256[:12]}…; put that refiner back"
        )
    noise_seed = child.card.config.get("noise_seed", 0)
    assert isinstance(noise_seed, int), noise_seed
    precision = precision_of(child.card)
    return PixelRefiner(
        make_engine(
            refiner,
            name=options.name,
            precision=precision,
            preferred=options.preferred,
            batch_size=options.batch_size,
            device=options.device,
            noise_seed=noise_seed,
        )
    )
