"""Train the paper's network that estimates gaze, to see whether refined images keep theirs."""

import logging

from cluster.command import run_command
from cluster.estimators import EstimatorJob, already_trained, labelled_eyes
from cluster.session import Progress, start
from cluster.training import lineage_of
from factory.dataset import Dataset
from factory.estimators import UNSAVED
from factory.gaze import GazeDescription, gaze_of, load_gaze, save_gaze
from factory.gaze_training import GazeTraining, Gazing, found_gaze_N3, gaze_errors, train_gaze
from factory.report.estimators import gaze_png, gaze_scatter_png
from factory.store import open_store

log = logging.getLogger(__name__)
PICTURE, SCATTER = "gaze.png", "gaze_scatter.png"


class GazeJob(EstimatorJob, GazeTraining):
    """Train the paper's network that estimates gaze, on renders or on refined images.

    Writes gaze.safetensors and gaze.json, with its error on the held-out split in degrees, and to
    look at gaze.png and gaze_scatter.png (true against estimated yaw and pitch). About ten minutes
    of one core; begun anew if it is stopped.
    """


def main(job: GazeJob) -> None:
    dataset = Dataset.open(job.synthetic)
    dataset.require_splits(job.split, job.held_out)
    training = job.part(GazeTraining)
    made_of = {**training.model_dump(mode="json"), "lineage": lineage_of(dataset, job.split)}
    with start(job, job.output):
        if already_trained(job.output, load_gaze, made_of):
            log.info("%s: already trained", job.output)
            return
        job.limit_threads()
        labelled, held_out = _labelled(dataset, job.split), _labelled(dataset, job.held_out)
        progress = Progress("gaze", job.steps, "updates")
        try:
            network = train_gaze(
                training, labelled, lambda loss: progress.advance(1, f"loss {loss:.4f}")
            )
        finally:
            progress.close()
        found = found_gaze_N3(network, held_out.images)
        errors = gaze_errors(found, held_out.gaze_N3, labelled.gaze_N3.mean(axis=0))
        store = open_store(job.output)
        store.put(PICTURE, gaze_png(held_out.images, held_out.gaze_N3, found))
        store.put(SCATTER, gaze_scatter_png(held_out.gaze_N3, found))
        described = GazeDescription(
            domain=dataset.card.domain,
            image=dataset.card.image,
            architecture=network.config,
            sha256=UNSAVED,
            held_out=errors,
            train=made_of,
        )
        save_gaze(job.output, network, described)
        log.info(
            "error on %d eyes of %s: mean %.1f°, median %.1f°; of the mean gaze %.1f°, %.1f°",
            len(found), job.held_out, errors.deg.mean, errors.deg.median,
            errors.mean_answer_deg.mean, errors.mean_answer_deg.median,
        )  # fmt: skip


def _labelled(dataset: Dataset, split: str) -> Gazing:
    images, index = labelled_eyes(dataset, split, ["gaze"])
    return Gazing(images, gaze_of(index))


if __name__ == "__main__":
    run_command(GazeJob, main)
