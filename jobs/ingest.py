"""Turn raw renders or camera images into a dataset of shards, once."""

import logging
from collections import Counter
from collections.abc import Set
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field, field_validator

from cluster.job.command import JobConfig, run_command
from cluster.job.start import alone
from cluster.on_ray.session import Session, start
from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import reasons_of
from factory.dataset.tar import sha256
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.gaze_filter import GazeFilter, GazeWeights, Range
from factory.domains.eye.sources.gaze_weights import weights_for
from factory.domains.eye.sources.mpiigaze import MpiiGazeOptions
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.domains.hand.sources.nyu import NyuOptions
from factory.domains.registry import domain_of_source, make_source, sources
from factory.images import native
from factory.ingestion.ledger import containers_in, read_seen
from factory.ingestion.planning import Planned, parse_splits, plan_new_shards
from factory.ingestion.rejects import (
    Facts,
    check_reject_share,
    facts_by_shard,
    vanished_inputs,
)
from factory.ingestion.shards import ingest_task, ingested_card
from factory.sources.base import SourceOptions
from factory.sources.files import open_files
from factory.sources.input_table import InputTable
from factory.store.open import (
    absolute,
    name_of,
    open_store,
    real_place,
)
from schemas.base import FormatError

log = logging.getLogger(__name__)


class IngestJob(JobConfig):
    """Turn raw renders or camera images into a dataset of shards, once.

    New inputs become new shards when the command is run again; malformed ones are set aside in
    the dataset's rejected/ folder with their reason.
    """

    source: str
    """what the input is: UnityEyes renders (N.jpg + N.json), MPIIGaze's normalised .mat files, any
    folder of unlabelled eye pictures, or NYU's hands (synthdepth_* or depth_*, with joints):
    unityeyes, mpiigaze, images, nyu"""
    input: str
    """a folder or s3://bucket/prefix, with or without tar and zip archives in it, or one archive"""
    output: str
    """where the dataset lies: a folder, or s3://bucket/prefix"""
    shard_size: Annotated[int | None, Field(gt=0), tyro.conf.arg(metavar="INT")] = None
    """samples planned into one shard; default 16384 eyes, 1024 hands"""
    max_reject_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """fail if more than this share of the inputs is malformed (filtered ones do not count)"""
    splits: tuple[str, ...] = ("train=1",)
    """splits and the share of identities in each, e.g. train=0.9 test=0.1"""
    crop: EyeCrop = EyeCrop()
    nyu: NyuOptions = NyuOptions()
    options: dict[str, str] = Field(default={})
    """of a source that has no options of its own here, each after its name"""
    keep_gaze_yaw_deg: Range | None = None
    """UnityEyes only: keep gazes with yaw in this range, degrees, positive towards image left"""
    keep_gaze_pitch_deg: Range | None = None
    """UnityEyes only: keep gazes with pitch in this range, degrees, positive up"""
    keep_head_yaw_deg: Range | None = None
    """UnityEyes only: keep heads with yaw in this range, degrees"""
    target_gaze: Path | None = None
    """UnityEyes only: resample to the gazes in this .npz, whose gaze_rad (n, 2) is (yaw, pitch)"""
    min_shard: Annotated[int, Field(gt=0)] = 1
    """hold new inputs back until so many have gathered (in each split), so that ten renders a night
    need not make ten-sample shards; whole shards are always made"""
    workers: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """parallel workers; default one a core"""
    moved: bool = False
    """the inputs lay at another place when earlier runs planned them"""
    give_up_vanished: bool = False
    """commit planned shards without a single input that is still there, as empty ones"""
    overlap: bool = False
    """work beside another run that is at work on this output; safe, but much is done twice"""

    @field_validator("source")
    @classmethod
    def _known(cls, source: str) -> str:
        if source not in sources():
            raise ValueError(f"no source {source!r}; there are {', '.join(sources())}")
        return source

    @field_validator("splits")
    @classmethod
    def _sum_to_one(cls, splits: tuple[str, ...]) -> tuple[str, ...]:
        parse_splits(splits)
        return splits


def main(job: IngestJob) -> None:
    location = absolute(job.input)
    _check_apart(job)
    open_files(location)  # before a run leaves its folder beside nothing
    options = _options(job)
    with (
        start(job, job.output, workers=job.workers) as session,
        alone("ingest", job.output, overlap=job.overlap) as may_go_on,
    ):
        for line in _not_applied(job):
            log.warning(line)
        if may_go_on:
            _ingest(job, location, options, session)


def _check_apart(job: IngestJob) -> None:
    source, output = real_place(job.input), real_place(job.output)
    if f"{output}/".startswith(f"{source}/"):
        raise ValueError(
            f"--output {job.output} lies in --input {job.input}: the next run would ingest its "
            "shards; choose an output beside the input"
        )


def _known(output: str) -> tuple[Facts, dict[str, str]]:
    """Facts of the shards that are there, and their vanished inputs."""
    try:
        dataset = Dataset.open(output)
        facts = facts_by_shard(dataset)
        return facts, vanished_inputs(dataset, facts)
    except FileNotFoundError:  # the first run
        pass
    except FormatError as error:  # a damaged index: no reason to hold up what is new
        log.warning("which inputs had vanished cannot be told: %s", error)
    return {}, {}


def _ingest(job: IngestJob, location: str, options: SourceOptions, session: Session) -> None:
    source = make_source(location, options)
    facts, vanished = _known(job.output)
    seen = containers_in(read_seen(open_store(job.output)), without=vanished)
    with InputTable(source.scan(seen)) as inputs:
        if not len(inputs) and all(c.problem is None for c in inputs.containers):
            raise ValueError(f"{job.input}: no {job.source} inputs found there")
        kind = domain_of_source(job.source).sample_kind
        card = ingested_card(
            kind,
            name_of(job.output),
            source,
            shard_size=job.shard_size or kind.shard_size,
            splits=parse_splits(job.splits),
        )
        dataset = Dataset.enter(job.output, card)
        planned = plan_new_shards(
            dataset, source, inputs, min_shard=job.min_shard, vanished=vanished, moved=job.moved
        )
    here = (None, real_place(location))
    missing = sorted(set(range(len(planned.shard_sizes))) - set(dataset.committed()))
    if not job.moved:
        missing = [shard for shard in missing if planned.locations[shard] in here]
    found = f"{planned.num_listed} inputs listed, {planned.num_new} new"
    if planned.num_rewritten:
        found += f" ({planned.num_rewritten} in place of older versions)"
    if planned.num_held:
        found += f", {planned.num_held} held back until {job.min_shard} have gathered"
    if missing:
        log.info("%s; %d shards to make", found, len(missing))
        if native.crops is None:
            log.info(native.how())
        num_inputs = sum(planned.shard_sizes[shard] for shard in missing)
        task = ingest_task(dataset, source, may_be_gone=job.give_up_vanished)
        outcomes = session.make_shards("ingest", task, missing, num_inputs)
        for reason, count in reasons_of(outcomes).most_common(10):
            log.info("set aside: %d × %s", count, reason)
    facts = facts_by_shard(dataset, facts)
    kept, filtered, rejected = check_reject_share(dataset, facts, job.max_reject_share)
    log.info(
        "%s: %s%d planned = %d kept + %d filtered + %d rejected, in %d shards",
        job.output,
        "" if missing else f"nothing to do: {found}; ",
        kept + filtered + rejected,
        kept,
        filtered,
        rejected,
        len(facts),
    )
    not_done = [*planned.unreadable, *_waiting(planned, set(facts), location)]
    if not_done:
        raise ValueError("everything else is done, but:\n  " + "\n  ".join(not_done))


def _waiting(planned: Planned, made: Set[int], location: str) -> list[str]:
    """Shards that only a run on another place can make."""
    here = (None, real_place(location))
    waiting = Counter(
        place
        for shard, place in enumerate(planned.locations)
        if shard not in made and place not in here
    )
    return [
        f"{count} planned shards wait for a run with --input {place}, or for --moved if its inputs "
        f"lie in {location} now"
        for place, count in waiting.items()
    ]


def _not_applied(job: IngestJob) -> list[str]:
    """Options that were given and are for other sources."""
    lines = []
    if job.source != "unityeyes":
        renders_only = ("keep_gaze_yaw_deg", "keep_gaze_pitch_deg", "keep_head_yaw_deg")
        given = [n for n in (*renders_only, "target_gaze") if getattr(job, n) is not None]
        if given:
            lines.append(f"{', '.join(given)}: for UnityEyes renders only, not applied")
    if job.source == "nyu" and job.crop != EyeCrop():
        lines.append("crop: for eyes only, not applied")
    if job.source != "nyu" and job.nyu != NyuOptions():
        lines.append("nyu: for hands only, not applied")
    if job.source in ("unityeyes", "mpiigaze", "images", "nyu") and job.options:
        lines.append(f"options: {job.source} has options of its own, these are not applied")
    return lines


def _options(job: IngestJob) -> SourceOptions:
    match job.source:
        case "images":
            return PicturesOptions(crop=job.crop)
        case "mpiigaze":
            return MpiiGazeOptions(crop=job.crop)
        case "unityeyes":
            keep = GazeFilter(
                gaze_yaw_deg=job.keep_gaze_yaw_deg,
                gaze_pitch_deg=job.keep_gaze_pitch_deg,
                head_yaw_deg=job.keep_head_yaw_deg,
                weights=_weights(job),
            )
            return UnityEyesOptions(crop=job.crop, keep=keep)
        case "nyu":
            return job.nyu
        case other:
            return sources()[other].options_kind.model_validate_strings(job.options)


def _weights(job: IngestJob) -> GazeWeights | None:
    """Frozen in the card at the first run; a later run takes those, whatever arrived since."""
    if job.target_gaze is None:
        return None
    digest = sha256(job.target_gaze.read_bytes())
    try:
        config = Dataset.open(job.output).card.config
        frozen = None
        if config["source"] == job.source:
            frozen = UnityEyesOptions.model_validate(config["options"]).keep.weights
        if frozen is not None and frozen.target_sha256 == digest:
            return frozen
    except FileNotFoundError:
        pass
    source = UnityEyesSource(job.input, UnityEyesOptions(crop=job.crop))
    return weights_for(source, source.listing(), job.target_gaze, digest)


if __name__ == "__main__":
    run_command(IngestJob, main)
