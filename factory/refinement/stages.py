"""The three stages of refining a shard, each for workers of its own."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import Stage
from factory.networks.precision import computes_bfloat16
from factory.networks.refiner_files import load_refiner
from factory.refinement.card import precision_of
from factory.refinement.engines.base import RefinerEngine
from factory.refinement.engines.choose import make_engine
from factory.refinement.shards import ShardCommitter, ShardPixels, ShardReader


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
    """Stages that read and decode a shard, refine its images, and encode and commit the child's.

    Args:
        refiner: what `load_refiner` takes.
        engine, batch_size, device: as in `choose_engine`, by the names there.
    """
    make = partial(
        _make_pixel_refiner,
        child,
        refiner,
        name=engine,
        preferred=_preferred(child, refiner, engine, device),
        batch_size=batch_size,
        device=device,
    )
    return (
        Stage("read", partial(ShardReader, parent), holds_core=False),
        Stage("refine", make, ShardPixels),
        Stage("commit", partial(ShardCommitter, parent, child), ShardPixels, holds_core=False),
    )


def _preferred(child: Dataset, refiner: str | Path, engine: str, device: str) -> str | None:
    """The engine that this machine would choose, for all workers to agree on."""
    precision = precision_of(child.card)
    if engine != "auto" or device != "cpu":  # on all GPUs the order of engines is the same
        return None
    if precision == "bfloat16" and not computes_bfloat16(device):  # the workers may have it
        return None
    return make_engine(refiner, precision=precision).name.split()[0]


def _make_pixel_refiner(
    child: Dataset,
    refiner: str | Path,
    *,
    name: str,
    preferred: str | None,
    batch_size: int | None,
    device: str,
) -> PixelRefiner:
    if device == "cpu":  # a worker with one thread on each core is faster than with many
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
    return PixelRefiner(
        make_engine(
            refiner,
            name=name,
            precision=precision_of(child.card),
            preferred=preferred,
            batch_size=batch_size,
            device=device,
            noise_seed=noise_seed,
        )
    )
