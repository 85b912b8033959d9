"""A domain of which the repository knows nothing goes through the whole chain:
tests/support/coins.py adds a source, a schema, a validator and a configuration, and changes
nothing."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import webdataset

from cluster.on_ray.training import train_on_ray
from factory.dataset import kinds
from factory.dataset.dataset import Dataset
from factory.dataset.kinds import GROUP, known_kinds
from factory.dataset.loading import load_images
from factory.domains.base import Domain, MissingHookError, NoOptions
from factory.domains.registry import domain_named, domain_of, known_domains
from factory.evaluation.ablation_run import Ablation, AblationConfig
from factory.measures.two_sample import TwoSampleTest
from factory.networks.refiner_files import load_refiner
from factory.release.publish import publish
from factory.training.run import train_on_datasets
from factory.training.scores import HeldOutScoring, ScorerHere
from factory.upkeep.describe import describe
from factory.validation.gate import load_gate
from factory.validation.held_out import rank_of
from factory.validation.pairs import open_trio
from factory.validation.report.assemble import make_report, summary_lines, write_report
from factory.validation.sampling import shards_of
from factory.validation.settings import ValidationSettings
from factory.validation.shard_measures import ShardMeasurer
from schemas.base import FormatError
from schemas.score import Score, ScoreRecord
from support import fakes
from support.coins import COIN_DOMAIN, CoinDomain, CoinOptions, CoinReport, strike
from support.places import ROOT
from support.trainers import small_config, train_here

GATE = """
[[limit]]
measure = "centre_drift.median"
at_most = 1.0
why = "labels must stay on the coin"

[[sample]]
measure = "centre_drift_px"
at_most = 8.0
max_share = 0.1
why = "a coin that jumped has no true label"
"""


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setitem(known_domains(), "coin", COIN_DOMAIN)
    monkeypatch.setitem(known_kinds(), "coin", COIN_DOMAIN.sample_kind)


@dataclass(frozen=True)
class Chain:
    synthetic: Dataset
    real: Dataset
    refined: Dataset


@pytest.fixture
def chain(known, tmp_path) -> Chain:
    renders = strike(tmp_path / "renders", 48, camera=False)
    photos = strike(tmp_path / "photos", 48, camera=True, seed=1)
    (renders / "9.png").write_bytes(b"not a picture")
    synthetic = fakes.ingest_here(renders, tmp_path / "synthetic", CoinOptions(), shard_size=16)
    real = fakes.ingest_here(photos, tmp_path / "real", CoinOptions(kind="real"), shard_size=16)
    config = small_config(refiner_init="identity")
    images = [load_images(dataset, dataset.committed()) for dataset in (synthetic, real)]
    train_here(config, images, tmp_path / "run", domain="coin")
    return Chain(
        synthetic, real, fakes.refine_here(synthetic, tmp_path / "run", tmp_path / "refined")
    )


@pytest.mark.slow
def test_coins_go_through_the_whole_chain(chain, tmp_path):
    assert [len(chain.synthetic.index(shard)) for shard in (0, 1, 2)] == [15, 16, 16]
    trio = open_trio(chain.refined.location, chain.real.location)
    validator = domain_of(trio.refined).validator()
    (tmp_path / "gate.toml").write_text(GATE)
    gate = load_gate(tmp_path / "gate.toml", validator.report)
    settings = ValidationSettings(test=TwoSampleTest(seeds=(0,), num_steps=5))
    witnesses = validator.witnesses(trio.refined, trio.parent, {}, NoOptions())
    shards = shards_of(trio.refined, None)
    for shard in shards:
        ShardMeasurer(trio.refined, trio.parent, witnesses.measurer())(shard)
    examined = validator.examine(
        trio,
        shards,
        None,
        witnesses,
        settings,
        NoOptions(),
        fakes.call_here,
    )
    report, verdicts = make_report(trio, "r1", shards, validator, examined, gate)
    write_report(trio, report, verdicts, examined, ())
    assert isinstance(report, CoinReport) and report.num_samples == 47
    assert report.passed, summary_lines(report, validator)
    publish(trio.refined, "first", "r1")
    shard = tmp_path / "refined" / fakes.tar_of(chain.refined, 0)
    samples = list(webdataset.WebDataset(str(shard), shardshuffle=False, empty_check=False))
    labels = chain.refined.index(0)["centre_px"].to_pylist()
    assert len(samples) == len(labels) == 15
    assert all(np.shape(centre) == (2,) for centre in labels)


@pytest.fixture
def split_coins(known, tmp_path) -> tuple[Dataset, Dataset]:
    """Renders and photos with a part that no training sees."""
    made = []
    for kind, seed in (("synthetic", 2), ("real", 3)):
        folder = strike(tmp_path / f"{kind}-coins", 160, camera=kind == "real", seed=seed)
        splits = {"train": 0.5, "test": 0.5}
        options = CoinOptions(kind=kind)
        made.append(fakes.ingest_here(folder, tmp_path / kind, options, splits=splits))
    return made[0], made[1]


@pytest.mark.slow
def test_refiners_of_coins_are_scored_while_they_train(split_coins, tmp_path):
    test = TwoSampleTest(seeds=(0,), num_steps=2)
    scorer = ScorerHere(HeldOutScoring.of(*split_coins, "test", 40, test))
    config = small_config(refiner_init="identity", validate_every=4, keep="best")
    places = [dataset.location for dataset in split_coins]
    run = tmp_path / "run"
    train_on_datasets(config, *places, run, split="train", device="cpu", scorer=scorer)
    scores = {
        int(path.parent.name): ScoreRecord[Score].from_json(path.read_bytes(), where=path.name)
        for path in run.glob("scored/*/score.json")
    }
    assert sorted(scores) == [8, 12, 16, 17]
    ranks = {k: rank_of(record.score.metrics(), scorer.limits) for k, record in scores.items()}
    best = min(scores, key=lambda clock: (ranks[clock], clock))
    described = load_refiner(run)[1]
    assert described.domain == "coin" and described.sha256 == scores[best].refiner


@pytest.mark.slow
def test_what_a_domain_lacks_is_refused_by_its_name_before_any_training(
    split_coins, tmp_path, monkeypatch
):
    monkeypatch.setattr(CoinDomain, "scoring", Domain.scoring)
    places = [dataset.location for dataset in split_coins]
    with pytest.raises(MissingHookError, match="the domain coin brings no scoring of refiners"):
        train_on_ray(small_config(validate_every=4), *places, tmp_path / "run", split="train")
    with pytest.raises(MissingHookError, match="the domain coin brings no scoring of refiners"):
        variants = ROOT / "configs" / "ablation.toml"
        synthetic, real = places
        Ablation.of(
            AblationConfig(variants=variants, synthetic=synthetic, real=real, output="nowhere")
        )
    for changes, lacks in (
        ({"target_labels": "labels.npz"}, "matching of label distributions"),
        ({"label_network": "net", "label_weight": 1.0}, "network that holds labels"),
    ):
        with pytest.raises(MissingHookError, match=f"the domain coin brings no {lacks}"):
            train_on_datasets(
                small_config(**changes), *places, tmp_path / "run", split="train", device="cpu"
            )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_coin_dataset_is_described(chain):
    summary = describe(chain.refined)
    assert "centre_px" in str(summary) and "coin" in str(summary)


def test_a_domain_without_damage_is_refused_by_name(known):
    with pytest.raises(MissingHookError, match="the domain coin brings no damage"):
        domain_named("coin").damage()


@pytest.mark.slow
def test_a_witness_that_nobody_knows_is_refused(chain):
    validator = domain_of(chain.refined).validator()
    with pytest.raises(ValueError, match=r"no witness 'landmarks'.*none"):
        validator.witnesses(chain.refined, chain.synthetic, {"landmarks": "x"}, NoOptions())


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (["support.coins:COIN_DOMAIN"], None),
        (["support.coins:SIDE_PX"], "is not a Domain"),
        (["support.coins:COIN_DOMAIN", "support.coins:COIN_DOMAIN"], "already"),
    ],
)
def test_an_installed_package_brings_its_domain(values, complaint, monkeypatch):
    points = [EntryPoint("coin", value, GROUP) for value in values]
    monkeypatch.setattr(kinds, "entry_points", lambda group: points)
    known_kinds.cache_clear()
    known_domains.cache_clear()
    try:
        if complaint is None:
            assert known_domains()["coin"] is COIN_DOMAIN and "eye" in known_domains()
            assert known_kinds()["coin"] is COIN_DOMAIN.sample_kind
        else:
            with pytest.raises(FormatError, match=complaint):
                known_domains()
    finally:
        known_kinds.cache_clear()
        known_domains.cache_clear()
