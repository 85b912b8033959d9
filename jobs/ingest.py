"""Turn raw renders or camera images into a dataset of shards, once."""

from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from cluster.job.choices import Choices, ChoosingJob
from cluster.job.command import OptionalCount, run_command
from factory.domains.registry import options_by_domain, options_by_source, options_of, sources
from schemas.place import Place


class IngestJob(ChoosingJob, *options_of("ingest_options")):
    """Turn raw renders or camera images into a dataset of shards, once.

    New inputs become new shards when the command is run again. Malformed inputs are set aside in
    the dataset's rejected/ folder with their reason.
    """

    chosen_by: ClassVar[str] = "source"
    dependent: ClassVar[frozenset[str]] = frozenset({"options"})

    source: str
    """what the input is: one of the sources above"""
    input: Place
    """a folder or s3://bucket/prefix, with or without archives (zip, tar, tar.gz, …) in it, or one
    archive"""
    output: Place
    """the dataset to make or to add to: a folder, or s3://bucket/prefix"""
    shard_size: OptionalCount = None
    """inputs planned into one shard; default 16384 eyes, 1024 hands"""
    max_reject_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """fail if more than this share of the inputs is malformed (filtered ones do not count)"""
    max_ignored_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """fail, and plan nothing, if more than this share of the files is of kinds that the source does
    not read (hidden files do not count)"""
    splits: tuple[str, ...] = ("train=1",)
    """splits and the share of identities in each, e.g. train=0.9 test=0.1"""
    options: dict[str, str] = Field(default={})
    """options of the source: each name, then its value"""
    min_shard: Annotated[int, Field(gt=0)] = 1
    """hold new inputs back until there are this many (in each split), so that ten renders a night
    need not make ten-sample shards; whole shards are always made"""
    workers: OptionalCount = None
    """parallel workers; default one per core"""
    moved: bool = False
    """inputs were moved; match them to earlier plans by name"""
    give_up_vanished: bool = False
    """commit planned shards none of whose inputs exists any more, as empty ones"""
    allow_misplaced_labels: bool = False
    """make samples also where the labels plainly do not belong to their pictures, for example
    because these were resized after rendering"""
    overlap: bool = False
    """run although another run is working on this output; both may do the same work, but data is
    safe"""

    @classmethod
    def choices(cls) -> Choices:
        own = options_by_source()
        return {source: options or cls.dependent for source, options in own.items()}

    @classmethod
    def summary(cls, choice: str) -> str:
        return (sources()[choice].__doc__ or "").partition("\n")[0].removesuffix(".")

    @classmethod
    def note(cls, choice: str) -> str:
        if options_by_source()[choice]:
            return ""
        return (
            f"--options takes the names {', '.join(sources()[choice].options_kind.model_fields)}."
        )

    @field_validator("source")
    @classmethod
    def _known(cls, source: str) -> str:
        if source not in sources():
            raise ValueError(f"no source {source!r}; there are {', '.join(sources())}")
        return source

    @field_validator("splits")
    @classmethod
    def _sum_to_one(cls, splits: tuple[str, ...]) -> tuple[str, ...]:
        from factory.ingestion.planning import parse_splits

        parse_splits(splits)
        return splits


def main(job: IngestJob) -> None:
    # Imported here, so that --help and wrong options are answered at once.
    from cluster.on_ray.session import start
    from factory.ingestion.planning import parse_splits
    from factory.ingestion.run import ingest

    ingest(
        job.input,
        source=job.source,
        output=job.output,
        options=options_by_domain(job, "ingest_options"),
        texts=job.options,
        splits=parse_splits(job.splits),
        shard_size=job.shard_size,
        max_reject_share=job.max_reject_share,
        max_ignored_share=job.max_ignored_share,
        min_shard=job.min_shard,
        moved=job.moved,
        give_up_vanished=job.give_up_vanished,
        allow_misplaced_labels=job.allow_misplaced_labels,
        overlap=job.overlap,
        on=partial(start, job, job.output, workers=job.workers),
    )


if __name__ == "__main__":
    run_command(IngestJob, main)
