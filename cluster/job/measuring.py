"""The options that the jobs which measure refined datasets share."""

from pydantic import Field

from cluster.job.command import JobConfig, OptionalCount
from factory.domains.registry import options_of
from factory.store.open import absolute
from schemas.place import Place


class MeasuringJob(JobConfig, *options_of("measuring_options")):
    """Which dataset, and what it is measured with."""

    input: Place
    """a refined dataset"""
    witnesses: dict[str, Place] = Field(default={})
    """trained networks to measure with, each after its name; for eyes, landmarks PLACE (the output
    of the job `estimator landmarks`), gaze PLACE (of `estimator gaze`) and mediapipe PLACE
    (MediaPipe's iris model, see docs/validation.md); for hands, joints PLACE (of `estimator
    joints`). Not the network that the refiner was trained to please (--label-network)"""
    parent: Place | None = None
    """where the synthetic parent is now, if it was moved"""
    split: str | None = None
    """only this split of the datasets, e.g. one that the refiner was not trained on; default all"""
    workers: OptionalCount = None
    """parallel workers; default one per core"""

    def networks(self) -> dict[str, str]:
        """Where the networks are stored, as every process understands it, by name of witness."""
        return {name: absolute(location) for name, location in self.witnesses.items()}
