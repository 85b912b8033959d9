"""Damage a refined dataset in many ways and measure how little of it validation catches."""

from functools import partial

from cluster.job.command import run_command
from cluster.job.measuring import MeasuringJob
from schemas.place import Place
from schemas.power import PowerSettings
from schemas.shipped import GateFile


class PowerJob(MeasuringJob, PowerSettings):
    """Damage a refined dataset in many ways and measure how little of it validation catches.

    The dataset is taken to be good. Half of its identities set the limits; on the other half false
    alarms are counted and samples are damaged in every way that its domain knows. Writes power.md
    (the table), power.png (the curves), power.json, and gate.toml: the limits on samples, to be
    reviewed and put into a gate. Measurements are stored in damaged/, so a stopped run goes on
    where it was.
    """

    output: Place
    """folder for the results, or s3://bucket/prefix"""
    gate: GateFile | None = None
    """try the limits on samples of this gate, on all identities, instead of fitting limits: a TOML
    file, or the name of a gate that comes with simgan-factory"""


def main(job: PowerJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.on_ray.session import start
    from factory.domains.registry import domain_of, options_by_domain
    from factory.validation.gate import load_gate
    from factory.validation.pairs import open_pair
    from factory.validation.power.run import measure_power

    refined, parent = open_pair(job.input, job.parent)
    if job.split is not None:
        refined.require_splits(job.split)
    domain = domain_of(refined)
    damages, validator = domain.damage(), domain.validator()
    gate = None if job.gate is None else load_gate(job.gate, validator.report)
    measuring = options_by_domain(job, "measuring_options")[domain.name]
    witnesses = validator.witnesses(refined, parent, job.networks(), measuring)
    with start(job, job.output, workers=job.workers) as session:
        measure_power(
            refined,
            parent,
            job.split,
            witnesses,
            damages,
            job.part(PowerSettings),
            job.output,
            make_shards=session.make_shards,
            side_by_side=partial(session.side_by_side, what="damage"),
            gate=gate,
        )


if __name__ == "__main__":
    run_command(PowerJob, main)
