"""What a shard will hold is decided before it is built, and never changes.

A plan is put exclusively under the next free number. A run plans only inputs that no plan names,
and after a lost race reads the plans again; so two overlapping runs never put different inputs
under one number, or one input under two.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from factory.dataset.dataset import Dataset
from factory.dataset.names import plan_name
from factory.dataset.plans import plan_of_table
from factory.ingestion.ledger import Ledger
from factory.sources.base import BadRender, Digests, Source, digests_now
from factory.sources.input_table import FACTS, InputTable
from factory.store.base import READERS
from factory.store.open import real_place
from schemas.base import FormatError

log = logging.getLogger(__name__)

HASHED_AT_ONCE = 4096
"""inputs whose content is compared between two steps"""
_BUILT = ("key", "source_image_sha256", "source_label_sha256")
Result = TypeVar("Result")


NONE_VANISHED: Mapping[str, str] = MappingProxyType({})


class OtherPlaceError(ValueError):
    """Inputs of one location would replace samples that came from another."""


@dataclass(frozen=True)
class Planned:
    """What is planned in a dataset, and what this run added to it."""

    num_listed: int
    num_new: int = 0
    """inputs planned now, rewritten ones among them"""
    num_rewritten: int = 0
    """those of them that replace an older sample"""
    num_held: int = 0
    """new inputs held back until there are more"""
    num_left: int = 0
    """inputs that changed and wait until their shard is built or mended"""
    shard_sizes: tuple[int | None, ...] = ()
    """planned inputs of every shard; None where they were not read"""
    locations: tuple[str | None, ...] = ()
    """location of the inputs of every shard when they were planned, if known"""
    num_identities: int = 0
    """identities of the new inputs, where there are several splits"""
    unused_splits: tuple[str, ...] = ()
    """splits that none of these identities fell in"""
    unreadable: tuple[str, ...] = ()
    """archives that could not be read and files that have no proper name, and why"""


def plan_new_shards(
    dataset: Dataset,
    source: Source,
    inputs: InputTable,
    *,
    min_shard: int = 1,
    vanished: Mapping[str, str] = NONE_VANISHED,
    moved: bool = False,
) -> Planned:
    """Plan every input of a listing that is new, or whose content changed.

    Args:
        inputs: a listing of the source.
        min_shard: fewer new inputs than this (in a split) are held back, after whole shards were
            taken off.
        vanished: id to key of inputs that had vanished when their shard was built: those that are
            back are planned again.
        moved: the inputs were moved since older versions of them were planned.

    Raises:
        FormatError: a plan file cannot be read as one.
        OtherPlaceError: inputs would replace samples that came from another location; then nothing
            is planned.
    """
    planner = _Planner(dataset, source, inputs, min_shard, vanished, moved)
    while not planner.plan_all():
        log.info("another run plans too; reading its plans")
    planner.remember()
    return Planned(
        num_listed=len(inputs),
        num_new=planner.num_planned,
        num_rewritten=planner.num_rewritten,
        num_held=planner.num_held,
        num_left=planner.num_left + inputs.count("changed WHERE NOT is_built"),
        shard_sizes=tuple(planner.ledger.shard_sizes),
        locations=tuple(planner.ledger.locations),
        num_identities=planner.num_identities,
        unused_splits=planner.unused_splits,
        unreadable=tuple(c.problem for c in inputs.containers if c.problem is not None),
    )


class _Planner:
    def __init__(
        self,
        dataset: Dataset,
        source: Source,
        inputs: InputTable,
        min_shard: int,
        vanished: Mapping[str, str],
        moved: bool,
    ):
        self.dataset, self.source, self.inputs = dataset, source, inputs
        self.location = real_place(source.location)
        self.min_shard, self.moved = min_shard, moved
        self.ledger = Ledger(dataset, inputs, self.location, vanished)
        self.num_planned = 0
        self.num_rewritten = 0
        self.num_held = 0
        self.num_left = 0
        self.num_identities = 0
        self.unused_splits: tuple[str, ...] = ()
        self._first_own = 0
        self._left: set[str] = set()
        """archives of which some inputs could not be compared"""

    def plan_all(self) -> bool:
        """Plan what no plan names; False if another run took a number meanwhile."""
        self.num_left = 0
        self.ledger.read_plans()
        self._first_own = len(self.ledger.shard_sizes)
        splits = self.dataset.card.splits
        self.inputs.db.execute(
            f"""
            CREATE OR REPLACE TABLE wanted AS SELECT
                {FACTS}, container, NULL::VARCHAR AS supersedes, NULL::VARCHAR AS identity,
                $split::VARCHAR AS split
            FROM listed ANTI JOIN planned USING (id)
            """,
            {"split": next(iter(splits))},
        )
        self._want_rewritten()
        if len(splits) > 1:
            self._assign_splits()
        self.num_held = 0
        return all(self._plan_split(split) for split in splits)

    def remember(self) -> None:
        """Save what saves the next run from hashing inputs and opening archives again."""
        listed = self.inputs.rows(
            "SELECT container, count(*) FROM listed WHERE container IS NOT NULL GROUP BY container"
        )
        # What is held back has to be listed again, what waits for its shard to be built compared.
        waiting = self._containers_of_held() if self.num_held else []
        unbuilt = self.inputs.rows("SELECT DISTINCT container FROM changed WHERE NOT is_built")
        to_list, to_compare = {row[0] for row in waiting}, {row[0] for row in unbuilt} | self._left
        compared = [
            container
            for container in self.inputs.containers
            if container.problem is None and container.name not in to_compare
        ]
        self.ledger.save_seen(
            [container for container in compared if container.name not in to_list],
            dict(listed),
            held=[container for container in compared if container.name in to_list],
        )

    def _containers_of_held(self) -> list[tuple[Any, ...]]:
        """Archives of the inputs that are wanted and not planned."""
        self.ledger.read_plans()
        return self.inputs.rows(
            """
            SELECT DISTINCT container FROM wanted
            WHERE id NOT IN (SELECT id FROM planned WHERE shard >= $first)
            """,
            first=self._first_own,
        )

    def _want_rewritten(self) -> None:
        """Add inputs to the wanted ones whose content is not that of their newest version."""
        num_changed = self.ledger.find_changed()
        if not num_changed:
            return
        log.info(
            "%d inputs have a new size or date, or are at a new place; comparing their content",
            num_changed,
        )
        with self.inputs.reader(
            f"""
            SELECT {FACTS}, container, key, shard, supersedes, is_as_planned
            FROM changed WHERE is_built
            ORDER BY shard, key
            """,
            HASHED_AT_ONCE,
        ) as batches:
            for batch in batches:
                rows = batch.to_pylist()
                digests = self._committed_digests(rows)
                same, rewritten = [], []
                for row, now in self._in_parallel(partial(digests_now, self.source), rows):
                    key, shard = row.pop("key"), row.pop("shard")
                    is_as_planned = row.pop("is_as_planned")
                    if key not in digests:
                        self._left.add(row["container"])
                        self.num_left += 1
                        continue
                    then, became_sample = digests[key]
                    if now == then and is_as_planned:
                        continue
                    if now == then:
                        facts = {name: row[name] for name in ("id", "size", "mtime_ns", "etag")}
                        same.append(facts | {"key": key})
                    else:
                        if became_sample or row["supersedes"] is not None:
                            self._check_place(row["id"], shard)
                        rewritten.append(row | ({"supersedes": key} if became_sample else {}))
                self.ledger.note_unchanged(same)
                self._want(rewritten)

    def _check_place(self, source_id: str, shard: int) -> None:
        """Refuse an input whose older version was planned from another location."""
        before = self.ledger.locations[shard]
        if not self.moved and before not in (None, self.location):
            raise OtherPlaceError(
                f"{source_id} in {self.location} has other content than {source_id} in {before}, "
                f"which shard {shard} of {self.dataset.location} holds, and would replace it. "
                "An input is known by its name below --input, so give two places a folder above "
                "both as --input, or an --output each. If these are the same renders after a move, "
                "some of them made anew: --moved"
            )

    def _want(self, rows: list[dict[str, Any]]) -> None:
        if rows:
            split = next(iter(self.dataset.card.splits))
            self.inputs.insert("wanted", pa.Table.from_pylist([r | {"split": split} for r in rows]))

    def _committed_digests(self, rows: list[dict[str, Any]]) -> dict[str, tuple[Digests, bool]]:
        """(what was read when it was built, whether it became a sample) of inputs, by key.

        Those of damaged shards are left out: they wait until it is mended.
        """
        keys = pa.array([row["key"] for row in rows], pa.string())
        digests = {}
        for shard in sorted({row["shard"] for row in rows}):
            try:
                built = self.dataset.index(shard, list(_BUILT))
                rejects = self.dataset.rejects(shard)
            except (FileNotFoundError, FormatError) as error:
                log.warning("shard %d: inputs that changed are left for later: %s", shard, error)
                continue
            for row in built.filter(pc.is_in(built["key"], keys)).to_pylist():
                key, image_sha256, label_sha256 = (row[name] for name in _BUILT)
                digests[key] = (image_sha256, label_sha256), True
            for row in rejects.filter(pc.is_in(rejects["key"], keys)).to_pylist():
                digests[row["key"]] = (row["image_sha256"], row["label_sha256"]), False
        return digests

    def _assign_splits(self) -> None:
        """All inputs of one identity fall in one split, by a hash and the shares in the card."""
        splits = self.dataset.card.splits
        self.inputs.db.execute(
            "CREATE OR REPLACE TABLE assigned (id VARCHAR, identity VARCHAR, split VARCHAR)"
        )
        with self.inputs.reader("SELECT id, suffixes FROM wanted", HASHED_AT_ONCE) as batches:
            for batch in batches:
                identities = self._in_parallel(self._identity, batch.to_pylist())
                rows = [
                    {
                        "id": row["id"],
                        "identity": identity,
                        "split": split_of(identity or row["id"], splits),
                    }
                    for row, identity in identities
                ]
                self.inputs.insert("assigned", pa.Table.from_pylist(rows))
        self.inputs.db.execute(
            """
            UPDATE wanted SET identity = a.identity, split = a.split
            FROM assigned a WHERE a.id = wanted.id
            """
        )
        self._count_identities()

    def _count_identities(self) -> None:
        """Note how many identities the wanted inputs have, and which splits none of them is in."""
        query = "SELECT split, count(DISTINCT coalesce(identity, id)) FROM wanted GROUP BY split"
        num_in = dict(self.inputs.rows(query))
        if num_in:
            self.num_identities = sum(num_in.values())
            self.unused_splits = tuple(s for s in self.dataset.card.splits if s not in num_in)

    def _identity(self, source_id: str) -> str | None:
        try:
            return self.source.identity(source_id)
        except BadRender:  # it will be rejected when its shard is built; any split will do
            return None

    def _in_parallel(
        self, call: Callable[[str], Result], rows: list[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], Result]]:
        """Rows of inputs with what a call says of each one's id."""
        self.source.expect({row["id"]: row["suffixes"] for row in rows})
        with ThreadPoolExecutor(READERS) as pool:
            yield from zip(rows, pool.map(call, [row["id"] for row in rows]), strict=True)

    def _plan_split(self, split: str) -> bool:
        """Plan the wanted inputs of a split; False if another run took a number meanwhile."""
        size = self.dataset.card.shard_size
        count = "SELECT count(*) FROM wanted WHERE split = $split"
        num_wanted = self.inputs.rows(count, split=split)[0][0]
        rest = num_wanted % size
        num_held = rest if rest < self.min_shard else 0
        self.num_held += num_held
        query = f"""
            SELECT {FACTS}, supersedes, identity FROM wanted WHERE split = $split
            ORDER BY natural_order(id), id LIMIT $num
        """
        given = {"split": split, "num": num_wanted - num_held}
        with self.inputs.reader(query, size, **given) as batches:
            for table in _in_pieces(batches, size):
                number = len(self.ledger.shard_sizes)
                raw = plan_of_table(number, split, self.source.name, self.location, table)
                try:
                    self.dataset.store.put_new(plan_name(number), raw)
                except FileExistsError:
                    return False
                self.ledger.add(len(table))
                self.num_planned += len(table)
                self.num_rewritten += len(table) - table["supersedes"].null_count
        return True


def _in_pieces(batches: Iterable[Any], size: int) -> Iterator[Any]:
    """The rows of Arrow batches as tables of `size` rows, the last of what is left."""
    held: list[Any] = []
    for batch in batches:
        held.append(batch)
        table = pa.Table.from_batches(held)
        while len(table) >= size:
            yield table.slice(0, size)
            table = table.slice(size)
        held = table.to_batches()
    if sum(map(len, held)):
        yield pa.Table.from_batches(held)


def split_of(identity: str, splits: Mapping[str, float]) -> str:
    """The split of an identity: a hash to [0, 1), cut at the shares of the splits in order."""
    position = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:7]) / 2**56
    reached = 0.0
    for split, share in splits.items():
        reached += share
        if position < reached:
            return split
    return split


def parse_splits(texts: Sequence[str]) -> dict[str, float]:
    """`["train=0.9", "test=0.1"]` as shares.

    Raises:
        ValueError: not of that form, one name twice, or shares that do not sum to 1.
    """
    splits: dict[str, float] = {}
    for text in texts:
        name, _, share = text.partition("=")
        try:
            value = float(share)
        except ValueError as error:
            raise ValueError(f"a split is given as name=share, found {text!r}") from error
        if name in splits:
            raise ValueError(f"split {name!r} is given twice")
        splits[name] = value
    sums_to_one = abs(sum(splits.values()) - 1) <= 1e-6  # False for NaN
    if not sums_to_one or min(splits.values()) <= 0:
        raise ValueError(f"shares of splits must be positive and sum to 1, are {splits}")
    return splits
