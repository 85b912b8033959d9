"""Datasets of one shard, those who work on them at once, and what must hold in every state."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pytest
from orjson import loads as parse

from factory.dataset import commit
from factory.dataset.children import register_child, registered_children
from factory.dataset.commit import commit_shard
from factory.dataset.dataset import Dataset, Replaced
from factory.dataset.names import index_name, rejects_name, tar_name
from factory.dataset.shard_tasks import collect, run_here
from factory.dataset.tar import PackedSample, sha256
from factory.images.png import decode_png, encode_png
from factory.ingestion.shards import expected_of
from factory.refinement.card import refined_card
from factory.refinement.shards import ShardCommitter, ShardReader, missing_shards
from factory.release import pins, publish
from factory.release.state import read_manifest, release_names, tar_of_dataset
from factory.upkeep import garbage
from factory.upkeep.repair import apply_repairs, repairs_for
from factory.upkeep.verify import problems_of, verify_task
from schemas.dataset import DatasetCard, Reject
from schemas.outcome import Outcome
from support import fakes, planted, releases
from support.exploration import Actor, Moment


@dataclass(frozen=True)
class Scene:
    """A dataset of one planned shard, and what makes the shard."""

    planned: Dataset
    samples: tuple[PackedSample, ...]
    rejects: tuple[Reject, ...]

    def others(self) -> "Scene":
        """As a machine makes it that rounds differently and could not read the last input."""
        *samples, last = (
            replace(sample, png=encode_png(decode_png(sample.png) | 1)) for sample in self.samples
        )
        source_id = expected_of(self.planned.plan(0)).source_ids[last.key]
        vanished = Reject(key=last.key, source_id=source_id, kind="reject", reason="vanished")
        return Scene(self.planned, tuple(samples), (*self.rejects, vanished))

    def outcome(self, dataset: Dataset) -> Outcome:
        expected = expected_of(self.planned.plan(0))
        facts = commit_shard(dataset, expected, self.samples, self.rejects)
        return Outcome(shard=0, num_samples=facts.num_samples)

    # --- actors ---

    def writer(self, dataset: Dataset) -> str:
        self.outcome(dataset)
        return "committed"

    def repairer(self, dataset: Dataset) -> str:
        return self._repair(dataset, _Again(dataset, self))

    def withdrawer(self, dataset: Dataset) -> str:
        self._repair(dataset, None)
        return "withdrawn"

    def _repair(self, dataset: Dataset, means: Any) -> str:
        problems = problems_of(collect(run_here(verify_task(dataset, None), dataset.committed())))
        repairs = repairs_for(dataset, problems, means=means, parent=None, withdraw_stale=False)
        apply_repairs(
            dataset, repairs, means=means, parent=None, children=(),
            make_shards=fakes.make_shards_here,
        )  # fmt: skip
        return "repaired"


@dataclass
class _Again:
    """What a damaged shard is made from, for the repair."""

    dataset: Dataset
    scene: Scene

    def obstacle(self, shard: int) -> str | None:
        return None

    def task(self, replaced: Any) -> Callable[[], Callable[[int], Outcome]]:
        return lambda: lambda shard: self.scene.outcome(self.dataset.replacing(replaced))


@dataclass(frozen=True)
class Refining:
    """A child of the dataset, in a folder of it."""

    card: DatasetCard

    def child(self, dataset: Dataset) -> Dataset:
        return Dataset(dataset.store.within("child"), self.card)  # type: ignore[attr-defined]

    def refiner(self, dataset: Dataset) -> str:
        """Refine what is there and not refined yet, by a network that changes nothing."""
        child = self.child(dataset)
        register_child(dataset, child)
        for shard in missing_shards(dataset, child):
            pixels = replace(ShardReader(dataset)(shard), engine="none")
            ShardCommitter(dataset, child)(pixels)
        return "refined"

    def collector(self, dataset: Dataset) -> str:
        return collector(dataset, lambda: [self.child(dataset)] * len(_registered(dataset)))


def _registered(dataset: Dataset) -> list[str]:
    return list(registered_children(dataset))


def collector(dataset: Dataset, children: Callable[[], list[Dataset]] = list) -> str:
    """Remove what belongs to nothing, however young it is."""
    strays = garbage.stray_objects(dataset, children, older_than_s=0, now_s=1e9)
    return ", ".join(f"{stray.name} {stray.became}" for stray in garbage.clean(dataset, strays))


def withdrawer(dataset: Dataset) -> str:
    """Withdraw a shard in its first generation, whatever it is like."""
    commit.withdraw(dataset, 0, 1, "a test")
    return "withdrawn"


def publisher(dataset: Dataset) -> str:
    publish.publish(dataset, "r1", releases.REPORT_ID)
    return "released"


def abandoner(dataset: Dataset) -> str:
    if dataset.store.size(pins.intent_name("r1")) is not None:
        pins.drop_unfinished(dataset, "r1", "a test")
    return "abandoned"


@pytest.fixture(scope="session")
def scene(six_inputs, one_shard, tmp_path_factory) -> Scene:
    output = tmp_path_factory.mktemp("explored") / "eyes"
    planned = fakes.plan_here(six_inputs, output, planted.OPTIONS, shard_size=6)
    rejects = (Reject.model_validate(row) for row in one_shard.rejects(0).to_pylist())
    return Scene(planned, tuple(one_shard.samples(0)), tuple(rejects))


@pytest.fixture(scope="session")
def committed_scene(scene, tmp_path_factory) -> Dataset:
    dataset = planted.copied(scene.planned, tmp_path_factory.mktemp("committed") / "eyes")
    scene.writer(dataset)
    releases.put_report(dataset)
    return dataset


# --- invariants ---------------------------------------------------------------------------------


class State(NamedTuple):
    """What the invariants look at from one state to the next."""

    is_committed: bool
    is_released: bool
    is_refined: bool
    records: frozenset[tuple[str, bytes]]


NOTHING = State(False, False, False, frozenset())


class Invariants:
    """What must hold in every state."""

    def __init__(
        self,
        scene: Scene,
        *,
        damaged: str | None = None,
        withdrawal: bool = False,
        refining: Refining | None = None,
    ):
        self.refining = refining
        self.keys = list(expected_of(scene.planned.plan(0)).keys)
        self.damaged, self.withdrawal = damaged, withdrawal
        """name of the tar that is damaged to begin with; whether a withdrawal was asked for"""
        self._known: dict[int, State] = {}

    def __call__(self, moment: Moment) -> "State":
        memory = moment.dataset.store.memory  # type: ignore[attr-defined]
        if memory.digest not in self._known:
            self._known[memory.digest] = State(
                self._shard(moment.dataset),
                self._release(moment.dataset),
                self.refining is not None and self._child(self.refining.child(moment.dataset)),
                frozenset(item for item in memory.objects.items() if item[0].startswith("index/")),
            )
        is_committed, is_released, is_refined, records = state = self._known[memory.digest]
        was_committed, was_released, was_refined, before = moment.before or NOTHING
        assert before <= records, "a record of a generation was changed or removed"
        if was_committed and not self.withdrawal:
            assert is_committed, "a committed shard disappeared"
        assert is_released or not was_released, "a release disappeared"
        assert is_refined or not was_refined, "a refined shard disappeared"
        for result in moment.results:
            if result == "committed" and not self.withdrawal:
                assert is_committed, "a writer said that it was done"
            if result == "repaired" and self.damaged is not None:
                assert tar_name(moment.dataset.facts(0)) != self.damaged, "nothing was repaired"
            if result == "refined" and not self.withdrawal:
                assert is_refined, "a refining said that it was done"
            if result == "released":
                assert is_released, "a publish said that it was done"
        return state

    def _shard(self, dataset: Dataset) -> bool:
        if not dataset.committed():
            return False
        rows, facts = dataset.index_and_facts(0)
        if tar_name(facts) == self.damaged:
            return True
        try:
            tar = dataset.store.read(tar_name(facts))
            assert sha256(tar) == facts.tar_sha256, "a tar is not the one of its index"
            rejected = dataset.rejects_in(rejects_name(facts))["key"].to_pylist()
        except FileNotFoundError as error:
            raise AssertionError(f"a file of the shard is gone: {error}") from error
        keys = rows["key"].to_pylist()
        assert sorted([*keys, *rejected]) == self.keys, "inputs are not in exactly one place"
        assert [sample.key for sample in dataset.samples(0)] == keys
        return True

    def _child(self, child: Dataset) -> bool:
        """Whether the refined shard is there; it is whole, and of one version of its parent."""
        if not child.committed():
            return False
        facts = child.facts(0)
        parents = {parse(sample.json)["refined"]["parent"] for sample in child.samples(0, facts)}
        assert parents == {facts.parent_sha256}
        return True

    def _release(self, dataset: Dataset) -> bool:
        if release_names(dataset) != ["r1"]:
            return False
        manifest = read_manifest(dataset, "r1")
        for shard in manifest.shards:
            name = tar_of_dataset(shard)
            assert name is not None
            content = dataset.store.memory.objects.get(name)  # type: ignore[attr-defined]
            assert content is not None, f"a release lost {name}"
            assert sha256(content) == shard.sha256
        for part in manifest.index_parts:
            index = dataset.store.memory.objects.get(f"releases/r1/{part.url}")  # type: ignore[attr-defined]
            assert index is not None, "a release lost its index"
            assert sha256(index) == part.sha256
        return True


def with_tar(dataset: Dataset, location: Any, change: Callable[[bytes], bytes]) -> Dataset:
    """A copy whose tar is damaged."""
    damaged = planted.copied(dataset, location)
    name = fakes.tar_of(damaged, 0)
    damaged.store.put(name, change(damaged.store.read(name)))
    return damaged


@pytest.fixture
def scenes(
    scene, committed_scene, refiner, tmp_path, repeatable
) -> dict[str, tuple[Dataset, list[Actor], Invariants]]:
    """What the actors begin with, who they are, and what must hold, by name."""
    other = scene.others()
    damaged = with_tar(committed_scene, tmp_path / "damaged", lambda tar: tar[:3000])
    orphaned = planted.copied(committed_scene, tmp_path / "orphaned")
    orphaned.store.delete(index_name(0))
    tar = fakes.tar_of(damaged, 0)
    sound, broken = Invariants(scene), Invariants(scene, damaged=tar)
    withdrawn = Invariants(scene, damaged=tar, withdrawal=True)
    asked = Invariants(scene, withdrawal=True)
    refining = Refining(refined_card(committed_scene, refiner, "refined"))
    refined = Invariants(scene, refining=refining)
    again = {0: Replaced(1, fakes.tar_of(committed_scene, 0))}

    def replacing(dataset: Dataset) -> str:
        """Put another version in the place of the shard, as a repair does."""
        return other.writer(dataset.replacing(again))

    return {
        "two writers": (scene.planned, [scene.writer, other.writer], sound),
        "writer, removal": (scene.planned, [scene.writer, collector], sound),
        "writer, removal of a dead one's": (orphaned, [other.writer, collector], sound),
        "two repairs": (damaged, [scene.repairer, other.repairer], broken),
        "repair, removal": (damaged, [scene.repairer, collector], broken),
        "withdrawal, writer": (damaged, [scene.withdrawer, other.writer], withdrawn),
        "publish, removal": (committed_scene, [publisher, collector], sound),
        "publish, abandoning": (committed_scene, [publisher, abandoner], sound),
        "refining, repair, removal": (
            committed_scene,
            [refining.refiner, replacing, refining.collector],
            refined,
        ),
        "two refinings": (committed_scene, [refining.refiner, refining.refiner], refined),
        "two writers, removal": (scene.planned, [scene.writer, other.writer, collector], sound),
        "publish, withdrawal, removal": (
            committed_scene,
            [publisher, withdrawer, collector],
            asked,
        ),
    }
