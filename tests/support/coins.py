"""A third domain, whole: coins, 16x16 grey, with their centre. docs/new-domain.md walks through it.

Renders are `N.png` beside `N.json` ({"centre": [x, y], "radius": r, "mint": name}); camera pictures
are `N.png` alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import orjson
import pyarrow as pa
from pydantic import ConfigDict, Field

from factory.dataset.columns import values_of
from factory.dataset.dataset import Dataset
from factory.dataset.tar import sha256
from factory.domains.base import Domain
from factory.images.png import (
    Pixels,
    UndecodableError,
    decode_png,
    encode_png,
    grey,
)
from factory.measures.statistics import clusters_of, estimate, spread_or_none
from factory.measures.two_sample import TwoSampleTest, comparisons, realism_of
from factory.sources.base import BadRender, Loaded, Source, SourceOptions, Vanished
from factory.sources.listing import StemSource
from factory.validation.held_out import HeldOut, Shown
from factory.validation.protocols import (
    SideBySide,
    Trio,
    Validator,
    require_known,
)
from factory.validation.sampling import sample_images, sample_pairs
from factory.validation.settings import ValidationSettings
from factory.validation.shard_measures import read_measures
from schemas.base import Float, Model, Point, digest_of
from schemas.dataset import DatasetKind, ImageSpec
from schemas.kinds import SampleKind
from schemas.report import Estimate, Realism, Report
from schemas.sample import Envelope
from schemas.score import Score, ScoreRecord

SIDE_PX = 16


# --- the label schema ---------------------------------------------------------------------------


class UnlabelledCoin(Envelope):
    """A camera's picture of a coin."""

    schema_: Literal["coin/1"] = Field(alias="schema")


class Coin(UnlabelledCoin):
    """A coin whose place is known."""

    centre_px: Point
    radius_px: Float


COIN_LABELS = (
    pa.field("centre_px", pa.list_(pa.float32(), 2)),
    pa.field("radius_px", pa.float32()),
)


# --- the source ---------------------------------------------------------------------------------


class CoinOptions(SourceOptions):
    """What decides a sample."""

    kind: Literal["synthetic", "real"] = "synthetic"

    @property
    def image_size(self) -> tuple[int, int]:
        return SIDE_PX, SIDE_PX


class CoinSource(StemSource):
    """Reads one coin at a time."""

    name: ClassVar[str] = "coins"
    options: CoinOptions
    options_kind: ClassVar[type[SourceOptions]] = CoinOptions
    suffixes = (".png", ".json")

    @property
    def kind(self) -> DatasetKind:
        return self.options.kind

    @property
    def labelled(self) -> bool:
        return self.kind == "synthetic"

    def identity(self, source_id: str) -> str | None:
        return orjson.loads(self._read(source_id, ".json"))["mint"] if self.labelled else None

    def digests(self, source_id: str) -> tuple[str, str | None]:
        image = sha256(self._read(source_id, ".png"))
        return image, sha256(self._read(source_id, ".json")) if self.labelled else None

    def load(self, source_id: str) -> Loaded:
        raw = self._read(source_id, ".png")
        label = orjson.loads(self._read(source_id, ".json")) if self.labelled else {}
        try:
            image = decode_png(raw)
        except UndecodableError as error:
            raise BadRender(source_id, f"image does not decode ({error})") from error
        if image.shape != (SIDE_PX, SIDE_PX) or image.dtype != np.uint8:
            raise BadRender(source_id, f"a coin of {image.shape} {image.dtype}")
        image_sha256, label_sha256 = self.digests(source_id)
        return Loaded(
            image=image,
            labels={"centre_px": np.array(label["centre"]), "radius_px": float(label["radius"])}
            if label
            else {},
            identity=label.get("mint"),
            crop_affine=np.eye(2, 3),
            extra={},
            image_sha256=image_sha256,
            label_sha256=label_sha256,
        )

    def _read(self, source_id: str, suffix: str) -> bytes:
        names = self.names(source_id)
        if not names:
            raise Vanished(source_id)
        if source_id + suffix not in names:
            raise BadRender(source_id, f"no {suffix} beside {', '.join(names)}")
        return self.files.read(source_id + suffix)


# --- the validator ------------------------------------------------------------------------------


class CoinWitnesses(Model):
    """The centre of what is bright."""

    schema: ClassVar[pa.Schema] = pa.schema(  # type: ignore[assignment]
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("identity", pa.string()),
            pa.field("centre_drift_px", pa.float32()),
            pa.field("mean_abs_change", pa.float32()),
        ]
    )
    repeated: ClassVar[Sequence[str]] = ("identity",)
    bright: int = 100

    def digest(self) -> str:
        return digest_of(self.model_dump(mode="json"))

    def measurer(self) -> "CoinMeasurer":
        return CoinMeasurer(self)

    def with_derived(self, measures: pa.Table) -> pa.Table:
        return measures


@dataclass(frozen=True)
class CoinMeasurer:
    """Measures pairs of coins."""

    witnesses: CoinWitnesses

    def __call__(self, rows: pa.Table, parent: Pixels, refined: Pixels) -> pa.Table:
        before, after = grey(parent), grey(refined)
        drift = self._centres(after) - self._centres(before)
        change = np.abs(after.astype(np.float32) - before).mean(axis=(1, 2)) / 127.5
        columns = [rows["key"], rows["identity"], np.hypot(*drift.T), change]
        return pa.table(
            dict(zip(self.witnesses.schema.names, columns, strict=True)),
            schema=self.witnesses.schema,
        )

    def _centres(self, images_NHW: np.ndarray) -> np.ndarray:
        """(N, 2) mean x and y of bright pixels."""
        weight = (images_NHW >= self.witnesses.bright).astype(np.float64)
        y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
        sums = [(weight * axis).sum(axis=(1, 2)) for axis in (x, y)]
        return np.stack(sums, axis=1) / weight.sum(axis=(1, 2))[:, None]


class CoinReport(Report):
    """What a validation finds in refined coins."""

    model_config = ConfigDict(extra="forbid")
    sample_measures: ClassVar[Mapping[str, str]] = {"centre_drift_px": "how far the centre moved"}

    centre_drift: Estimate | None


@dataclass(frozen=True)
class CoinsExamined:
    """Everything that a report on coins is made from."""

    measures: pa.Table
    realism: Realism

    def findings(self) -> dict[str, Any]:
        drift = values_of(self.measures, "centre_drift_px")
        clusters = clusters_of(self.measures["identity"].to_pylist())
        return {"centre_drift": estimate(drift, clusters)}

    def page(self, report: CoinReport, notes: Sequence[str], earlier: CoinReport | None) -> str:
        return f"<!doctype html><title>{report.id}</title><p>{report.centre_drift}</p>"


class CoinValidator:
    """`factory.validation.protocols.Validator` of coins."""

    report = CoinReport
    networks: Mapping[str, str] = {}

    def witnesses(
        self, refined: Dataset, parent: Dataset, networks: Mapping[str, str], options: Model
    ) -> CoinWitnesses:
        require_known(networks, self.networks)
        return CoinWitnesses()

    def examine(
        self,
        trio: Trio,
        shards: Sequence[int],
        split: str | None,
        witnesses: CoinWitnesses,
        settings: ValidationSettings,
        options: Model,
        side_by_side: SideBySide,
    ) -> CoinsExamined:
        pairs = sample_pairs(trio, shards, settings.num_realism, settings.seed)
        real = grey(sample_images(trio.real, split, settings.num_realism, settings.seed))
        tests = comparisons(grey(pairs.synthetic), grey(pairs.refined), real, settings.test)
        realism = realism_of(side_by_side(tests))
        return CoinsExamined(read_measures(trio.refined, shards, witnesses), realism)

    def summary(self, report: CoinReport) -> list[str]:
        return [f"the centre moved by {report.centre_drift.median:.2f} px in the median"]


# --- scores while it trains ---------------------------------------------------------------------


@dataclass(frozen=True)
class CoinScoring:
    """`factory.validation.held_out.Scoring` of coins: by their centre."""

    test: TwoSampleTest
    record: ClassVar[type[ScoreRecord[Any]]] = ScoreRecord[Score]
    limits: ClassVar[Mapping[str, float]] = {"drift_median_px": 0.5}
    shown: ClassVar[tuple[Shown, ...]] = (Shown("drift_median_px", "drift, median, px", "{:.2f}"),)
    meaning: ClassVar[str] = "Drift: displacement of the centre."

    def settings(self) -> dict[str, Any]:
        return {"witnesses": CoinWitnesses().digest(), "test": self.test.model_dump(mode="json")}

    def score(self, held_out: HeldOut, refined: Pixels) -> Score:
        measures = CoinMeasurer(CoinWitnesses())(held_out.index, held_out.synthetic, refined)
        return Score(
            num_samples=len(refined),
            drift_px=spread_or_none(values_of(measures, "centre_drift_px")),
            mean_abs_delta=float(values_of(measures, "mean_abs_change").mean()),
            two_sample=self.test(grey(held_out.real), grey(refined)),
        )


# --- the domain ---------------------------------------------------------------------------------


class CoinDomain(Domain):
    """What the factory asks of coins."""

    sample_kind: ClassVar[SampleKind] = SampleKind(
        name="coin",
        schema="coin/1",
        labelled=Coin,
        unlabelled=UnlabelledCoin,
        label_columns=COIN_LABELS,
        image=ImageSpec(height=SIDE_PX, width=SIDE_PX),
        shard_size=64,
    )

    def sources(self) -> tuple[type[Source], ...]:
        return (CoinSource,)

    def validator(self) -> Validator:
        return CoinValidator()

    def scoring(self, synthetic: Dataset, test: TwoSampleTest) -> CoinScoring:
        return CoinScoring(test)


COIN_DOMAIN = CoinDomain()


# --- pictures to try it with --------------------------------------------------------------------


def strike(folder: Path, count: int, *, camera: bool, seed: int = 0) -> Path:
    """Coins: flat and bright as renders, shaded and grainy as a camera's."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    for k in range(count):
        centre, radius = rng.uniform(6, 9, 2), rng.uniform(3, 5)
        inside = np.clip(radius + 0.5 - np.hypot(x - centre[0], y - centre[1]), 0, 1)
        values = 30 + 190 * inside
        if camera:
            values = values * (0.8 + 0.02 * x) + rng.normal(0, 12, values.shape)
        image = np.clip(values, 0, 255).astype(np.uint8)
        (folder / f"{k}.png").write_bytes(encode_png(image))
        if not camera:
            label = {"centre": centre.tolist(), "radius": radius, "mint": f"mint{k % 6}"}
            (folder / f"{k}.json").write_bytes(orjson.dumps(label))
    return folder
