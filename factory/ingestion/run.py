"""One run of ingest: list the inputs, plan what is new, make the planned shards that are missing.

How shards are made is an argument: on a cluster, or one after the other in a debugger.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType

from factory.dataset.dataset import Dataset, require_same_card
from factory.dataset.known_facts import known_facts
from factory.dataset.lost_tars import lost_tars
from factory.dataset.plans import read_plans
from factory.dataset.session import BeginSession, here
from factory.dataset.shard_tasks import MakeShards, reasons_of
from factory.domains.registry import GivenOptions, domain_of_source
from factory.images import native
from factory.ingestion.label_check import check_labels
from factory.ingestion.ledger import containers_in, read_seen
from factory.ingestion.opening import card_of, open_source, unused_options
from factory.ingestion.planning import Planned, plan_new_shards
from factory.ingestion.rejects import check_reject_share
from factory.ingestion.settled import asked_of, look_before, settle
from factory.ingestion.shards import ingest_task
from factory.sources.base import Source
from factory.sources.input_table import InputTable
from factory.store.lease import alone
from factory.store.open import open_store, real_place
from schemas.dataset import DatasetCard
from schemas.index import ShardFacts
from schemas.inputs import InputsSummary, counted, num_not_hidden
from schemas.outcome import Outcome
from schemas.text import one_line

log = logging.getLogger(__name__)
NAMED = 20
"""things that are not done which a message names"""
WHOLE: Mapping[str, float] = MappingProxyType({"train": 1.0})
"""one split of all inputs"""
NO_TEXTS: Mapping[str, str] = MappingProxyType({})


class TooManyIgnoredError(ValueError):
    """More files are no inputs than the job allows."""


def ingest(
    input: str | Path,
    *,
    source: str,
    output: str | Path,
    options: GivenOptions = None,
    splits: Mapping[str, float] = WHOLE,
    shard_size: int | None = None,
    max_reject_share: float = 0.05,
    max_ignored_share: float = 1.0,
    min_shard: int = 1,
    moved: bool = False,
    give_up_vanished: bool = False,
    allow_misplaced_labels: bool = False,
    overlap: bool = False,
    texts: Mapping[str, str] = NO_TEXTS,
    on: BeginSession = here,
) -> Dataset:
    """Turn raw renders or camera images into a dataset of shards, once.

    The same call again makes what is missing, and new shards of new inputs. Malformed inputs are
    set aside in the dataset's rejected/ folder with their reason.

        eyes = ingest("data/renders", source="unityeyes", output="data/eyes")

    Args:
        input: a folder or s3://bucket/prefix, with or without archives in it, or one archive.
        source: what the input is: `unityeyes`, `mpiigaze`, `images`, `screen-targets`,
            `iris-masks`, `nyu`, or a source of an installed domain.
        output: the dataset to make or to add to: a folder, or s3://bucket/prefix.
        options: how inputs are cropped and chosen: a model such as `EyeIngestOptions`, or its
            fields by name, as a table `[ingest]` of a configuration has them, for example
            `{"crop": {"equalise": True}, "keep_gaze_yaw_deg": (-25, 25)}`.
        splits: name to share of the identities; shares sum to 1.
        shard_size: inputs planned into one shard; None for what suits the domain.
        max_reject_share: of the inputs, 0 to 1, that may be malformed.
        max_ignored_share: of the files, 0 to 1, that may be no inputs; hidden ones do not count.
        min_shard: fewer new inputs than this (in a split) are held back.
        moved: inputs were moved since earlier runs planned them; they are matched to these plans by
            name.
        give_up_vanished: commit planned shards none of whose inputs exists any more, as empty ones.
        allow_misplaced_labels: make samples also where labels do not belong to their pictures.
        overlap: run although another run is working on this output. Otherwise nothing is done then,
            as the log says.
        texts: options of a source that has none in its domain's, each as text.
        on: begins the session in which shards are made.

    Returns:
        The dataset.

    Raises:
        ValueError: the output is inside the input, or the options or splits cannot be used; or what
            `ingest_new_inputs` raises, with its other errors.
        OSError: there is nothing at the input.
    """
    location, output = str(input), str(output)
    opened = open_source(source, location, output, given=options, texts=texts)
    card = card_of(opened, output, shard_size=shard_size, splits=splits)
    require_same_card(output, card)
    with on() as session, alone("ingest", output, overlap=overlap) as may_go_on:
        for line in unused_options(source, options, texts):
            log.warning(line)
        if may_go_on:
            ingest_new_inputs(
                opened,
                output,
                card,
                max_reject_share=max_reject_share,
                min_shard=min_shard,
                moved=moved,
                give_up_vanished=give_up_vanished,
                max_ignored_share=max_ignored_share,
                allow_misplaced_labels=allow_misplaced_labels,
                make_shards=session.make_shards,
                write_summary=lambda summary: session.keep("inputs.json", summary.to_json()),
            )
    return Dataset(open_store(output), card)


def ingest_new_inputs(
    source: Source,
    output: str,
    card: DatasetCard,
    *,
    max_reject_share: float,
    min_shard: int = 1,
    moved: bool = False,
    give_up_vanished: bool = False,
    max_ignored_share: float = 1.0,
    allow_misplaced_labels: bool = False,
    make_shards: MakeShards,
    write_summary: Callable[[InputsSummary], None] | None = None,
) -> None:
    """Add every input that is new, or that changed, to a dataset.

    Args:
        output: location of the dataset; it is made if there is none.
        card: of the dataset, as `card_of` makes it.
        max_reject_share, min_shard, moved, give_up_vanished, max_ignored_share,
            allow_misplaced_labels: as of `ingest`.
        write_summary: is given where everything went, also where the run then fails.

    Raises:
        CardMismatchError: the dataset was made with another configuration.
        MisplacedLabelsError: labels do not belong to their pictures; then nothing is made.
        OtherPlaceError: inputs would replace samples that came from another location.
        ShardsFailedError: some shards could not be made; all others were.
        TooManyRejectsError: more inputs than allowed are malformed.
        TooManyIgnoredError: more files than allowed are no inputs; nothing was planned.
        OldFormatError: the dataset is of an earlier format.
        ValueError: there are no inputs; or archives cannot be read, planned shards need inputs of
            another location, or committed shards have lost their tars, after everything else was
            done.
    """
    dataset = Dataset(open_store(output), card)  # which may not be there yet
    asked = asked_of(source, card, min_shard)
    before = look_before(dataset, source, asked)
    seen = containers_in(read_seen(dataset.store), source.location, without=before.vanished)
    with InputTable(source.scan(seen)) as inputs:
        if inputs.is_empty and all(c.problem is None for c in inputs.containers):
            raise ValueError(
                f"{source.location}: no {source.name} inputs found there{_beside(inputs)}"
            )
        _check_ignored_share(inputs, max_ignored_share)
        dataset = Dataset.enter(output, card)
        settled = None if moved else before.planned(inputs.digest)
        planned = settled or plan_new_shards(
            dataset, source, inputs, min_shard=min_shard, vanished=before.vanished, moved=moved
        )
        listing = inputs.digest if inputs.would_repeat else None
        ignored = dict(inputs.ignored.most_common())
    outcomes: Sequence[Outcome] = ()
    missing = _missing_shards(dataset, planned, source, moved=moved)
    if missing:
        log.info("%s; %d shards to make", _listed(planned, min_shard), len(missing))
        if native.crops is None:
            log.info(native.how())
        if card.labelled:
            judge = domain_of_source(source.name).misplaced_labels
            check_labels(dataset, source, missing, judge, allow=allow_misplaced_labels)
        num_inputs = _num_inputs(dataset, planned, missing)
        task = ingest_task(dataset, source, may_be_gone=give_up_vanished)
        outcomes = make_shards("ingest", task, missing, num_inputs)
    summary = _summary(source, planned, outcomes, ignored)
    for line in summary.lines():
        log.info("%s", line)
    if summary.num_ignored:
        log.warning(
            "%d files in %s are no inputs of the source %s; --max-ignored-share makes a run fail "
            "where there are many",
            summary.num_ignored, source.location, source.name,
        )  # fmt: skip
    if write_summary is not None:
        write_summary(summary)
    facts = known_facts(dataset, save=True)
    num_samples, num_filtered, num_rejected = check_reject_share(dataset, facts, max_reject_share)
    log.info(
        "%s: %s%d planned inputs = %d samples + %d filtered + %d rejected, in %d shards",
        dataset.location,
        "" if missing else f"nothing to do: {_listed(planned, min_shard)}; ",
        num_samples + num_filtered + num_rejected,
        num_samples,
        num_filtered,
        num_rejected,
        len(facts),
    )
    for line in _empty_splits(planned, facts):
        log.warning(line)
    waiting = _waiting(planned, set(facts), source)
    if listing is not None and not (waiting or moved or settled):
        settle(
            dataset,
            source,
            asked,
            listing=listing,
            planned=planned,
            before=before,
            made=set(missing),
            facts=facts,
        )
    not_done = [*planned.unreadable, *waiting, *lost_tars(dataset)]
    if not_done:
        shown = [one_line(what) for what in not_done[:NAMED]]
        if len(not_done) > NAMED:
            shown.append(f"and {len(not_done) - NAMED} more, which runs/<id>/inputs.json names")
        raise ValueError("everything else is done, but:\n  " + "\n  ".join(shown))


def _beside(inputs: InputTable) -> str:
    """What there is instead of inputs, in words."""
    return f", but files of other kinds: {counted(inputs.ignored)}" if inputs.ignored else ""


def _check_ignored_share(inputs: InputTable, max_share: float) -> None:
    num_ignored = num_not_hidden(inputs.ignored)
    num_files = inputs.num_files + num_ignored
    if num_ignored and not num_ignored <= max_share * num_files:  # also where the limit is NaN
        raise TooManyIgnoredError(
            f"{num_ignored} of {num_files} files are no inputs of this source, more than the "
            f"{max_share:.1%} that --max-ignored-share allows: {counted(inputs.ignored)}. "
            "Nothing was planned"
        )


def _summary(
    source: Source,
    planned: Planned,
    outcomes: Sequence[Outcome],
    ignored: dict[str, int],
) -> InputsSummary:
    return InputsSummary(
        location=real_place(source.location),
        num_listed=planned.num_listed,
        num_new=planned.num_new,
        num_held=planned.num_held,
        num_left=planned.num_left,
        num_samples=sum(outcome.num_samples for outcome in outcomes),
        num_rejected=sum(outcome.num_rejected for outcome in outcomes),
        num_filtered=sum(outcome.num_filtered for outcome in outcomes),
        reasons=dict(reasons_of(outcomes).most_common()),
        unreadable=planned.unreadable,
        ignored=ignored,
    )


def _missing_shards(
    dataset: Dataset, planned: Planned, source: Source, *, moved: bool
) -> list[int]:
    """Planned shards that are not committed and that a run on these inputs can make."""
    missing = sorted(set(range(len(planned.shard_sizes))) - set(dataset.committed()))
    if moved:
        return missing
    own_locations = _own_locations(source)
    return [shard for shard in missing if planned.locations[shard] in own_locations]


def _num_inputs(dataset: Dataset, planned: Planned, shards: Sequence[int]) -> int:
    """How many inputs are planned into some shards."""
    sizes = {shard: planned.shard_sizes[shard] for shard in shards}
    unread = [shard for shard, size in sizes.items() if size is None]
    sizes |= zip(unread, map(len, read_plans(dataset, unread)), strict=True)
    return sum(size for size in sizes.values() if size is not None)


def _own_locations(source: Source) -> tuple[str | None, str]:
    """What plans of this source's inputs say about their location; old plans say nothing."""
    return None, real_place(source.location)


def _listed(planned: Planned, min_shard: int) -> str:
    """What the listing found, in words."""
    text = f"{planned.num_listed} inputs listed, {planned.num_new} new"
    if planned.num_rewritten:
        text += f" ({planned.num_rewritten} in place of older versions)"
    if planned.num_held:
        text += f", {planned.num_held} held back until there are {min_shard}"
    return text


def _empty_splits(planned: Planned, facts: Mapping[int, ShardFacts]) -> list[str]:
    """A line for each split of the dataset that nothing fell in, if this run planned anything."""
    filled = {shard.split for shard in facts.values()}
    return [
        f"the split {split} is empty: the new inputs are of {planned.num_identities} identities "
        "(persons), each of which falls in one split by a hash of its name, and none fell in this "
        "one. With more identities it fills by itself; if these are few, choose larger shares in "
        "--splits for a new --output, and if persons were taken for one, give each a folder of "
        "its own"
        for split in planned.unused_splits
        if split not in filled
    ]


def _waiting(planned: Planned, committed: Set[int], source: Source) -> list[str]:
    """A line for each other location whose inputs are planned into shards that are missing."""
    own_locations = _own_locations(source)
    waiting = Counter(
        location
        for shard, location in enumerate(planned.locations)
        if shard not in committed and location not in own_locations
    )
    return [
        f"{count} planned shards wait for a run with --input {location}; if its inputs were moved "
        f"to {source.location}, add --moved"
        for location, count in waiting.items()
    ]
