"""An ablation: variants of one training are made, scored on held-out images and compared."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Self

from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import SideBySide
from factory.evaluation.ablation import Row, columns_of, load_variants, row_of
from factory.evaluation.ablation_config import AblationConfig
from factory.evaluation.ablation_page import ablation_page
from factory.evaluation.names import file_name_of
from factory.refinement.engines.choose import make_engine
from factory.store.extras import require
from factory.store.open import open_store
from factory.training.config import TrainConfig
from factory.training.inputs import check_files
from factory.training.metrics_log import METRICS_NAME
from factory.training.record import scaled_for
from factory.training.run import train_on_datasets
from factory.training.scores import HeldOutScoring, score_refiner
from factory.validation.held_out import HeldOut
from schemas.options import value_of
from schemas.score import Score

log = logging.getLogger(__name__)
NUM_PICTURES = 12
"""renders that the page shows, refined by each variant"""


class Run(NamedTuple):
    """One variant with one seed."""

    name: str
    config: TrainConfig
    location: str


@dataclass(frozen=True)
class Ablation:
    """All runs of an ablation, and how their refiners are scored."""

    config: AblationConfig
    runs: tuple[Run, ...]
    scoring: HeldOutScoring
    full_scale: float
    """the pixel value that is white"""

    @classmethod
    def of(cls, config: AblationConfig) -> Self:
        """Check everything before any training.

        Raises:
            MissingHookError: the domain does not say how its refiners are scored.
            OptionError: a variant does not fit, or names a file that cannot be used.
            ValueError: datasets or splits that do not fit.
            MissingExtraError: what draws the page is not installed.
        """
        for module in ("jinja2", "matplotlib"):
            require(module, "ablation.html")
        with value_of(f"--variants {config.variants}"):
            variants = load_variants(config.variants)
        synthetic, real = Dataset.open(config.synthetic), Dataset.open(config.real)
        for dataset in (synthetic, real):
            dataset.require_splits(config.split, config.held_out)
        for variant in variants.values():
            check_files(variant, synthetic)
        scoring = HeldOutScoring.of(
            synthetic, real, config.held_out, config.num_held_out, config.test
        )
        scaled = [scaled_for(variant, synthetic.card, real.card) for variant in variants.values()]
        assert scaled[0].full_scale is not None
        root = open_store(config.output).location
        runs = tuple(
            Run(
                name,
                variant.located().model_copy(
                    update={"seed": seed, "num_threads": variant.num_threads or 1}
                ),
                f"{root}/{file_name_of(name)}/seed-{seed}",
            )
            for seed in config.seeds
            for name, variant in variants.items()
        )
        # A worker runs in a folder of its own, so it is given absolute locations.
        places = {"synthetic": synthetic.location, "real": real.location}
        return cls(config.model_copy(update=places), runs, scoring, scaled[0].full_scale)

    def compare(self, side_by_side: SideBySide) -> list[Row]:
        """Train and score what is not done yet, and write ablation.html.

        Returns:
            The table: the renders as they are, then each variant.
        """
        use_gpu = self.config.device == "cuda"
        calls = [partial(self._train_and_score, run) for run in self.runs]
        scores: list[Score] = side_by_side(calls, "ablate", use_gpu=use_gpu)
        held_out, scoring = self.scoring.choice.load(), self.scoring.scoring
        (unrefined,) = side_by_side([partial(scoring.score, held_out, held_out.synthetic)])
        columns = columns_of(scoring)
        rows = [row_of("not refined", [unrefined], columns)._replace(num_seeds=0)]
        for name in dict.fromkeys(run.name for run in self.runs):
            of_variant = [
                score for run, score in zip(self.runs, scores, strict=True) if run.name == name
            ]
            rows.append(row_of(name, of_variant, columns))
        self._write(rows, held_out)
        for row in rows:
            cells = zip(columns, row.cells, strict=True)
            log.info("%s: %s", row.name, ", ".join(f"{c.title} {cell}" for c, cell in cells))
        log.info("report: %s/ablation.html", open_store(self.config.output).location)
        return rows

    def _train_and_score(self, run: Run) -> Score:
        """In a worker of its own; does only what is not done yet."""
        train_on_datasets(
            run.config,
            self.config.synthetic,
            self.config.real,
            run.location,
            split=self.config.split,
            device=self.config.device,
        )
        return score_refiner(run.location, self.scoring.choice.load(), self.scoring.scoring)

    def _write(self, rows: Sequence[Row], held_out: HeldOut) -> None:
        """The page, with pictures of the first seed's runs."""
        first_seed = self.runs[: len(self.runs) // len(self.config.seeds)]
        renders = held_out.synthetic[:NUM_PICTURES]
        page = ablation_page(
            rows,
            self.scoring.scoring,
            held_out,
            refined={run.name: make_engine(run.location)(renders) for run in first_seed},
            metrics={run.name: open_store(run.location).read(METRICS_NAME) for run in first_seed},
            split=self.config.held_out,
            seed=self.config.seeds[0],
            full_scale=self.full_scale,
        )
        store = open_store(self.config.output)
        store.put("ablation.html", page.encode())
        store.put("variants.toml", self.config.variants.read_bytes())
