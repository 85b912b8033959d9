"""Variants of one training compared: the file, the table, and the job as a user runs it."""

import numpy as np
import pytest

from cluster.job.command import parse
from factory.dataset.dataset import Dataset
from factory.domains.eye.pupil.finder import PupilFinder
from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.domains.eye.scoring import EyeScoring
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.evaluation.ablation import columns_of, load_variants, row_of
from factory.measures.two_sample import TwoSampleTest
from factory.networks.refiner_files import load_refiner
from factory.validation.held_out import HeldOutChoice
from jobs.ablate import AblateJob, main
from jobs.train import TrainJob
from jobs.train import main as train
from schemas.score import Score
from support import fakes
from support.fakes import score
from support.places import ROOT

SPLITS = {"train": 0.5, "test": 0.5}
VARIANTS = """
[train]
steps = 4
batch_size = 4
buffer_size = 8
refiner_pretrain_steps = 2
discriminator_pretrain_steps = 0
log_every = 1
strip_every = 4

[train.refiner]
maps = 4
blocks = 1

[variants."all of it"]

[variants."no history, global D"]
buffer_size = 0
discriminator.scope = "global"
"""


def test_the_file_of_the_repository_is_the_papers_ablation() -> None:
    variants = load_variants(ROOT / "configs" / "ablation.toml")
    whole, no_history, whole_image = variants.values()
    assert no_history == whole.model_copy(update={"buffer_size": 0})
    assert whole_image.discriminator.scope == "global" and whole_image.buffer_size
    assert whole_image.discriminator.layers == whole.discriminator.layers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nsteps = 3\n", r"no table \[variants\.NAME\]"),
        (VARIANTS + "[variants.wrong]\nlambda = 3\n", r"\[variants\.wrong\].*lambda"),
        (VARIANTS + "[variants.odd]\nbatch_size = 5\n", r"\[variants\.odd\].*even"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(tmp_path, text, message) -> None:
    (tmp_path / "v.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_variants(tmp_path / "v.toml")


def cells(*scores: Score) -> list[str]:
    return list(row_of("a", scores, columns_of(EyeScoring(PupilFinder(), TwoSampleTest()))).cells)


def test_a_row_has_the_mean_and_scatter_over_seeds() -> None:
    assert cells(score(0.4, 0.9), score(0.6, 1.0)) == [
        "9", "0.50 ± 0.14", "2.00 ± 0.00", "0.200 ± 0.000", "95.0% ± 7.1%"
    ]  # fmt: skip
    assert cells(score(0.4, 0.9))[1] == "0.40"
    assert cells(score(None, 0.9))[1] == "not measured"
    assert cells(score(None, 0.9), score(0.5, 0.9))[0] == "4"


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> tuple[Dataset, Dataset]:
    """60 renders of several people, and as many stand-ins for camera images."""
    folder = tmp_path_factory.mktemp("ablate")
    for name, seed in (("renders", 5), ("camera", 6)):
        drawn = EyeRenderer(height=240, width=320, seed=seed).render(range(160))
        write_renders(folder / name, drawn)
    for path in (folder / "camera").glob("*.json"):
        path.unlink()
    synthetic = fakes.ingest_here(
        folder / "renders", folder / "s", UnityEyesOptions(), shard_size=80, splits=SPLITS
    )
    real = fakes.ingest_here(
        folder / "camera", folder / "r", PicturesOptions(), shard_size=80, splits=SPLITS
    )
    return synthetic, real


@pytest.mark.slow
def test_the_held_out_images_are_of_their_split_and_named_by_their_digest(datasets) -> None:
    chosen, other = (HeldOutChoice.checked(*datasets, "test", num).load() for num in (40, 20))
    assert set(chosen.index["split"].to_pylist()) == {"test"} and len(chosen.real) == 40
    assert chosen.digest() == HeldOutChoice.checked(*datasets, "test", 40).load().digest()
    assert chosen.digest() != other.digest()
    with pytest.raises(ValueError, match="no split dev"):
        HeldOutChoice.checked(*datasets, "dev", 40)


@pytest.mark.ray
@pytest.mark.slow
def test_the_job_trains_scores_and_reports_once(shared_ray, datasets, tmp_path) -> None:
    (tmp_path / "variants.toml").write_text(VARIANTS)
    output = tmp_path / "out"
    options = {
        "variants": tmp_path / "variants.toml",
        "synthetic": datasets[0].location,
        "real": datasets[1].location,
        "output": output,
        "num-held-out": 60,
        "test.num-steps": 2,
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    job = parse(AblateJob, [*flags, "--seeds", "0", "--test.seeds", "0"])
    main(job)
    scores = {path: path.stat().st_mtime_ns for path in output.glob("*/seed-*/score.json")}
    assert {path.parent.parent.name for path in scores} == {"all-of-it", "no-history-global-d"}
    assert len(scores) == 2
    page = (output / "ablation.html").read_text()
    assert "no history, global D" in page and "not refined" in page
    assert page.count("data:image/png;base64,") == 3 and "http" not in page
    main(job)
    assert scores == {path: path.stat().st_mtime_ns for path in scores}  # nothing made twice
    with pytest.raises(ValueError, match="no split dev"):
        main(job.model_copy(update={"held_out": "dev"}))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_a_training_on_ray_has_its_refiners_scored_beside_it(
    shared_ray, datasets, tmp_path
) -> None:
    """And keeps the best; labels of the real domain decide which renders are drawn."""
    np.savez(tmp_path / "labels.npz", gaze_rad=np.random.default_rng(0).normal(0, 0.3, (200, 2)))
    options = {
        "synthetic": datasets[0].location,
        "real": datasets[1].location,
        "output": tmp_path / "run",
        "steps": 8,
        "batch-size": 4,
        "buffer-size": 8,
        "refiner-pretrain-steps": 2,
        "discriminator-pretrain-steps": 0,
        "refiner.maps": 4,
        "refiner.blocks": 1,
        "strip-every": 4,
        "validate-every": 8,
        "keep": "best",
        "num-held-out": 60,
        "target-labels": tmp_path / "labels.npz",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    job = parse(TrainJob, flags)
    train(job)
    scored = {path.parent.name: path for path in (tmp_path / "run").glob("scored/*/score.json")}
    assert set(scored) == {"00000008", "00000010"}
    _, described = load_refiner(tmp_path / "run")
    kept = [name for name, path in scored.items() if described.sha256 in path.read_text()]
    assert kept and described.step in [int(name) - 2 for name in kept]
    synthetic = described.lineage["synthetic"]
    assert isinstance(synthetic, dict) and synthetic["target_labels"]
    with pytest.raises(ValueError, match="no split dev"):
        train(job.model_copy(update={"held_out": "dev", "output": str(tmp_path / "other")}))
