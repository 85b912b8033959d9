"""Real eyes on which models are scored. Axes: N images, M frames or images that are scored."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.optimize import least_squares

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index
from factory.domains.eye.networks.gaze import angle_deg, unit
from factory.domains.eye.quantities import GAZE, IRIS, distance_px
from factory.domains.eye.sources.iris_masks import IrisMasksSource
from factory.domains.eye.sources.screen_targets import ScreenTargetsSource
from factory.networks.evaluation_kinds import (
    Errors,
    Examples,
    LoadedTest,
    Names,
    Quantity,
    TestSet,
    Values,
)

BlockSet = Literal["even", "odd", "even:first", "even:second"]
"""blocks by their position in the order of their names, from 0; `even:first` and `even:second` are
the even ones in turn, positions 0, 4, 8 and 2, 6, 10"""
_RESIDUES: Mapping[BlockSet, frozenset[int]] = {
    "even": frozenset({0, 2}),
    "odd": frozenset({1, 3}),
    "even:first": frozenset({0}),
    "even:second": frozenset({2}),
}
"""of the positions of blocks, divided by 4"""
MIN_FRAMES = 10
"""of a person, that a map to the screen is fitted to"""
MIN_SPREAD = 1e-4
"""root mean square of the tangents of the estimates, about 0.006 degrees, below which a model is
taken to answer the same in that direction"""
MIN_FORWARD = 0.1
"""the least part of a gaze that counts towards the camera, so that its tangents are finite"""
HUBER = 1.345
"""residuals beyond this number of standard deviations count less"""
MAD_TO_SIGMA = 1.4826
"""the standard deviation of a normal distribution of which the median of absolute values is 1"""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ScreenTargets(TestSet):
    """Eyes that looked at known dots on a screen, of the source `screen-targets`.

    The estimates of a frame are averaged over its pictures, and an affine map from their tangents
    to the screen is fitted for each person on the calibration blocks, by Huber's loss. The error of
    a scored frame is the angle between the dot and the point that the map gives, at the eye of a
    viewer in front of the middle of the screen.
    """

    quantity: ClassVar[str] = GAZE.name

    screen_px: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = (1920, 1080)
    """width and height of the screen in pixels"""
    screen_cm: tuple[Positive, Positive] = (34.5, 19.4)
    """its width and height in centimetres"""
    distance_cm: Positive = 55.0
    """from the eye to the middle of the screen, in centimetres"""
    calibrate: BlockSet = "even"
    """blocks that the map to the screen is fitted on"""
    score: BlockSet = "odd"
    """blocks that errors are measured on"""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if _RESIDUES[self.calibrate] & _RESIDUES[self.score]:
            raise ValueError(
                f"the blocks of calibrate ({self.calibrate}) and of score ({self.score}) must have "
                "none in common"
            )
        return self

    def load(self) -> LoadedTest:
        rows = _rows(self.dataset, ScreenTargetsSource.name)
        seen = [orjson.loads(extra) for extra in rows["extra"].to_pylist()]
        groups = _names(rows["identity"])
        position = np.array([known["block_position"] for known in seen])
        in_calibration, in_score = (
            np.isin(position % 4, list(_RESIDUES[blocks]))
            for blocks in (self.calibrate, self.score)
        )
        self._check(groups, in_calibration, in_score)
        kept = in_calibration | in_score
        images = load_images(Dataset.open(self.dataset))
        used = [known for known, is_kept in zip(seen, kept, strict=True) if is_kept]
        looks = _Looks.of(used, rows.filter(pa.array(kept)), in_score[kept])
        looks.check(self.dataset)
        learnable = Examples(
            images[in_calibration],
            self._nominal_gaze(looks)[~in_score[kept]],
            groups[in_calibration],
        )
        return LoadedTest(
            images[kept],
            lambda estimates: self._score(looks, estimates),
            learnable,
            self._notes(looks),
        )

    def _check(
        self, groups: Names, in_calibration: NDArray[np.bool_], in_score: NDArray[np.bool_]
    ) -> None:
        for what, blocks, chosen in (
            ("calibrate", self.calibrate, in_calibration),
            ("score", self.score, in_score),
        ):
            if not chosen.any():
                raise ValueError(
                    f"{self.dataset} has no picture in the {blocks} blocks, which {what} names; "
                    "was it made with --blocks all?"
                )
        shared = set(groups[in_calibration]) & set(groups[in_score])
        if shared:
            raise ValueError(
                f"{self.dataset} has blocks of one name at different positions, as "
                f"{min(shared)}: its tables of targets differ in their blocks; give each block a "
                "name of its own"
            )

    def _score(self, looks: "_Looks", estimates: Values) -> Errors:
        tangents = looks.tangents(estimates)
        points_px = np.empty_like(looks.target_M2)
        for person in np.unique(looks.person_M):
            own = looks.person_M == person
            fitted = own & ~looks.is_scored_M
            to_screen = ScreenMap.fit(tangents[fitted], looks.target_M2[fitted])
            points_px[own] = to_screen(tangents[own])
        scored = looks.is_scored_M
        errors = angle_deg(self._towards(points_px[scored]), self._towards(looks.target_M2[scored]))
        return Errors(errors, looks.group_M[scored])

    def _towards(self, points_px: Values) -> Values:
        """(M, 3) from the eye to points on the screen, in the camera frame, cm.

        The viewer faces the camera, so the right of the screen is at the left of the picture.
        """
        size_px, size_cm = np.array(self.screen_px, float), np.array(self.screen_cm)
        x, y = ((points_px - (size_px - 1) / 2) / size_px * size_cm).T
        return np.stack([-x, y, np.full_like(x, -self.distance_cm)], axis=1)

    def _nominal_gaze(self, looks: "_Looks") -> Values:
        """(N, 3) unit vectors towards the targets, mirrored as the images are."""
        gaze = unit(self._towards(looks.target_M2[looks.frame_N]))
        gaze[:, 0] *= looks.sign_N
        return gaze

    def _notes(self, looks: "_Looks") -> tuple[str, ...]:
        scored = looks.is_scored_M
        num_persons = len(np.unique(looks.person_M))
        width_cm, height_cm = self.screen_cm
        return (
            f"Errors are nominal degrees: a screen of {width_cm:g} x {height_cm:g} cm at "
            f"{self.distance_cm:g} cm is stated, not measured, and the viewer is taken to be in "
            "front of its middle.",
            f"An affine map to the screen is fitted for each person on {(~scored).sum()} frames of "
            f"{len(np.unique(looks.group_M[~scored]))} blocks ({self.calibrate}), by Huber's loss "
            "because some targets are wrong; a model that always answers the same is given the "
            "mean target of these frames.",
            f"{scored.sum()} frames of {len(np.unique(looks.group_M[scored]))} blocks are scored "
            f"({self.score}); wrong targets among them are not left out.",
            "All are of one person, and intervals hold for this person only."
            if num_persons == 1
            else f"They are of {num_persons} persons.",
        )


class _Looks(NamedTuple):
    """Pictures (N) by the frames (M) that they show."""

    frame_N: NDArray[np.intp]  # noqa: N815
    """the frame of each picture"""
    sign_N: Values  # noqa: N815
    """-1 for mirrored pictures, 1 for others: what brings the x of a gaze back to the camera's"""
    target_M2: Values  # noqa: N815
    """the dot that was looked at, px of the screen"""
    group_M: Names  # noqa: N815
    person_M: Names  # noqa: N815
    is_scored_M: NDArray[np.bool_]  # noqa: N815
    """whether a frame is scored; the others calibrate"""

    @classmethod
    def of(
        cls, seen: Sequence[Mapping[str, Any]], rows: pa.Table, is_scored: NDArray[np.bool_]
    ) -> "_Looks":
        groups = _names(rows["identity"])
        tables = [id.partition(":")[0] for id in rows["source_id"].to_pylist()]
        number: dict[tuple[str, str, str], int] = {}
        frame = np.array(
            [
                number.setdefault((table, group, known["frame"]), len(number))
                for table, group, known in zip(tables, groups, seen, strict=True)
            ]
        )
        first = np.unique(frame, return_index=True)[1]
        return cls(
            frame,
            np.where([known["mirrored"] for known in seen], -1.0, 1.0),
            np.array([seen[n]["target_px"] for n in first], np.float64),
            groups[first],
            np.array([seen[n]["person"] or "" for n in first]),
            is_scored[first],
        )

    def check(self, where: str) -> None:
        """Raise ValueError unless every person has frames enough to calibrate with."""
        for person in np.unique(self.person_M):
            num_frames = int((~self.is_scored_M & (self.person_M == person)).sum())
            if num_frames < MIN_FRAMES:
                raise ValueError(
                    f"{where} has {num_frames} frames of the person '{person}' to calibrate with, "
                    f"at least {MIN_FRAMES} are needed"
                )

    def tangents(self, estimates: Values) -> Values:
        """(M, 2): x and y of the gaze in each frame, where its part along z is 1.

        Raises:
            ValueError: estimates are not finite, or of length 0.
        """
        gaze = unit(estimates)
        num_wrong = int((~np.isfinite(gaze).all(axis=1)).sum())
        if num_wrong:
            raise ValueError(f"{num_wrong} of {len(gaze)} estimated gazes are no directions")
        gaze[:, 0] *= self.sign_N
        sums = np.zeros((len(self.target_M2), 3))
        np.add.at(sums, self.frame_N, gaze)
        mean = sums / np.bincount(self.frame_N)[:, None]
        return np.asarray(mean[:, :2] / np.maximum(-mean[:, 2:], MIN_FORWARD))


class ScreenMap(NamedTuple):
    """An affine map from the tangents of gazes to points on a screen."""

    middle: Values
    """(2,) tangents that are mapped to `point_px`"""
    slopes: Values
    """(2, 2) px for each unit of the tangents"""
    point_px: Values
    """(2,)"""

    @classmethod
    def fit(cls, tangents: Values, target_px: Values) -> "ScreenMap":
        """The map that Huber's loss finds.

        Directions in which the tangents spread by less than `MIN_SPREAD` are left out; where none
        is left, every point is the mean target.

        Args:
            tangents: (M, 2).
            target_px: (M, 2).
        """
        middle, mean_px = tangents.mean(axis=0), target_px.mean(axis=0)
        _, sizes, directions = np.linalg.svd(tangents - middle, full_matrices=False)
        spread = sizes / np.sqrt(len(tangents))
        kept = spread >= MIN_SPREAD
        if not kept.any():
            return cls(middle, np.zeros((2, 2)), mean_px)
        to_units = (directions[kept] / spread[kept, None]).T
        ones = np.ones((len(tangents), 1))
        design = np.hstack([(tangents - middle) @ to_units, ones])
        fits = np.stack([_huber(design, axis_px) for axis_px in target_px.T], axis=1)
        return cls(middle, to_units @ fits[:-1], fits[-1])

    def __call__(self, tangents: Values) -> Values:
        """(M, 2) points on the screen, px."""
        return (tangents - self.middle) @ self.slopes + self.point_px


def _huber(design: Values, wanted: Values) -> Values:
    """The coefficients with which the columns of a design give what is wanted.

    The scale beyond which residuals count less is taken from those of the least squares.
    """
    start = np.linalg.lstsq(design, wanted, rcond=None)[0]
    sigma = MAD_TO_SIGMA * float(np.median(np.abs(design @ start - wanted)))

    def residuals(coefficients: Values) -> Values:
        return np.asarray(design @ coefficients - wanted)

    def slopes(_: Values) -> Values:
        return design

    scale = max(1.0, HUBER * sigma)
    solution = least_squares(residuals, start, slopes, loss="huber", f_scale=scale)
    return np.asarray(solution.x)


class IrisCentres(TestSet):
    """Eyes with hand-made masks, of the source `iris-masks`."""

    quantity: ClassVar[str] = IRIS.name

    def load(self) -> LoadedTest:
        rows = _rows(self.dataset, IrisMasksSource.name)
        seen = [orjson.loads(extra) for extra in rows["extra"].to_pylist()]
        truth = np.array([known["iris_center_px"] for known in seen], np.float64)
        outside = np.mean([known["outside_share"] > 0 for known in seen])
        return LoadedTest(
            load_images(Dataset.open(self.dataset)),
            lambda estimates: Errors(distance_px(estimates, truth), _names(rows["source_id"])),
            notes=(
                "The truth is the centre of the ellipse through the border of iris and sclera in "
                "hand-made masks; its own error is not known.",
                "Crops are framed and turned level by the corners of the mask.",
                f"{outside:.0%} of the crops reach beyond their pictures, whose edges are repeated "
                "there.",
                "Pictures have no identity: each is taken for one of its own.",
            ),
        )


class LabelledGaze(TestSet):
    """Eyes with the label `gaze`, such as MPIIGaze's."""

    quantity: ClassVar[str] = GAZE.name

    def load(self) -> LoadedTest:
        dataset = Dataset.open(self.dataset)
        if not dataset.card.labelled:
            raise ValueError(f"{self.dataset} is not labelled, and has no gazes to compare with")
        rows = load_index(dataset, ["gaze", "identity", "source_id"])
        images = load_images(dataset)
        try:
            truth = GAZE.read(rows)
        except ValueError as error:
            raise ValueError(f"{self.dataset}: {error}") from error
        ids = zip(rows["identity"].to_pylist(), rows["source_id"].to_pylist(), strict=True)
        groups = np.array([identity or source_id for identity, source_id in ids])
        return LoadedTest(
            images,
            lambda estimates: Errors(angle_deg(estimates, truth), groups),
            notes=(f"{len(images)} eyes of {len(np.unique(groups))} identities are scored.",),
        )


QUANTITIES: Mapping[str, Quantity] = {quantity.name: quantity for quantity in (GAZE, IRIS)}
TEST_SETS: Mapping[str, type[TestSet]] = {
    "screen_targets": ScreenTargets,
    "iris_centres": IrisCentres,
    "labelled_gaze": LabelledGaze,
}
"""by the `kind` in a configuration"""


def _rows(location: str, source: str) -> pa.Table:
    """The index of a dataset that one source made.

    Raises:
        ValueError: it is of another source, or empty.
    """
    columns = ["source_name", "source_id", "identity", "extra"]
    rows = load_index(Dataset.open(location), columns)
    sources = set(rows["source_name"].to_pylist())
    if sources != {source}:
        made = f"was made from {', '.join(sorted(sources))}" if sources else "has no samples yet"
        raise ValueError(
            f"{location} {made}; this test set needs a dataset that jobs/ingest.py --source "
            f"{source} made"
        )
    return rows


def _names(column: pa.ChunkedArray) -> Names:
    return np.array(column.to_pylist(), np.str_)
