"""`runs/<id>/<what>.json`: what a run did, and which stage limited its speed."""

from schemas.base import Model

BUSY = 0.5
"""share of its workers' time for which a stage must be busy to be called the bottleneck"""


class StageTime(Model):
    """One stage of a run."""

    name: str
    seconds: float
    """time of work, summed over all workers"""
    busy: float
    """share of the run's time for which the stage would have kept one worker on each core busy"""


class RunSummary(Model):
    """The result of one run over shards; `runs/<id>/<what>.json`."""

    what: str
    num_shards: int
    num_set_aside: int
    num_samples: int
    num_rejected: int
    num_filtered: int
    reasons: dict[str, int]
    """why inputs were rejected or filtered"""
    set_aside: dict[int, str]
    """why shards were not made"""
    wall_s: float
    images_per_s: float
    """inputs for each second of the run, including the start of the workers"""
    workers: int
    stages: tuple[StageTime, ...]
    engines: dict[str, int]
    """number of shards by the name of the engine that refined them"""

    def bottleneck(self) -> str:
        """The stage to speed up first, for a log."""
        busiest = max(self.stages, key=lambda stage: stage.busy, default=None)
        if busiest is None or busiest.busy < BUSY:
            return "start-up and waiting: too little work for these workers"
        return f"{busiest.name}, busy {busiest.busy:.0%} of the time"

    def lines(self) -> list[str]:
        """The summary as lines of text."""
        lines = [
            f"{self.what}: {self.num_samples} samples in {self.num_shards} shards, "
            f"{self.num_rejected} rejected, {self.num_filtered} filtered, "
            f"{self.num_set_aside} shards set aside; {self.wall_s:.1f} s on {self.workers} "
            f"workers, {self.images_per_s:.1f} images/s"
        ]
        if len(self.stages) > 1:
            parts = ", ".join(f"{stage.name} {stage.seconds:.1f} s" for stage in self.stages)
            lines.append(f"{self.what}: work by stage: {parts}")
        lines += [f"{self.what}: {n} shards by engine {name}" for name, n in self.engines.items()]
        lines.append(f"{self.what}: held back by {self.bottleneck()}")
        lines += [f"{self.what}: set aside: shard {s}: {why}" for s, why in self.set_aside.items()]
        return lines
