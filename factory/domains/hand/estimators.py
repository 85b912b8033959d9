"""The network that finds the joints of hands, as a kind that `jobs/estimator.py` trains."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from factory.dataset.dataset import Dataset
from factory.networks.estimator_kinds import EstimatorKind, Judged, labelled_images
from schemas.dataset import ImageSpec
from schemas.hand.estimators import JointDescription, JointTraining
from schemas.hand.kind import HAND

if TYPE_CHECKING:
    from factory.domains.hand.networks.joint_training import Posed
    from factory.domains.hand.networks.joints import JointNetwork
    from factory.networks.estimator_training import OnUpdate


class JointEstimator(EstimatorKind[JointTraining, "Posed", "JointNetwork"]):
    """Train a small network that finds the 14 evaluated joints of hands.

    Writes joints.safetensors, joints.json with its errors on the held-out split in px beside those
    of always answering the mean joints, and the picture joints.png. `jobs/validate.py --witnesses
    joints` takes the output. The defaults take some minutes on one core. A training that was
    stopped begins anew.
    """

    domain = HAND.name
    description = JointDescription
    training = JointTraining
    loss_format = "{:.2f} px"

    def check(self, training: JointTraining, image: ImageSpec) -> None:
        if image.bits != 16:
            raise ValueError(f"joints are found in 16-bit depth pictures, not in {image.bits} bits")
        from factory.domains.hand.networks.joints import check_size

        check_size(image.height, image.width, training.reduce)

    def load(self, location: str | Path) -> "tuple[JointNetwork, JointDescription]":
        from factory.domains.hand.networks.joints import load_joints

        return load_joints(location)

    def read(self, dataset: Dataset, split: str) -> "Posed":
        from factory.domains.hand.networks.joint_training import Posed
        from factory.domains.hand.networks.joints import joints_px_of

        images, index = labelled_images(dataset, split, ["joints14_uvd", "cube_mm"])
        cubes_mm = np.unique(index["cube_mm"].to_numpy())
        if len(cubes_mm) != 1:
            raise ValueError(
                f"{dataset.location} has cubes of {', '.join(map(str, cubes_mm))} mm; "
                "ingest its renders with one --nyu.cube-mm"
            )
        depth = images.astype(np.uint16, copy=False)  # `check` has refused images of 8 bits
        return Posed(depth, joints_px_of(index, dataset.card.image), int(cubes_mm[0]))

    def train(
        self, training: JointTraining, labelled: "Posed", on_update: "OnUpdate"
    ) -> "JointNetwork":
        from factory.domains.hand.networks.joint_training import train_joints

        return train_joints(training, labelled, on_update)

    def judge(self, network: "JointNetwork", labelled: "Posed", held_out: "Posed") -> Judged:
        from factory.domains.hand.estimator_pictures import joints_png
        from factory.domains.hand.networks.joint_training import (
            NEAR_PX,
            joint_errors,
            mean_joints_px,
        )
        from factory.domains.hand.networks.joints import found_joints_px

        found_px = found_joints_px(network, held_out.images)
        errors = joint_errors(found_px, held_out.joints_px, mean_joints_px(labelled.joints_px))
        mean_answer = errors.mean_answer_px
        return Judged(
            errors={"held_out": errors},
            pictures={"joints.png": joints_png(held_out.images, held_out.joints_px, found_px)},
            summary=f"error on {len(found_px)} hands: mean {errors.px.mean:.1f} px, "
            f"median {errors.px.median:.1f} px, {errors.within_5_px:.0%} of the joints within "
            f"{NEAR_PX:g} px; of always answering the mean joints: mean {mean_answer.mean:.1f} px, "
            f"median {mean_answer.median:.1f} px, {errors.mean_answer_within_5_px:.0%}",
        )
