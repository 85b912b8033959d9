"""One run of ingest as jobs/ingest.py asks for it: which options a source takes and ignores."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cluster.job.command import parse
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.mpiigaze import MpiiGazeOptions
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.hand.sources.nyu import NyuOptions
from factory.domains.registry import known_domains, options_by_domain, options_of
from factory.ingestion.opening import card_of, open_source, unused_options
from factory.ingestion.run import ingest_new_inputs
from factory.sources.base import Source, SourceOptions
from jobs.ingest import IngestJob
from schemas.base import FormatError, Model
from support import fakes
from support.coins import COIN_DOMAIN, CoinDomain, CoinOptions, strike


@pytest.fixture
def renders(tmp_path) -> Path:
    folder = tmp_path / "in"
    for number in range(8):
        write_looking(folder, number, yaw_deg=3 * number)
    return folder


def write_looking(folder: Path, number: int, *, yaw_deg: float) -> None:
    """A render of an eye that looks to a side."""
    label = fakes.unityeyes_label()
    yaw = np.radians(yaw_deg)
    label["eye_details"]["look_vec"] = f"({-np.sin(yaw):.4f}, 0.0, {-np.cos(yaw):.4f}, 0.0000)"
    fakes.write_pair(folder, str(number), label=label, seed=number)


def job(folder: Path, *options: object, source: str = "unityeyes") -> IngestJob:
    fixed = ("--source", source, "--input", folder, "--output", folder.parent / "out")
    return parse(IngestJob, [str(option) for option in (*fixed, *options)])


def opened(asked: IngestJob) -> Source:
    given = options_by_domain(asked, "ingest_options")
    return open_source(asked.source, asked.input, asked.output, given=given, texts=asked.options)


def unused(asked: IngestJob) -> list[str]:
    given = options_by_domain(asked, "ingest_options")
    return list(unused_options(asked.source, given, asked.options))


@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        ("images", ("--crop.equalise",), PicturesOptions(crop=EyeCrop(equalise=True))),
        ("mpiigaze", ("--crop.width", "60"), MpiiGazeOptions(crop=EyeCrop(width=60))),
        ("nyu", ("--nyu.kind", "real"), NyuOptions(kind="real")),
    ],
)
def test_a_source_gets_the_options_of_its_domain(
    renders: Path, source: str, options: tuple[str, ...], expected: SourceOptions
) -> None:
    asked = job(renders, *options, source=source)
    assert opened(asked).options == expected
    assert unused(asked) == []


def test_ranges_of_gaze_become_the_filter_of_renders(renders: Path) -> None:
    options = opened(
        job(renders, "--keep-gaze-yaw-deg", -40, 40, "--keep-head-yaw-deg", -9, 9)
    ).options
    assert isinstance(options, UnityEyesOptions)
    assert options.keep.gaze_yaw_deg == (-40, 40) and options.keep.head_yaw_deg == (-9, 9)
    assert options.keep.gaze_pitch_deg is None and options.keep.weights is None


@pytest.mark.slow
def test_the_first_run_freezes_the_weights_of_a_target(renders: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.npz"
    yaw_deg, pitch_deg = np.meshgrid(np.arange(-30.5, 31), np.arange(-8.5, 9))
    np.savez(target, gaze_rad=np.radians(np.stack([yaw_deg.ravel(), pitch_deg.ravel()], axis=1)))
    asked = job(renders, "--target-gaze", target)
    first = opened(asked)
    card = card_of(first, asked.output, splits={"train": 1})
    ingest_new_inputs(
        first, asked.output, card, max_reject_share=1, make_shards=fakes.make_shards_here
    )
    for number in range(8):  # renders that look elsewhere take the place of the first ones
        for suffix in (".jpg", ".json"):
            (renders / f"{number}{suffix}").unlink()
    for number in range(20, 24):
        write_looking(renders, number, yaw_deg=6)
    assert opened(asked).options == first.options
    shutil.rmtree(asked.output)
    assert opened(asked).options != first.options, "without the card they follow the renders"


def test_options_of_a_config_file_that_a_source_does_not_use_are_named(
    renders: Path, tmp_path: Path
) -> None:
    """A table may serve several sources, one of which is named on the command line."""
    config = tmp_path / "config.toml"
    config.write_text(
        "[ingest]\ncrop = {equalise = true}\nnyu = {kind = 'real'}\n"
        "options = {kind = 'real'}\nkeep_gaze_yaw_deg = [0, 1]\n"
    )
    assert unused(job(renders, "--config", config, source="nyu")) == [
        "--crop is ignored: the source nyu does not use this eye option",
        "--keep-gaze-yaw-deg is ignored: the source nyu does not use this eye option",
        "--options is ignored: the source nyu has options of its own",
    ]
    assert unused(job(renders, "--config", config, source="images")) == [
        "--keep-gaze-yaw-deg is ignored: the source images does not use this eye option",
        "--nyu is ignored: the source images does not use this hand option",
        "--options is ignored: the source images has options of its own",
    ]
    for source in ("unityeyes", "nyu", "images"):
        assert unused(job(renders, source=source)) == []


def test_tables_of_a_config_file_are_those_of_the_options(renders: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        "[ingest]\nkeep_gaze_pitch_deg = [-30.0, 30.0]\nnyu = {cube_mm = 250}\n"
        "[ingest.crop]\nequalise = true\n"
    )
    asked = job(renders, "--config", config, "--nyu.kind", "real", source="nyu")
    assert asked.crop == EyeCrop(equalise=True) and asked.keep_gaze_pitch_deg == (-30, 30)
    assert asked.nyu == NyuOptions(cube_mm=250, kind="real")


@pytest.mark.slow
def test_a_split_that_nothing_fell_in_is_named(renders: Path, caplog) -> None:
    """All renders have the skin texture, and so the identity, of the one label they are made of."""

    def lines(*options: object) -> list[str]:
        caplog.clear()
        asked = job(renders, *options)
        source = opened(asked)
        card = card_of(source, asked.output, splits={"train": 0.5, "test": 0.5})
        ingest_new_inputs(
            source, asked.output, card, max_reject_share=1, make_shards=fakes.make_shards_here
        )
        return [r.message for r in caplog.records if r.levelname == "WARNING"]

    (line,) = lines()
    assert "test is empty" in line or "train is empty" in line
    assert "of 1 identities (persons)" in line and "--splits" in line
    for number in range(20, 30):
        label = fakes.unityeyes_label()
        label["eye_region_details"] = {"primary_skin_texture": f"person {number}"}
        fakes.write_pair(renders, str(number), label=label, seed=number)
    assert lines() == []


# --- a domain that is not of this repository ----------------------------------------------------


class MintOptions(Model):
    """Coins with an option of their own."""

    mint_kind: str = "synthetic"
    """what the pictures are"""


class MintDomain(CoinDomain):
    """Coins that add an option to jobs/ingest.py."""

    def ingest_options(self) -> type[Model]:
        return MintOptions

    def source_options(self, source, given, *, location, recorded) -> SourceOptions:
        return CoinOptions(kind=given.mint_kind)


def test_a_domain_without_options_takes_those_of_its_source_by_name(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(known_domains(), "coin", COIN_DOMAIN)
    coins = strike(tmp_path / "in", 2, camera=True)
    asked = job(coins, "--options", "kind", "real", source="coins")
    assert opened(asked).options == CoinOptions(kind="real") and unused(asked) == []


def test_an_installed_domain_adds_its_options_to_the_job(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setitem(known_domains(), "coin", MintDomain())

    class MintJob(IngestJob, *options_of("ingest_options")[-1:]):
        """Ingest with the options of an installed domain."""

    coins = strike(tmp_path / "in", 2, camera=True)
    fixed = ["--source", "coins", "--input", str(coins), "--output", str(tmp_path / "out")]
    asked = parse(MintJob, [*fixed, "--mint-kind", "real"])
    assert opened(asked).options == CoinOptions(kind="real")
    with pytest.raises(SystemExit):
        parse(MintJob, ["--source", "coins", "--help"])
    assert "what the pictures are" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        parse(MintJob, ["--help"])
    shown = capsys.readouterr().out
    assert "what the pictures are" not in shown and "  coins " in shown
    with pytest.raises(SystemExit):
        parse(MintJob, [*fixed, "--source", "images", "--mint-kind", "real"])
    assert "--mint-kind is for the source coins, not for images" in capsys.readouterr().err


def test_two_domains_with_an_option_of_one_name_are_refused(monkeypatch) -> None:
    class Twin(MintDomain):
        def ingest_options(self) -> type[Model]:
            return known_domains()["hand"].ingest_options()

    monkeypatch.setitem(known_domains(), "coin", Twin())
    with pytest.raises(FormatError, match="hand and coin both have an option 'nyu'"):
        options_of("ingest_options")
