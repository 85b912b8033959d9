"""Train the paper's network that estimates gaze, to see whether refined images keep theirs."""

from cluster.job.command import run_command
from cluster.job.estimators import (
    EstimatorJob,
    EstimatorKind,
    Judged,
    labelled_eyes,
    train_estimator,
)
from factory.dataset.dataset import Dataset
from factory.domains.eye.estimator_page import gaze_png, gaze_scatter_png
from factory.domains.eye.networks.gaze import (
    GazeDescription,
    GazeNetwork,
    found_gaze_N3,
    gaze_of,
    load_gaze,
)
from factory.domains.eye.networks.gaze_training import (
    GazeTraining,
    Gazing,
    gaze_errors,
    train_gaze,
)

PICTURE, SCATTER = "gaze.png", "gaze_scatter.png"


class GazeJob(EstimatorJob, GazeTraining):
    """Train the paper's network that estimates gaze, on renders or on refined images.

    Writes gaze.safetensors and gaze.json, with its error on the held-out split in degrees, and to
    look at gaze.png and gaze_scatter.png (true against estimated yaw and pitch). About ten minutes
    of one core; begun anew if it is stopped.
    """


def main(job: GazeJob) -> None:
    train_estimator(job, KIND)


def _gazing(dataset: Dataset, split: str) -> Gazing:
    images, index = labelled_eyes(dataset, split, ["gaze"])
    return Gazing(images, gaze_of(index))


def _judged(network: GazeNetwork, labelled: Gazing, held_out: Gazing) -> Judged:
    found = found_gaze_N3(network, held_out.images)
    errors = gaze_errors(found, held_out.gaze_N3, labelled.gaze_N3.mean(axis=0))
    always = errors.mean_answer_deg
    told = (
        f"error on {len(found)} eyes: mean {errors.deg.mean:.1f}°, median {errors.deg.median:.1f}°;"
        f" of the mean gaze {always.mean:.1f}°, {always.median:.1f}°"
    )
    pictures = {
        PICTURE: gaze_png(held_out.images, held_out.gaze_N3, found),
        SCATTER: gaze_scatter_png(held_out.gaze_N3, found),
    }
    return Judged({"held_out": errors}, pictures, told)


KIND = EstimatorKind(
    domain="eye",
    description=GazeDescription,
    training=GazeTraining,
    load=load_gaze,
    read=_gazing,
    train=train_gaze,
    judge=_judged,
    loss="{:.4f}",
)


if __name__ == "__main__":
    run_command(GazeJob, main)
