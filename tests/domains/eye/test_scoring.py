"""Refiners of eyes scored on held-out images."""

import dataclasses

import numpy as np
import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index
from factory.domains.eye.domain import EYE_DOMAIN
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.measures.looks.settings import FeatureTraining, LookSettings
from factory.measures.two_sample import TwoSampleTest
from factory.validation.held_out import HeldOut, rank_of
from support import fakes

TEST = TwoSampleTest(seeds=(0,), num_steps=2)


def held_out_of(dataset: Dataset) -> HeldOut:
    images = load_images(dataset, dataset.committed())
    return HeldOut(load_index(dataset), images, images[::-1].copy())


@pytest.mark.slow
def test_a_score_sees_what_was_done(synthetic) -> None:
    held_out, scoring = held_out_of(synthetic), EYE_DOMAIN.scoring(synthetic, TEST)
    same = scoring.score(held_out, held_out.synthetic)
    assert same.mean_abs_delta == 0 and same.drift_px is not None and same.drift_px.p95 == 0
    assert not rank_of(same.metrics(), scoring.limits)[0]
    moved = scoring.score(held_out, np.roll(held_out.synthetic, 2, axis=2))
    assert moved.drift_px is not None and abs(moved.drift_px.median - 2) < 0.2
    assert rank_of(moved.metrics(), scoring.limits)[0]


@pytest.mark.slow
def test_the_pupil_finder_is_for_eyes_as_wide_as_the_card_says(renders, tmp_path) -> None:
    """A finder for 40 px finds nothing in eyes of 80."""
    options = UnityEyesOptions(crop=EyeCrop(height=70, width=110, eye_width_px=80.0))
    dataset = fakes.ingest_here(renders, tmp_path / "wide", options)
    held_out, scoring = held_out_of(dataset), EYE_DOMAIN.scoring(dataset, TEST)
    score = scoring.score(held_out, np.roll(held_out.synthetic, 3, axis=2))
    assert score.drift_px is not None and score.drift_px.num > len(held_out.synthetic) / 2
    assert score.drift_px.median == pytest.approx(3, abs=0.1)
    assert scoring.limits == {"drift_median_px": pytest.approx(1.6)}


@pytest.mark.slow
def test_a_score_has_the_closed_share_or_the_reason_why_not(synthetic) -> None:
    """Real images are renders of less contrast with grain here, and so are the refined ones."""
    held_out, scoring = held_out_of(synthetic), EYE_DOMAIN.scoring(synthetic, TEST)
    few = scoring.score(held_out, held_out.synthetic)
    assert few.closed_share is not None and "closed_share" not in few.metrics()
    assert (
        few.closed_share.why_not
        == "24 renders and 24 real images are too few: 20 and 40 are needed"
    )
    noise = np.random.default_rng(0).integers(0, 30, (60, *held_out.real.shape[1:]))
    grainy = np.clip(held_out.real[np.arange(60) % 24] // 2 + noise, 0, 255).astype(np.uint8)
    enough = dataclasses.replace(held_out, real=grainy)
    quick = LookSettings(num_rounds=10, features=FeatureTraining(num_features=8, num_steps=3))
    scoring = dataclasses.replace(scoring, looks=quick)
    right = np.clip(held_out.synthetic // 2 + noise[:24], 0, 255).astype(np.uint8)
    same, right_share = (
        scoring.score(enough, refined).metrics()["closed_share"]
        for refined in (held_out.synthetic, right)
    )
    assert same == pytest.approx(0, abs=1e-9) and right_share > 0.5
