"""Scores of a run's refiners on held-out images while it trains, so that the best one is kept by
what matters rather than by its loss."""

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

from factory.dataset.dataset import Dataset
from factory.domains.registry import domain_of
from factory.measures.two_sample import TwoSampleTest
from factory.networks.refiner import Refiner
from factory.networks.refiner_files import load_refiner, save_refiner
from factory.refinement.engines.base import PixelCodec
from factory.refinement.engines.choose import choose_engine
from factory.store.base import Store
from factory.store.open import open_store
from factory.validation.held_out import HeldOut, HeldOutChoice, Scoring, rank_of
from schemas.base import digest_of
from schemas.refiner import RefinerDescription
from schemas.score import SCORE_NAME, SCORED_FOLDER, RankedBy, Score

log = logging.getLogger(__name__)


class Scorer(Protocol):
    """Scores refiners beside the training, in time of its own."""

    @property
    def limits(self) -> Mapping[str, float]:
        """What keeps its labels: `Scoring.limits`."""

    def __call__(self, location: str) -> "Future[Score]":
        """Score the refiner at a location, which gets a `score.json`."""


@dataclass(frozen=True)
class HeldOutScoring:
    """All that is needed to score refiners on held-out images, on any machine."""

    scoring: Scoring
    choice: HeldOutChoice

    @classmethod
    def of(
        cls, synthetic: Dataset, real: Dataset, split: str, num_images: int, test: TwoSampleTest
    ) -> Self:
        """
        Args:
            split: of both datasets, to score on.
            num_images: renders, and real images, of it.

        Raises:
            MissingHookError: the domain does not say how its refiners are scored.
            ValueError: a dataset has no such split, or no images in it.
        """
        scoring = domain_of(synthetic).scoring(synthetic, test)
        return cls(scoring, HeldOutChoice.checked(synthetic, real, split, num_images))

    def __call__(self, location: str) -> Score:
        """Score the refiner at a location, unless that was done before."""
        return score_refiner(location, self.choice.load(), self.scoring)


class HeldOutScorer(Scorer):
    """Scores refiners on held-out images; where, its subclasses say."""

    def __init__(self, scoring: HeldOutScoring) -> None:
        self.scoring = scoring

    @property
    def limits(self) -> Mapping[str, float]:
        """As `Scorer.limits`."""
        return self.scoring.scoring.limits


class ScorerHere(HeldOutScorer):
    """Scores each refiner at once, in this process, while the training waits."""

    def __call__(self, location: str) -> "Future[Score]":
        future: Future[Score] = Future()
        try:
            future.set_result(self.scoring(location))
        except Exception as error:  # noqa: BLE001 - a score that fails leaves the training as it is
            future.set_exception(error)
        return future


class Scored(NamedTuple):
    """A refiner of the run with its score."""

    clock: int
    score: Score


class Scores:
    """The scored refiners of one run: `scored/<clock>/` holds each, with its score."""

    def __init__(self, store: Store, scorer: Scorer) -> None:
        self.store, self.scorer = store, scorer
        self.done: dict[int, Scored] = {}
        self._pending: dict[int, Future[Score]] = {}

    def resume_after(self, clock: int) -> None:
        """Delete refiners after `clock`, and submit the others again: their records spare the work
        for those that were scored."""
        for name in self.store.folders(SCORED_FOLDER):
            if int(name) > clock:
                for entry in list(self.store.walk(f"{SCORED_FOLDER}/{name}")):
                    self.store.delete(entry.name)
            elif self.store.size(f"{SCORED_FOLDER}/{name}/refiner.json") is not None:
                self._pending[int(name)] = self.scorer(self._location(int(name)))

    def submit(self, clock: int, refiner: Refiner, description: RefinerDescription) -> None:
        """Save a copy of a refiner and have it scored."""
        below = f"{SCORED_FOLDER}/{clock:08d}/"
        save_refiner(self.store.location, refiner, description, below=below)
        self._pending[clock] = self.scorer(self._location(clock))

    def collect(self, *, wait: bool = False) -> list[Scored]:
        """The scores that came since the last call.

        Args:
            wait: return once all refiners are scored.
        """
        came = []
        for clock, future in sorted(self._pending.items()):
            if not (wait or future.done()):
                continue
            del self._pending[clock]
            # A score that fails leaves the training as it is.
            if (error := future.exception()) is not None:
                log.error("the refiner of update %d was not scored: %s", clock, error)
                continue
            scored = self.done[clock] = Scored(clock, future.result())
            came.append(scored)
            values = scored.score.metrics().items()
            shown = ", ".join(f"{name} {value:.3f}" for name, value in values)
            log.info("update %d, held out: %s", clock, shown)
        return came

    def best(self, by: RankedBy) -> tuple[Scored, Refiner]:
        """The best refiner so far; the earliest of equals.

        Args:
            by: what decides between refiners that keep their labels.

        Raises:
            RuntimeError: none could be scored.
        """
        if not self.done:
            raise RuntimeError("no refiner of this run could be scored; see the log")
        limits = self.scorer.limits
        metrics = {clock: scored.score.metrics() for clock, scored in self.done.items()}
        if not any(by in values for values in metrics.values()):
            missing = by.replace("_", " ")
            log.warning("no refiner of this run has a %s: two-sample accuracy decides", missing)
        clock = min(metrics, key=lambda clock: (rank_of(metrics[clock], limits, by), clock))
        return self.done[clock], load_refiner(self._location(clock))[0]

    def _location(self, clock: int) -> str:
        return f"{self.store.location}/{SCORED_FOLDER}/{clock:08d}"


def score_refiner(location: str, held_out: HeldOut, scoring: Scoring) -> Score:
    """Score a refiner, unless that was done before; `score.json` beside it keeps the result."""
    store, (refiner, described) = open_store(location), load_refiner(location)
    measured_with = digest_of({"held_out": held_out.digest(), **scoring.settings()})
    if store.size(SCORE_NAME) is not None:
        earlier = scoring.record.from_json(store.read(SCORE_NAME), where=f"{location}/{SCORE_NAME}")
        if (earlier.refiner, earlier.measured_with) == (described.sha256, measured_with):
            score: Score = earlier.score
            return score
    engine = choose_engine(refiner, described.image, PixelCodec.of(described))
    score = scoring.score(held_out, engine(held_out.synthetic))
    record = scoring.record(refiner=described.sha256, measured_with=measured_with, score=score)
    store.put(SCORE_NAME, record.to_json())
    return score
