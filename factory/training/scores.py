"""Scores of a run's refiners on held-out images while it trains, so that the best one is kept by
what matters rather than by loss."""

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from typing import NamedTuple, Protocol

import numpy as np

from factory.domains.eye.pupil.finder import PupilFinder
from factory.measures.two_sample import TwoSampleTest
from factory.networks.refiner import Refiner
from factory.networks.refiner_files import load_refiner, save_refiner
from factory.refinement.engines.base import PixelCodec
from factory.refinement.engines.choose import choose_engine
from factory.store.base import Store
from factory.store.open import open_store
from factory.validation.held_out import HeldOut
from schemas.base import digest_of
from schemas.refiner import RefinerDescription
from schemas.score import Score, ScoreRecord

log = logging.getLogger(__name__)
SCORE_NAME = "score.json"
FOLDER = "scored"
MAX_DRIFT_SHARE = 0.02
"""of the eye's width, in the median: the paper's refined pupils lie 2 % off (section 3.1)"""


class Scorer(Protocol):
    """Whoever scores refiners, elsewhere and in time of its own."""

    eye_width_px: float
    """of the held-out images, nominal"""

    def __call__(self, location: str) -> "Future[Score]":
        """Score the refiner at a location, where it leaves its `score.json`."""


class Scored(NamedTuple):
    """A refiner of the run with its score."""

    clock: int
    score: Score

    def rank(self, eye_width_px: float) -> tuple[bool, float]:
        """Smallest for the best: of those whose median drift is small enough, the one that is told
        from real least often; if there are none, the one that drifts least."""
        drift = self.score.drift_px
        drift_px = drift.median if drift is not None else float("inf")
        if drift_px <= MAX_DRIFT_SHARE * eye_width_px:
            return False, self.score.two_sample.accuracy
        return True, drift_px

    def metrics(self) -> dict[str, float]:
        """As numbers with names."""
        drift = self.score.drift_px
        values = {"two_sample_accuracy": self.score.two_sample.accuracy}
        if drift is not None:
            values |= {"drift_median_px": drift.median, "drift_p95_px": drift.p95}
        return values


class Scores:
    """The scored refiners of one run: `scored/<clock>/` holds each, with its score."""

    def __init__(self, store: Store, scorer: Scorer) -> None:
        self.store, self.scorer = store, scorer
        self.done: dict[int, Scored] = {}
        self._pending: dict[int, Future[Score]] = {}

    def take_up(self, clock: int) -> None:
        """Go on after `clock`: what was scored stays, what was not is scored again."""
        for name in self.store.folders(FOLDER):
            if int(name) > clock:
                for entry in list(self.store.walk(f"{FOLDER}/{name}")):
                    self.store.delete(entry.name)
            elif self.store.size(f"{FOLDER}/{name}/refiner.json") is not None:
                self._pending[int(name)] = self.scorer(self._location(int(name)))

    def submit(self, clock: int, refiner: Refiner, description: RefinerDescription) -> None:
        """Keep a refiner and have it scored."""
        below = f"{FOLDER}/{clock:08d}/"
        save_refiner(self.store.location, refiner, description, below=below)
        self._pending[clock] = self.scorer(self._location(clock))

    def collect(self, *, wait: bool = False) -> list[Scored]:
        """The scores that came since the last call.

        Args:
            wait: until all are there.
        """
        came = []
        for clock, future in sorted(self._pending.items()):
            if not (wait or future.done()):
                continue
            del self._pending[clock]
            if (error := future.exception()) is not None:  # the training itself is none the worse
                log.error("the refiner of update %d was not scored: %s", clock, error)
            else:
                came.append(Scored(clock, future.result()))
        for scored in came:
            self.done[scored.clock] = scored
            log.info("update %d, held out: %s", scored.clock, _told(scored.metrics()))
        return came

    def best(self) -> tuple[Scored, Refiner]:
        """The best refiner so far; the earliest of equals.

        Raises:
            RuntimeError: none could be scored.
        """
        if not self.done:
            raise RuntimeError("no refiner of this run could be scored; see the log")
        width = self.scorer.eye_width_px
        scored = min(self.done.values(), key=lambda found: (found.rank(width), found.clock))
        return scored, load_refiner(self._location(scored.clock))[0]

    def _location(self, clock: int) -> str:
        return f"{self.store.location}/{FOLDER}/{clock:08d}"


def _told(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())


def score_refiner(
    location: str, held_out: HeldOut, finder: PupilFinder, test: TwoSampleTest
) -> Score:
    """Score a refiner, unless that was done before; `score.json` beside it keeps the result."""
    store, (refiner, described) = open_store(location), load_refiner(location)
    how = {"finder": finder.model_dump(mode="json"), "test": test.model_dump(mode="json")}
    measured_with = digest_of({"held_out": held_out.digest(), **how})
    if store.size(SCORE_NAME) is not None:
        there = ScoreRecord.from_json(store.read(SCORE_NAME), where=f"{location}/{SCORE_NAME}")
        if (there.refiner, there.measured_with) == (described.sha256, measured_with):
            return there.score
    engine = choose_engine(refiner, described.image, PixelCodec.of(described))
    refined = np.asarray(engine(held_out.synthetic), np.uint8)
    score = held_out.score(refined, finder, test)
    record = ScoreRecord(refiner=described.sha256, measured_with=measured_with, score=score)
    store.put(SCORE_NAME, record.to_json())
    return score
