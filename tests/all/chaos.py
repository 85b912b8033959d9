"""Ingest and refine on a cluster of several nodes while things are killed at random.

    python tests/all/chaos.py --trials 50 --seed 0 [--store s3|local|both]

Each trial runs both jobs as a user does, on one Ray cluster of three nodes, and at seeded random
times kills worker processes, actors, a node, the driver (which is then submitted again) and the
S3 gateway (which comes back); renders are added while ingests run, and in some trials two runs
overlap, leftovers of any age are removed under the runs' hands, committed tars are damaged and
repaired, and what is there is released. After it, both datasets are compared with undisturbed ones:
the same samples with the same labels and pixels, none lost, none twice, every tar verified, every
release whole, and nothing stray that `gc` does not list.

Not collected by pytest: `make chaos` runs it. The first trial that fails ends the run with its
seed, and keeps its folder.
"""

import argparse
import json
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from cluster.on_ray.pipeline import WORKER_NAME
from factory.dataset.children import open_children
from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_index
from factory.dataset.names import INDEX_PATTERN, plan_name, tar_name
from factory.dataset.shard_tasks import collect, run_here
from factory.dataset.tar import DamagedShardError
from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.refinement.card import refined_card
from factory.refinement.stages import refine_stages
from factory.release.latest import wrong_with_latest
from factory.release.pins import pinned_tars
from factory.release.run import make_latest
from factory.release.state import broken_releases
from factory.store.open import open_store
from factory.upkeep.garbage import clean, stray_objects
from factory.upkeep.verify import problems_of, verify_task
from support import fakes, planted, releases
from support.places import ROOT
from support.s3_servers import RGW_ROOT, RgwServer, rgw_server

log = logging.getLogger("chaos")
NUM_FIRST, NUM_LATER, SHARD_SIZE = 60, 30, 8
MAX_SUBMISSIONS = 8
"""of one job in one trial; each event can end one, and after the last event it must come through"""
LONGEST_S = 300.0
"""that one submission may take before it counts as hanging"""
EVENTS = ("worker", "actor", "node", "driver", "server", "grow", "overlap", "remove", "repair")
EVENTS_OF_REFINED = (*(kind for kind in EVENTS if kind != "grow"), "publish")
LABELS = ("source_id", "identity", "pupil_px", "gaze", "iris_px", "lid_px", "crop_affine", "extra")
_LAYOUT = re.compile(
    r"dataset\.json|plan/seen\.parquet|(runs|lease|children|reports|releases|withheld|cache)/.+"
)
LONG_AGO_S = 1e9
"""so far ahead of now that every file is old and every lease is over"""


class WrongDatasetError(AssertionError):
    """A dataset is not what an undisturbed run makes."""


@dataclass
class World:
    """What all trials share."""

    folder: Path
    first: Path
    """renders that are there from the start"""
    later: Path
    """renders that arrive while a trial runs"""
    refiner: Path
    synthetic: Dataset
    """undisturbed, of all renders"""
    refined: Dataset
    gateway: RgwServer | None
    nodes: "Nodes"


@dataclass
class Nodes:
    """A head without cores of its own, and two nodes of one core each."""

    cluster: Cluster
    workers: list = field(default_factory=list)

    def start(self) -> None:
        """See that there are two worker nodes; one goes with its agent, too, if that is killed."""
        for node in [node for node in self.workers if node.dead_processes()]:
            self.workers.remove(node)
            self.cluster.remove_node(node, allow_graceful=False)
        while len(self.workers) < 2:
            self.workers.append(self.cluster.add_node(num_cpus=1, object_store_memory=150 << 20))

    def kill_one(self, rng: random.Random) -> None:
        """A whole node goes, without a word, and another comes."""
        node = self.workers.pop(rng.randrange(len(self.workers)))
        self.cluster.remove_node(node, allow_graceful=False)
        self.start()

    def pids(self, title: str) -> list[int]:
        """Ray's worker processes whose title begins so, of this cluster."""
        pids = []
        raylets = {node.all_processes["raylet"][0].process.pid for node in self.workers}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent in raylets and (entry / "cmdline").read_bytes().startswith(
                    title.encode()
                ):
                    pids.append(int(entry.name))
        return sorted(pids)


@contextmanager
def world(stores: tuple[str, ...]) -> Iterator[World]:
    """Renders, a refiner, undisturbed datasets, a cluster, and the gateway where it is wanted."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    first, later, every = (folder / name for name in ("first", "later", "every"))
    renderer = EyeRenderer(height=120, width=160, seed=11)
    total = NUM_FIRST + NUM_LATER
    for target, numbers in (
        (first, range(NUM_FIRST)),
        (later, range(NUM_FIRST, total)),
        (every, range(total)),
    ):
        write_renders(target, renderer.render(numbers))
    # Ids are the file names, so the same render has the same id wherever it lies.
    refiner = fakes.save_tiny_refiner(folder / "refiner", seed=1)
    synthetic = fakes.ingest_here(
        every, folder / "synthetic", UnityEyesOptions(), shard_size=SHARD_SIZE
    )
    refined = Dataset.enter(folder / "refined", refined_card(synthetic, refiner, "refined"))
    stages = refine_stages(synthetic, refined, refiner, engine="ncnn")
    collect(run_here(stages, synthetic.committed()))
    try:
        with rgw_server(folder / "rgw") if "s3" in stores else _nothing() as gateway:
            if gateway is not None:  # nodes have the store's credentials in their environment
                os.environ.update(gateway.environment())
            with _nodes() as nodes:
                yield World(folder, first, later, refiner, synthetic, refined, gateway, nodes)
    except BaseException:
        log.error("kept: %s", folder)
        raise
    shutil.rmtree(folder)


@contextmanager
def _nodes() -> Iterator[Nodes]:
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 150 << 20}
    )
    try:
        nodes = Nodes(cluster)
        nodes.start()
        yield nodes
    finally:
        cluster.shutdown()


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


class Trial:
    """One run of both jobs, disturbed."""

    def __init__(self, world: World, seed: int, store: str):
        self.world, self.seed, self.store = world, seed, store
        self.rng = random.Random(seed)
        self.folder = world.folder / f"trial-{seed}"
        self.renders = self.folder / "renders"
        shutil.copytree(world.first, self.renders)
        root = f"s3://lab/trial-{seed}" if store == "s3" else str(self.folder)
        self.synthetic, self.refined = f"{root}/synthetic", f"{root}/refined"
        self.happened: list[str] = []
        self.environment = os.environ | {"RAY_ADDRESS": world.nodes.cluster.address}

    def run(self) -> None:
        """Raises `WrongDatasetError`."""
        self.grown, self.num_released, self.was_damaged = False, 0, False
        ingest = ("ingest", "--source", "unityeyes", "--input", self.renders,
                  "--output", self.synthetic, "--shard-size", SHARD_SIZE)  # fmt: skip
        refine = ("refine", "--input", self.synthetic, "--refiner", self.world.refiner,
                  "--output", self.refined, "--engine", "ncnn")  # fmt: skip
        self._disturbed(ingest, self._some(EVENTS))
        self._grow()
        self._repaired(self.synthetic, "--source-input", self.renders)
        self._disturbed(ingest, [])  # the next night's
        self._disturbed(refine, self._some(EVENTS_OF_REFINED))
        self._repaired(self.refined, "--refiner", self.world.refiner)
        self._disturbed(refine, [])
        check(self.world.synthetic, Dataset.open(self.synthetic), None)
        check(self.world.refined, Dataset.open(self.refined), Dataset.open(self.synthetic))
        if self.store == "local":
            shutil.rmtree(self.folder)

    def _some(self, events: tuple[str, ...]) -> list[str]:
        kinds = [kind for kind in events if kind != "server" or self.store == "s3"]
        return self.rng.sample(kinds, self.rng.randint(2, 4))

    def _repaired(self, location: str, *means: object) -> None:
        """Repair what was damaged on purpose, if anything was."""
        if self.was_damaged:
            self._disturbed(("repair", "--input", location, "--apply", *means), [])
        self.was_damaged = False

    def _output(self, command: tuple) -> Dataset | None:
        """The dataset that a command makes, once a shard of it is there."""
        location = self.synthetic if command[0] == "ingest" else self.refined
        with suppress(FileNotFoundError):
            dataset = Dataset.open(location)
            return dataset if dataset.committed() else None
        return None

    def _damage(self, dataset: Dataset) -> None:
        """Change a bit of a committed tar, and repair it beside the run."""
        shard = self.rng.choice(dataset.committed())
        name = fakes.tar_of(dataset, shard)
        dataset.store.put(name, planted.flipped(dataset.store.read(name), 900))
        self.was_damaged = True

    def _publish(self, dataset: Dataset) -> None:
        """Release what is there now."""
        number = f"20261121-{self.num_released:06d}-aaaa"
        with suppress(DamagedShardError):  # by us, and not yet repaired
            releases.release(dataset, f"r{self.num_released}", id=number)
            make_latest(dataset, f"r{self.num_released}", dataset)
        self.num_released += 1

    def _disturbed(self, command: tuple, kinds: list[str]) -> None:
        """Run a job to its end, submitting it again whenever it ends otherwise."""
        due = sorted((self.rng.uniform(2, 14), kind) for kind in kinds)
        started = time.monotonic()
        processes = [self._submit(command)]
        for _ in range(MAX_SUBMISSIONS):
            submitted = time.monotonic()
            while processes[0].poll() is None:
                if due and time.monotonic() - started >= due[0][0]:
                    at, kind = due.pop(0)
                    if self._do(kind, command, processes):
                        self.happened.append(f"{command[0]}: {kind}")
                    else:  # nothing there to kill yet
                        due.append((at + 0.5, kind))
                        due.sort()
                if time.monotonic() - submitted > LONGEST_S:
                    self._end(processes)
                    raise WrongDatasetError(f"{command[0]} hangs after {self.happened}")
                self.world.nodes.start()
                time.sleep(0.1)
            if processes[0].returncode == 0:
                break
            self.happened.append(f"{command[0]} ended with {processes[0].returncode}")
            processes[0] = self._submit(command)
        else:
            self._end(processes)
            raise WrongDatasetError(f"{command[0]} did not come through after {self.happened}")
        for process in processes[1:]:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LONGEST_S)
        self._end(processes)

    def _submit(self, command: tuple, *options: str) -> subprocess.Popen:
        job, *arguments = map(str, (*command, *options))
        with (self.folder / "log.txt").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, str(ROOT / "jobs" / f"{job}.py"), *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _do(self, kind: str, command: tuple, processes: list[subprocess.Popen]) -> bool:
        """Whether there was something to disturb."""
        nodes = self.world.nodes
        match kind:
            case "worker" | "actor":
                pids = nodes.pids(f"ray::{WORKER_NAME}" if kind == "actor" else "ray::")
                if not pids:
                    return False
                with suppress(ProcessLookupError):
                    os.kill(self.rng.choice(pids), signal.SIGKILL)
            case "node":
                nodes.kill_one(self.rng)
            case "driver":
                os.killpg(processes[0].pid, signal.SIGKILL)
                processes[0].wait()
            case "server":
                assert self.world.gateway is not None
                self.world.gateway.kill()
                time.sleep(self.rng.uniform(0.5, 4))
                self.world.gateway.back()
            case "grow":
                self._grow()
            case "overlap":
                processes.append(self._submit(command, "--overlap"))
            case "remove" | "repair" | "publish":
                dataset = self._output(command)
                if dataset is None:
                    return False
                match kind:
                    case "remove":
                        remove_all(dataset)
                    case "repair":
                        self._damage(dataset)
                        means = (
                            ("--source-input", self.renders)
                            if command[0] == "ingest"
                            else ("--refiner", self.world.refiner)
                        )
                        repair = ("repair", "--input", dataset.location, "--apply")
                        processes.append(self._submit((*repair, *means)))
                    case "publish":
                        self._publish(dataset)
        return True

    def _grow(self) -> None:
        if not self.grown:
            self.grown = True
            for path in sorted(self.world.later.iterdir()):
                shutil.copy2(path, self.renders)

    def _end(self, processes: list[subprocess.Popen]) -> None:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def remove_all(dataset: Dataset) -> list[str]:
    """Remove what belongs to nothing, as if it were old and nobody at work; gives what became."""
    children = partial(open_children, dataset, (), may_be_out_of_reach=False)
    strays = stray_objects(dataset, children, older_than_s=0, now_s=time.time() + LONG_AGO_S)
    # An unfinished release would be dropped, and its publish fail, as it should.
    strays = [stray for stray in strays if "release" not in stray.kind]
    return [f"{stray.name} {stray.became}" for stray in clean(dataset, strays)]


def check(undisturbed: Dataset, ours: Dataset, parent: Dataset | None) -> None:
    """Compare a dataset with the one that nothing disturbed.

    Raises:
        WrongDatasetError: says in what.
    """
    expected, actual = (by_source(dataset) for dataset in (undisturbed, ours))
    if len(actual) != len(set(actual)) or sorted(actual) != sorted(expected):
        raise WrongDatasetError(f"{ours.location}: {len(actual)} samples, expected {len(expected)}")
    for source_id, row in expected.items():
        if actual[source_id] != row:
            raise WrongDatasetError(f"{ours.location}: {source_id} is not what it should be")
    if ours.committed() != list(range(len(ours.committed()))):
        raise WrongDatasetError(f"{ours.location}: shards {ours.committed()}")
    if parent is not None and ours.committed() != parent.committed():
        raise WrongDatasetError(f"{ours.location}: not the shards of its parent")
    problems = problems_of(run_here(verify_task(ours, parent), ours.committed()))
    if problems:
        raise WrongDatasetError(f"{ours.location}: {problems}")
    broken = broken_releases(ours)
    if broken:
        raise WrongDatasetError(f"{ours.location}: {broken}")
    wrong = wrong_with_latest(ours)
    if wrong is not None:
        raise WrongDatasetError(f"{ours.location}: releases/latest.json {wrong}")
    listed = {stray.name for stray in stray_objects(ours)}
    unlisted = {name for name in strangers(ours)} - listed
    if unlisted:
        raise WrongDatasetError(f"{ours.location}: gc does not list {sorted(unlisted)}")
    remove_all(ours)
    left = strangers(ours) - set(pinned_tars(ours))
    if left:
        raise WrongDatasetError(f"{ours.location}: gc --delete leaves {sorted(left)}")
    broken = broken_releases(ours)
    if broken:
        raise WrongDatasetError(f"{ours.location}: {broken}")


def by_source(dataset: Dataset) -> dict[str, str]:
    """Labels and pixels of each sample by its input; an input that is there twice raises."""
    table = load_index(dataset, [*LABELS, "png_sha256"])
    rows: dict[str, str] = {}
    for row in table.to_pylist():
        if row["source_id"] in rows:
            raise WrongDatasetError(f"{dataset.location}: {row['source_id']} is there twice")
        rows[row["source_id"]] = json.dumps(row, sort_keys=True)
    return rows


def strangers(dataset: Dataset) -> set[str]:
    """Objects that belong to no committed shard, told by their names alone."""
    own = {"dataset.json"}
    for facts in dataset.all_facts(dataset.committed()):
        own |= {plan_name(facts.shard), tar_name(facts)}
        own |= {facts.rejects} if facts.rejects is not None else set()
    names = {entry.name for entry in open_store(dataset.location).walk()}
    others = (name for name in names - own if not INDEX_PATTERN.fullmatch(name))
    return {name for name in others if not _LAYOUT.fullmatch(name)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the first trial; the next is +1")
    parser.add_argument("--store", choices=("local", "s3", "both"), default="both")
    parser.add_argument("--minutes", type=float, help="begin no trial after so many")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    stores = ("s3", "local") if args.store == "both" else (args.store,)
    if "s3" in stores and not (RGW_ROOT / "usr/bin/radosgw").is_file():
        if args.store == "s3":
            parser.error(f"no S3 gateway in {RGW_ROOT}; `make rgw` gets it")
        log.info("no S3 gateway in %s (`make rgw` gets it): trials on local disk only", RGW_ROOT)
        stores = ("local",)
    started = time.monotonic()
    num_done, num_events = 0, 0
    with world(stores) as shared:
        for number in range(args.trials):
            if args.minutes is not None and time.monotonic() - started > 60 * args.minutes:
                break
            trial = Trial(shared, args.seed + number, stores[number % len(stores)])
            began = time.monotonic()
            try:
                trial.run()
            except WrongDatasetError:
                log.error("trial %d (%s) failed after %s", trial.seed, trial.store, trial.happened)
                raise
            num_done += 1
            num_events += len(trial.happened)
            log.info(
                "trial %d (%s): right after %s; %.0f s",
                trial.seed,
                trial.store,
                ", ".join(trial.happened),
                time.monotonic() - began,
            )
    ray.shutdown()
    log.info("%d trials, %d disturbances, every dataset right", num_done, num_events)


if __name__ == "__main__":
    main()
