"""Train a small network that finds the joints of hands, a witness of what refined ones show."""

import numpy as np

from cluster.job.command import run_command
from cluster.job.estimators import (
    EstimatorJob,
    EstimatorKind,
    Judged,
    labelled_images,
    train_estimator,
)
from factory.dataset.dataset import Dataset
from factory.domains.eye.estimator_page import joints_png
from factory.domains.hand.networks.joint_training import (
    NEAR_PX,
    JointTraining,
    Posed,
    joint_errors,
    mean_joints_px,
    train_joints,
)
from factory.domains.hand.networks.joints import (
    JointDescription,
    JointNetwork,
    check_size,
    found_joints_px,
    joints_px_of,
    load_joints,
)

PICTURE = "joints.png"


class JointsJob(EstimatorJob, JointTraining):
    """Train a small network that finds the 14 evaluated joints of hands, on labelled renders.

    Writes joints.safetensors and joints.json, with its errors on the held-out split in px beside
    those of always answering the mean joints, and joints.png, to look at. Some minutes of one core;
    begun anew if it is stopped.
    """


def main(job: JointsJob) -> None:
    image = Dataset.open(job.synthetic).card.image
    if image.bits == 16:  # other domains are refused by their name
        check_size(image.height, image.width, job.reduce)
    train_estimator(job, KIND)


def _posed(dataset: Dataset, split: str) -> Posed:
    images, index = labelled_images(dataset, split, ["joints14_uvd", "cube_mm"])
    cubes_mm = np.unique(index["cube_mm"].to_numpy())
    if len(cubes_mm) != 1:
        raise ValueError(
            f"{dataset.location} has cubes of {', '.join(map(str, cubes_mm))} mm; "
            "ingest its renders with one --nyu.cube-mm"
        )
    return Posed(images, joints_px_of(index, dataset.card.image), int(cubes_mm[0]))


def _judged(network: JointNetwork, labelled: Posed, held_out: Posed) -> Judged:
    found = found_joints_px(network, held_out.images)
    errors = joint_errors(found, held_out.joints_px, mean_joints_px(labelled.joints_px))
    told = (
        f"{len(found)} hands, mean {errors.px.mean:.1f} px, median {errors.px.median:.1f} px, "
        f"{errors.within_5_px:.0%} of joints within {NEAR_PX:g} px; of the mean joints "
        f"{errors.mean_answer_px.mean:.1f} px, {errors.mean_answer_px.median:.1f} px, "
        f"{errors.mean_answer_within_5_px:.0%}"
    )
    picture = joints_png(held_out.images, held_out.joints_px, found)
    return Judged({"held_out": errors}, {PICTURE: picture}, told)


KIND = EstimatorKind(
    domain="hand",
    description=JointDescription,
    training=JointTraining,
    load=load_joints,
    read=_posed,
    train=train_joints,
    judge=_judged,
    loss="{:.2f} px",
)


if __name__ == "__main__":
    run_command(JointsJob, main)
