"""What damaged shards are made again from: inputs, a parent and its refiner, or verdicts."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Protocol

from factory.dataset.dataset import Dataset, Replaced
from factory.dataset.shard_tasks import MakeTask, Stage
from factory.dataset.tar import DamagedShardError
from factory.domains.registry import make_source, options_in
from factory.ingestion.shards import ShardIngester, expected_of, ingest_task
from factory.networks.refiner_files import load_refiner
from factory.refinement.stages import refine_stages
from factory.release.filtered import FilteredContent, filter_task
from factory.sources.base import digests_now
from factory.sources.files import NOTHING_SEEN
from factory.sources.input_table import InputTable
from schemas.base import FormatError
from schemas.dataset import Reject


class Means(Protocol):
    """What damaged shards are made from."""

    def obstacle(self, shard: int) -> str | None:
        """Why a shard cannot be made again; None if it can."""

    def task(self, replaced: Mapping[int, Replaced]) -> MakeTask | Sequence[Stage]:
        """What makes shards again, in place of these versions of them."""


class FromSource:
    """Ingested shards, from the inputs that their plans name."""

    def __init__(self, dataset: Dataset, location: str):
        """
        Raises:
            FormatError: the dataset's card names a source that is unknown here.
        """
        self.dataset, self.location = dataset, location
        self.source = make_source(location, options_in(dataset.card.config))

    @cached_property
    def _inputs(self) -> InputTable:
        return InputTable(self.source.scan(NOTHING_SEEN))

    def obstacle(self, shard: int) -> str | None:
        """Why a shard would not be made again as it was: inputs are gone, or have changed.

        Their content is compared with what the shard was built from; where that is lost with the
        index, their sizes are compared with the plan.
        """
        try:
            plan = self.dataset.plan(shard)
        except (FileNotFoundError, FormatError) as error:
            return f"what it should hold is not known: {error}"
        inputs = plan.inputs
        sizes = self._inputs.sizes_of([planned.id for planned in inputs])
        gone = [planned.id for planned in inputs if planned.id not in sizes]
        if gone:
            return f"{self.location} lacks {len(gone)} of its {len(inputs)} inputs, as {gone[0]}"
        other = [planned.id for planned in inputs if sizes[planned.id] != planned.size]
        if other:
            return (
                f"{len(other)} of its {len(inputs)} inputs, as {other[0]}, have another size in "
                f"{self.location} than when they were planned"
            )
        self.source.expect({planned.id: planned.suffixes for planned in inputs})
        built_from = _digests_of_inputs(self.dataset, shard)
        ids = expected_of(plan).source_ids
        other = [
            ids[key]
            for key, then in built_from.items()
            if digests_now(self.source, ids[key]) != then
        ]
        if other:
            return (
                f"{len(other)} of its {len(inputs)} inputs, as {other[0]}, have other content in "
                f"{self.location} than when the shard was built"
            )
        return None

    def rejects(self, shard: int) -> list[Reject]:
        """Why inputs of a committed shard became no samples.

        Raises:
            ValueError: that cannot be told, as some of them would become samples now.
        """
        plan = self.dataset.plan(shard)
        samples = set(self.dataset.index(shard, ["key"])["key"].to_pylist())
        lacking = {key for key in expected_of(plan).keys if key not in samples}
        return ShardIngester(self.dataset, self.source).rejects_among(plan, lacking)

    def task(self, replaced: Mapping[int, Replaced]) -> MakeTask:
        return ingest_task(self.dataset.replacing(replaced), self.source)


class FromParent:
    """Refined shards, from the parent's by the same refiner."""

    def __init__(self, dataset: Dataset, parent: Dataset, refiner: str, *, device: str = "cpu"):
        """
        Raises:
            ValueError: the refiner is not the one that made the dataset.
        """
        self.dataset, self.parent, self.refiner, self.device = dataset, parent, refiner, device
        expected = dataset.card.refiner
        given = load_refiner(refiner)[1].sha256
        if expected is None or given != expected.sha256:
            raise ValueError(
                f"{refiner} is {given[:12]}…; {dataset.location} was made by "
                f"{expected.sha256[:12] if expected is not None else 'none'}…"
            )

    def obstacle(self, shard: int) -> str | None:
        if not self.parent.is_committed(shard):
            return f"{self.parent.location} does not have it any more"
        try:
            self.parent.tar(shard)
        except (DamagedShardError, FormatError) as error:
            return f"its parent has to be mended first: {error}"
        return None

    def task(self, replaced: Mapping[int, Replaced]) -> Sequence[Stage]:
        child = self.dataset.replacing(replaced)
        return refine_stages(self.parent, child, self.refiner, device=self.device)


class FilteredFromParent:
    """Shards of a filtered dataset, from the parent's by the verdicts."""

    def __init__(self, dataset: Dataset, parent: Dataset):
        self.dataset, self.parent = dataset, parent
        self._keeping = FilteredContent(dataset, parent)

    def obstacle(self, shard: int) -> str | None:
        try:
            self._keeping.expected(shard)
            self.parent.tar(shard)
        except (FileNotFoundError, DamagedShardError, FormatError) as error:
            return f"{error}"
        return None

    def task(self, replaced: Mapping[int, Replaced]) -> MakeTask:
        return filter_task(self.dataset.replacing(replaced), self.parent)


def _digests_of_inputs(dataset: Dataset, shard: int) -> dict[str, tuple[str, str | None]]:
    """sha256 of image and label of the inputs that a shard was built from, by key, as far as its
    index and its rejects say."""
    digests = {}
    with suppress(FileNotFoundError, FormatError):
        names = ["key", "source_image_sha256", "source_label_sha256"]
        for row in dataset.index(shard, names).to_pylist():
            digests[row["key"]] = row["source_image_sha256"], row["source_label_sha256"]
    with suppress(FileNotFoundError, FormatError):
        for row in dataset.rejects(shard).to_pylist():
            if row["image_sha256"] is not None:
                digests[row["key"]] = row["image_sha256"], row["label_sha256"]
    return digests
