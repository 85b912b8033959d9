"""A release as a pipeline of webdataset, read tar by tar from the first byte to the last.

Splitting, reading tars, grouping, shuffling in a buffer and decoding are stages of webdataset. Its
shard list and its opening of shards are replaced: ours take the shards from the manifest, check
their digests, keep those of object stores in the cache, and know what to do about damaged ones.

webdataset imports PyTorch where that is installed, so this module imports it when it is called.
"""

import io
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from factory.dataset.tar import DamagedShardError
from factory.images.png import decode_png
from factory.reading.order import permutation
from factory.reading.release import Release
from factory.store.extras import require
from factory.store.stored_file import StoredFile

if TYPE_CHECKING:
    from webdataset import DataPipeline

STREAM_BYTES = 1 << 20
"""read ahead of a tar"""


def pipeline(
    release: Release, *, buffer: int = 1000, seed: int = 0, shuffle: bool = True
) -> "DataPipeline":
    """Samples as webdataset gives them: `__key__`, `__url__`, `png`, `json`.

    Images are decoded to arrays of their true depth. Each rank of torch.distributed and each worker
    of a DataLoader reads whole shards of its own, so their numbers of samples differ; end an epoch
    with `.with_epoch(n)` where they have to keep step. Each iteration has another order.

    Args:
        buffer: samples of the buffer in which they are shuffled, beside the order of shards.

    Raises:
        MissingExtraError: webdataset is not installed.
        ValueError: the release is read with `where`, which a stream of whole tars does not follow.
    """
    require("webdataset", "a pipeline")
    import webdataset
    from webdataset.tariterators import group_by_keys, tar_file_expander

    if release.where is not None:
        raise ValueError(
            f"{release}: a pipeline reads whole tars; use epoch or a loader with where"
        )
    shuffled = [webdataset.detshuffle(bufsize=buffer, initial=buffer, seed=seed)] if shuffle else []
    return webdataset.DataPipeline(
        _ShardList(len(release.tars.shards), seed, shuffle),
        webdataset.split_by_node,
        webdataset.split_by_worker,
        partial(_opened, release=release),
        tar_file_expander,
        group_by_keys,
        *shuffled,
        webdataset.decode(webdataset.handle_extension("png", decode_png)),
    )


class _ShardList:
    """The numbers of all shards, in another order each time."""

    def __init__(self, num_shards: int, seed: int, shuffle: bool):
        self._num_shards, self._seed, self._shuffle = num_shards, seed, shuffle
        self._epoch = 0

    def __call__(self) -> Iterator[int]:
        numbers = np.arange(self._num_shards)
        if self._shuffle:
            numbers = permutation((self._seed, self._epoch), self._num_shards)
        self._epoch += 1
        yield from numbers.tolist()


def _opened(shards: Iterator[int], release: Release) -> Iterator[dict[str, Any]]:
    """A stage: the tar of each shard, once it is checked."""
    tars = release.tars
    for shard in shards:
        try:
            tars.prepare([shard])
            tars.require(shard)
        except DamagedShardError as error:
            release.skip_or_raise(shard, error, tars.shards[shard].num_samples)
            continue
        file = StoredFile(partial(tars.read, shard), tars.shards[shard].size)
        yield {"url": tars.where(shard), "stream": io.BufferedReader(file, STREAM_BYTES)}
