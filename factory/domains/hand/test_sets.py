"""Hands on which models are scored. Axes: N images, M joints that are scored."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index
from factory.domains.hand.networks.joints import NUM_JOINTS, inside_or_nan
from factory.domains.hand.quantities import JOINTS, distances_px
from factory.networks.evaluation_kinds import (
    Errors,
    Examples,
    LoadedTest,
    Names,
    Quantity,
    TestSet,
    Values,
)


class LabelledJoints(TestSet):
    """Hands with labelled joints: frames of a camera, or stand-ins for them.

    A unit is one joint of one frame, so that the share of the units within 5 px is the measure of
    the paper's table 4. Joints outside the picture are not scored. Intervals are drawn over frames.
    """

    quantity: ClassVar[str] = JOINTS.name

    score: str = "test"
    """split whose joints are scored"""
    learn: str = "train"
    """split that may be trained on, by arms of real images"""
    frames: Literal["stand-ins", "camera"] = "stand-ins"
    """what took the frames: stand-ins are computed in the style of a camera, as jobs/simulate.py
    --style camera does, and the report says so; camera is for those who have labelled frames"""

    def load(self) -> LoadedTest:
        dataset = Dataset.open(self.dataset)
        if not dataset.card.labelled:
            raise ValueError(
                f"{self.dataset} is not labelled, and has no joints to compare with; ingest it "
                "with --nyu.labelled True"
            )
        images, truth, groups = _read(dataset, self.score)
        places_px = truth.reshape(-1, NUM_JOINTS, 2)
        inside_px = inside_or_nan(places_px.astype(np.float32), *images.shape[1:])
        is_scored = np.asarray(np.isfinite(inside_px).all(axis=-1))  # (N, 14)
        groups_M = np.repeat(groups[:, None], NUM_JOINTS, axis=1)[is_scored]

        def errors(estimates: Values) -> Errors:
            return Errors(distances_px(estimates, truth)[is_scored], groups_M)

        learnable = None
        if self.learn != self.score and self.learn in dataset.card.splits:
            learnable = Examples(*_read(dataset, self.learn))
        return LoadedTest(images, errors, learnable, self._notes(dataset, is_scored))

    def _notes(self, dataset: Dataset, is_scored: np.ndarray) -> tuple[str, ...]:
        num_joints, num_frames = int(is_scored.sum()), len(is_scored)
        notes = [
            f"{num_joints:,} joints of {num_frames:,} hands are scored, each by its distance in px "
            f"of the {dataset.card.image.width} px wide crop; hidden joints count too.",
        ]
        if (outside := is_scored.size - num_joints) > 0:
            notes.append(f"{outside:,} joints lie outside their pictures, and are not scored.")
        if dataset.card.kind == "synthetic":
            notes.append("The images are renders as they were drawn, without the look of a camera.")
        elif self.frames == "stand-ins":
            notes.append(
                "The images are stand-ins: renders in the style of a depth camera, of hands that "
                "no training saw. Errors on frames of a real camera were not measured."
            )
        return tuple(notes)


QUANTITIES: Mapping[str, Quantity] = {JOINTS.name: JOINTS}
TEST_SETS: Mapping[str, type[TestSet]] = {"labelled_joints": LabelledJoints}
"""by the `kind` in a configuration"""


def _read(dataset: Dataset, split: str) -> tuple[np.ndarray, Values, Names]:
    """Images, joints and frames of a split."""
    shards = dataset.committed_in(split)
    rows: pa.Table = load_index(dataset, [*JOINTS.columns, "identity", "source_id"], shards)
    images = load_images(dataset, shards)
    try:
        truth = JOINTS.read(rows)
    except ValueError as error:
        raise ValueError(f"{dataset.location}: {error}") from error
    ids = zip(rows["identity"].to_pylist(), rows["source_id"].to_pylist(), strict=True)
    return images, truth, np.array([identity or source_id for identity, source_id in ids])
