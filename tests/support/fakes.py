"""Stand-ins, and inputs whose truth is known because they were made here.

Importable by workers. Nothing here uses the code under test to make its truth. PyTorch is imported
where it is needed, because every test process loads this file.
"""

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pyarrow as pa
import scipy.io

from factory.dataset.dataset import Dataset
from factory.dataset.known_facts import known_facts
from factory.dataset.names import version_of
from factory.dataset.session import SessionHere
from factory.dataset.shard_tasks import MakeTask, Stage, collect, run_here
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.registry import domain_of_source, make_source
from factory.ingestion.ledger import containers_in, read_seen
from factory.ingestion.planning import NONE_VANISHED, Planned, plan_new_shards
from factory.ingestion.rejects import vanished_inputs
from factory.ingestion.shards import ShardIngester, ingest_task, ingested_card
from factory.sources.base import Source, SourceOptions
from factory.sources.input_table import InputTable
from factory.store.base import Store
from schemas.dataset import ImageSpec
from schemas.index import ShardFacts
from schemas.outcome import Outcome
from schemas.realism import ClosedShare, Distance
from schemas.refiner import RefinerConfig, RefinerDescription
from schemas.report import Spread, TwoSample
from schemas.score import Score

if TYPE_CHECKING:
    from factory.networks.refiner import Refiner

SHA = "0" * 64


# --- the jobs without Ray ---------------------------------------------------------------------


def make_shards_here(
    what: str, task: MakeTask | Sequence[Stage], shards: Sequence[int], num_samples: int
) -> list[Outcome]:
    """A `MakeShards` that makes one shard after the other in this process."""
    return collect(run_here(task, shards))


def plan_here(
    renders: Path,
    output: Path,
    options: SourceOptions,
    shard_size: int = 5,
    splits: Mapping[str, float] | None = None,
    **planning: Any,
) -> Dataset:
    """What the ingest job does before it builds shards."""
    source = make_source(renders, options)
    kind = domain_of_source(source.name).sample_kind
    card = ingested_card(
        kind, f"{kind.name}s", source, shard_size=shard_size, splits=splits or {"train": 1}
    )
    dataset = Dataset.enter(output, card)
    vanished = vanished_inputs(dataset, known_facts(dataset))
    plan_from(dataset, make_source(renders, options), vanished=vanished, **planning)
    return dataset


def scanned(source: Source) -> tuple[list[str], list[str]]:
    """Ids of the inputs in natural order, and what is said of containers that cannot be read."""
    with InputTable(source.scan({})) as inputs:
        ids = inputs.in_natural_order()["id"].to_pylist()
        return ids, [c.problem for c in inputs.containers if c.problem is not None]


def plan_from(
    dataset: Dataset,
    source: Source,
    *,
    vanished: Mapping[str, str] = NONE_VANISHED,
    **planning: Any,
) -> Planned:
    """List a source and plan what is new."""
    seen = containers_in(read_seen(dataset.store), source.location, without=vanished)
    with InputTable(source.scan(seen)) as inputs:
        return plan_new_shards(dataset, source, inputs, vanished=vanished, **planning)


def build_here(dataset: Dataset, renders: Path, options: SourceOptions) -> None:
    """Build what is planned and not committed, one shard after the other."""
    missing = sorted(set(dataset.planned()) - set(dataset.committed()))
    collect(run_here(ingest_task(dataset, make_source(renders, options)), missing))


def build_shard(dataset: Dataset, inputs: Path) -> None:
    """Build shard 0 of renders, whatever is there already."""
    build_again(dataset, inputs, 0)


def build_again(dataset: Dataset, inputs: Path, shard: int) -> None:
    """Build a shard of renders, whatever is there already."""
    ShardIngester(dataset, make_source(inputs, UnityEyesOptions()))(shard)


@dataclass(frozen=True)
class SeenShard:
    """A committed shard as readers see it: without the names of its files."""

    tar: bytes
    rows: pa.Table
    rejects: pa.Table | None
    facts: ShardFacts


def committed_shards(dataset: Dataset) -> dict[int, SeenShard]:
    """What is committed, by shard."""
    unnamed = {"generation": 1, "tar": None, "rejects": None}
    seen = {}
    for shard in dataset.committed():
        rows, facts = dataset.index_and_facts(shard)
        has_rejects = dataset.card.parent is None
        seen[shard] = SeenShard(
            dataset.tar(shard),
            rows,
            dataset.rejects(shard) if has_rejects else None,
            facts.model_copy(update=unnamed),
        )
    return seen


def newest(store: Store, folder: str, shard: int) -> str:
    """Name of the newest file of a shard in `shards` or `rejected`, whatever its index says."""
    generations = {}
    for entry in store.entries(folder):
        version = version_of(entry.name)
        if version is not None and version.shard == shard:
            generations[entry.name] = version.generation
    return max(generations, key=lambda name: generations[name])


def tar_of(dataset: Dataset | Store, shard: int) -> str:
    """Name of a shard's tar."""
    return newest(getattr(dataset, "store", dataset), "shards", shard)


def rejects_of(dataset: Dataset | Store, shard: int) -> str:
    """Name of a shard's record of rejected inputs."""
    return newest(getattr(dataset, "store", dataset), "rejected", shard)


call_here = SessionHere().side_by_side
"""a `SideBySide` that makes one call after the other"""


def ingest_here(renders: Path, output: Path, options: SourceOptions, **planning: Any) -> Dataset:
    """The ingest job in this process."""
    dataset = plan_here(renders, output, options, **planning)
    build_here(dataset, renders, options)
    return dataset


def failed(shard: int, error: Exception) -> Outcome:
    """What a worker reports of a shard that it could not make."""
    return Outcome(shard=shard, error=f"{type(error).__name__}: {error}")


def refine_here(
    parent: Dataset,
    refiner: Path,
    output: Path,
    *,
    seed: int | None = None,
    noise_seed: int | None = None,
) -> Dataset:
    """The refine job in this process, its shards shuffled by `seed`."""
    from factory.refinement.card import refined_card
    from factory.refinement.shards import missing_shards
    from factory.refinement.stages import refine_stages

    card = refined_card(parent, refiner, "refined", noise_seed=noise_seed)
    child = Dataset.enter(output, card)
    shards = missing_shards(parent, child)
    if seed is not None:
        random.Random(seed).shuffle(shards)
    task = refine_stages(parent, child, refiner, batch_size=4)
    collect(run_here(task, shards))
    return child


def save_mild_refiner(folder: Path) -> Path:
    """A refiner that lowers the contrast of an image and changes nothing else."""
    from factory.networks.refiner import Refiner

    refiner = Refiner(RefinerConfig(maps=4, blocks=1), seed=1)
    refiner.initialise_as_identity(slope=0.7)
    return _save_refiner(folder, refiner)


def save_tiny_refiner(folder: Path, seed: int, noise_channels: int = 0) -> Path:
    """A refiner of 4 maps and 1 block with random weights, written as training writes it."""
    from factory.networks.refiner import Refiner

    config = RefinerConfig(maps=4, blocks=1, noise_channels=noise_channels)
    return _save_refiner(folder, Refiner(config, seed=seed))


def _save_refiner(folder: Path, refiner: "Refiner") -> Path:
    from factory.networks.refiner_files import save_refiner

    described = RefinerDescription(
        domain="eye",
        image=ImageSpec(height=35, width=55),
        architecture=refiner.config,
        weights="last",
        sha256=SHA,
        step=1,
        train={},
        config=SHA,
    )
    save_refiner(folder, refiner, described)
    return folder


# --- UnityEyes pairs of known geometry --------------------------------------------------------


@dataclass(frozen=True)
class EyeGeometry:
    """An eye in a picture: image coordinates, y down."""

    width: int = 320
    height: int = 240
    inner_xy: tuple[float, float] = (130.0, 124.0)
    """mean of the caruncle"""
    outer_xy: tuple[float, float] = (194.0, 118.0)
    iris_xy: tuple[float, float] = (160.0, 119.0)
    iris_radius_px: float = 13.0

    def points(self) -> dict[str, np.ndarray]:
        """The landmarks of a UnityEyes label, (n, 2), y down."""
        inner, outer = np.array(self.inner_xy), np.array(self.outer_xy)
        middle, across = (inner + outer) / 2, (outer - inner) / 2
        up = np.array([across[1], -across[0]]) * 0.4
        turn = np.pi * (1 - np.arange(16) / 8)  # 0 at the inner corner, 8 at the outer one
        lid = middle + np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * up
        round_7 = 2 * np.pi * np.arange(7) / 7
        round_32 = 2 * np.pi * np.arange(32) / 32
        return {
            "interior_margin_2d": lid,
            "caruncle_2d": inner + 3 * np.stack([np.cos(round_7), np.sin(round_7)], -1),
            "iris_2d": np.array(self.iris_xy)
            + self.iris_radius_px * np.stack([np.cos(round_32), np.sin(round_32)], -1),
        }


def unityeyes_label(geometry: EyeGeometry = EyeGeometry()) -> dict[str, Any]:
    """A label as UnityEyes writes it: strings all through, y up."""
    label: dict[str, Any] = {
        name: [f"({x:.4f}, {geometry.height - y:.4f}, 9.8000)" for x, y in points]
        for name, points in geometry.points().items()
    }
    return label | {
        "eye_details": {
            "look_vec": "(0.1000, 0.2000, -0.9747, 0.0000)",
            "pupil_size": "-0.126976",
            "iris_size": "0.9441441",
            "iris_texture": "eyeball_brown",
        },
        "lighting_details": {"skybox_texture": "bergen_2k", "skybox_exposure": "1.1E-17"},
        "eye_region_details": {"primary_skin_texture": "m04_color"},
        "head_pose": "(350.0000, 190.0000, 0.0000)",
    }


def grey_picture(seed: int = 0) -> np.ndarray:
    """A smooth picture of the size of the usual geometry, different for each seed."""
    geometry = EyeGeometry()
    noise = np.random.default_rng(seed).integers(0, 255, (12, 16)).astype(np.uint8)
    return cv2.resize(noise, (geometry.width, geometry.height), interpolation=cv2.INTER_CUBIC)


def jpeg(image: np.ndarray, quality: int = 92) -> bytes:
    """JPEG bytes of a grey or BGR picture."""
    done, buffer = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return bytes(buffer)


def write_pair(
    folder: Path,
    stem: str,
    *,
    image: bytes | None = None,
    label: Any = None,
    seed: int = 0,
) -> None:
    """`stem.jpg` and `stem.json`; bytes are written as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    label = unityeyes_label() if label is None else label
    raw = label if isinstance(label, bytes) else json.dumps(label, indent=2).encode()
    (folder / f"{stem}.jpg").write_bytes(jpeg(grey_picture(seed=seed)) if image is None else image)
    (folder / f"{stem}.json").write_bytes(raw)


# --- MPIIGaze ---------------------------------------------------------------------------------


def mpiigaze_day(
    path: Path,
    right: tuple[np.ndarray, np.ndarray, np.ndarray],
    left: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """A `.mat` file with the structure of MPIIGaze's normalised set.

    Args:
        right, left: images (n, 36, 60) uint8, gazes (n, 3), poses (n, 3).
    """
    names = np.empty((len(right[0]), 1), dtype=object)
    names[:, 0] = [f"{row:04d}.jpg" for row in range(len(right[0]))]
    sides = {
        side: {"gaze": gaze, "image": image, "pose": pose}
        for side, (image, gaze, pose) in (("right", right), ("left", left))
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"data": sides, "filenames": names})


# --- looking at what came out -----------------------------------------------------------------


def files_below(folder: Path, *prefixes: str) -> dict[str, bytes]:
    """Content of every file below some sub-folders, by relative name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for prefix in prefixes
        for path in sorted((folder / prefix).rglob("*"))
        if path.is_file()
    }


def unit(yaw_rad: float, pitch_rad: float) -> tuple[float, float, float]:
    """The camera-frame gaze vector of two angles, by the inverse of docs/conventions.md."""
    level = math.cos(pitch_rad)
    return -level * math.sin(yaw_rad), -math.sin(pitch_rad), -level * math.cos(yaw_rad)


def score(drift_px: float | None, accuracy: float, share: float | None = None) -> Score:
    """A refiner's score with this median drift, two-sample accuracy and closed share."""
    spread = None
    if drift_px is not None:
        spread = Spread(num=9, mean=1.0, sd=0.1, median=drift_px, p95=2.0)
    two_sample = TwoSample(
        accuracy=accuracy, low=0.1, high=1.0, num_train=20, num_test=20, seeds=(0,)
    )
    closed = None
    if share is not None:
        closed = ClosedShare(
            share=Distance(value=share, low=share - 0.1, high=share + 0.1), why_not=None
        )
    return Score(
        num_samples=40,
        drift_px=spread,
        mean_abs_delta=0.2,
        two_sample=two_sample,
        closed_share=closed,
    )
