"""`runs/<id>/<what>.json`: what a run did, and which stage held it back."""

from schemas.base import Model

BUSY = 0.5
"""share of a stage's workers' time below which it did not hold the run back"""


class StageTime(Model):
    """One stage of a run."""

    name: str
    seconds: float
    """of work, over all workers"""
    busy: float
    """share of the run's time that as many workers as cores would have been busy with it"""


class RunSummary(Model):
    """What came of one run of shards; `runs/<id>/<what>.json`."""

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
    """inputs dealt with a second, with the start of the workers"""
    workers: int
    stages: tuple[StageTime, ...]
    engines: dict[str, int]
    """shards by the name of what refined them"""

    def to_json(self) -> bytes:
        """Indented, with a newline."""
        return self.model_dump_json(indent=2).encode() + b"\n"

    def bottleneck(self) -> str:
        """What one would have to speed up."""
        busiest = max(self.stages, key=lambda stage: stage.busy, default=None)
        if busiest is None or busiest.busy < BUSY:
            return "start-up and waiting: too little work for these workers"
        return f"{busiest.name}, busy {busiest.busy:.0%} of the time"

    def lines(self) -> list[str]:
        """For a terminal."""
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
