"""One run of ingest: list the inputs, plan what is new, make the planned shards that are missing.

How shards are made is an argument: on a cluster, or one after the other in a debugger.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set

from factory.dataset.dataset import Dataset
from factory.dataset.known_facts import known_facts
from factory.dataset.lost_tars import lost_tars
from factory.dataset.plans import read_plans
from factory.dataset.shard_tasks import MakeShards, reasons_of
from factory.domains.base import given_names
from factory.domains.registry import (
    domain_of_source,
    known_domains,
    make_source,
    options_by_source,
    sources,
)
from factory.images import native
from factory.ingestion.label_check import check_labels
from factory.ingestion.ledger import containers_in, read_seen
from factory.ingestion.planning import Planned, plan_new_shards
from factory.ingestion.rejects import check_reject_share
from factory.ingestion.settled import asked_of, look_before, settle
from factory.ingestion.shards import ingest_task, ingested_card
from factory.sources.base import Source, SourceOptions
from factory.sources.files import open_files
from factory.sources.input_table import InputTable
from factory.store.open import absolute, name_of, open_store, real_place
from schemas.base import Model
from schemas.dataset import DatasetCard
from schemas.index import ShardFacts
from schemas.inputs import InputsSummary, counted, num_not_hidden
from schemas.options import OptionError
from schemas.outcome import Outcome
from schemas.text import one_line

log = logging.getLogger(__name__)
NAMED = 20
"""things that are not done which a message names"""


class TooManyIgnoredError(ValueError):
    """More files are no inputs than the job allows."""


def open_source(
    name: str,
    location: str,
    output: str,
    *,
    given: Mapping[str, Model],
    texts: Mapping[str, str],
) -> Source:
    """The source that a user asks for. Writes nothing, so that a wrong `--input` leaves no trace.

    Args:
        name: of the source.
        location: of its inputs: a folder, an archive, or s3://bucket/prefix.
        output: location of the dataset that the inputs are added to.
        given: by domain, the options that the domains add to jobs/ingest.py.
        texts: `--options`: fields of the source's own options by name, for a domain that adds none.

    Raises:
        OptionError: the output is inside the input, or an option cannot be used.
        OSError: there is nothing at the location.
    """
    _check_apart(location, output)
    location = absolute(location)
    open_files(location)
    return make_source(location, _options(name, location, output, given, texts))


def _check_apart(location: str, output: str) -> None:
    if f"{real_place(output)}/".startswith(f"{real_place(location)}/"):
        raise OptionError(
            f"--output {output} lies in --input {location}: the next run would ingest its "
            "shards; choose an output beside the input"
        )


def _options(
    name: str, location: str, output: str, given: Mapping[str, Model], texts: Mapping[str, str]
) -> SourceOptions:
    domain = domain_of_source(name)
    if not domain.ingest_options().model_fields:
        return sources()[name].options_kind.model_validate_strings(texts)
    try:
        recorded = Dataset.open(output).card.config
    except FileNotFoundError:  # the first run makes the dataset
        recorded = None
    return domain.source_options(name, given[domain.name], location=location, recorded=recorded)


def unused_options(
    source: str, given: Mapping[str, Model], texts: Mapping[str, str]
) -> Iterator[str]:
    """A line about each given option that the source does not use.

    Args:
        source: its name.
        given: as for `open_source`.
        texts: as for `open_source`.
    """
    used = options_by_source()[source]
    for name in known_domains():
        for option in given_names(given[name]):
            if option in used:
                continue
            flag = option.replace("_", "-")
            yield f"--{flag} is ignored: the source {source} does not use this {name} option"
    if texts and domain_of_source(source).ingest_options().model_fields:
        yield f"--options is ignored: the source {source} has options of its own"


def card_of(
    source: Source, output: str, *, shard_size: int | None = None, splits: Mapping[str, float]
) -> DatasetCard:
    """The card of the dataset that a source is ingested into.

    Args:
        output: location of the dataset.
        shard_size: inputs planned into one shard; None for what suits the domain.
        splits: name to share of the identities; shares sum to 1.
    """
    kind = domain_of_source(source.name).sample_kind
    size = shard_size or kind.shard_size
    return ingested_card(kind, name_of(output), source, shard_size=size, splits=splits)


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
        max_reject_share: of the inputs, 0 to 1, that may be malformed.
        min_shard: fewer new inputs than this (in a split) are held back.
        moved: inputs were moved since earlier runs planned them; they are matched to these plans by
            name.
        give_up_vanished: commit planned shards none of whose inputs exists any more, as empty ones.
        max_ignored_share: of the files, 0 to 1, that may be no inputs; hidden ones do not count.
        write_summary: is given where everything went, also where the run then fails.
        allow_misplaced_labels: make samples also where labels do not belong to their pictures.

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
