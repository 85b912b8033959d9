"""What a run of ingest reads and makes: the source that a user asks for, and the card of the
dataset. Nothing is written, so that a mistake leaves no trace."""

from collections.abc import Iterator, Mapping

from factory.dataset.dataset import Dataset
from factory.domains.base import given_names
from factory.domains.registry import (
    GivenOptions,
    OptionsByDomain,
    domain_of_source,
    known_domains,
    make_source,
    options_by_source,
    options_for,
    sources,
)
from factory.ingestion.shards import ingested_card
from factory.sources.base import Source, SourceOptions
from factory.sources.files import open_files
from factory.store.open import absolute, name_of, real_place
from schemas.dataset import DatasetCard
from schemas.options import OptionError


def open_source(
    name: str,
    location: str,
    output: str,
    *,
    given: GivenOptions,
    texts: Mapping[str, str],
) -> Source:
    """The source that a user asks for.

    Args:
        name: of the source.
        location: of its inputs: a folder, an archive, or s3://bucket/prefix.
        output: location of the dataset that the inputs are added to.
        given: the options that its domain, or every domain, adds to jobs/ingest.py; of a domain
            that adds none, the source's own.
        texts: `--options`: the source's own by name, for a domain that adds none, each as text.

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
    name: str, location: str, output: str, given: GivenOptions, texts: Mapping[str, str]
) -> SourceOptions:
    domain = domain_of_source(name)
    if not domain.ingest_options().model_fields:
        kind = sources()[name].options_kind
        if given is None or isinstance(given, OptionsByDomain):
            return kind.model_validate_strings(texts)
        return kind.model_validate(given)
    try:
        recorded = Dataset.open(output).card.config
    except FileNotFoundError:  # the first run makes the dataset
        recorded = None
    options = options_for(domain, "ingest_options", given)
    return domain.source_options(name, options, location=location, recorded=recorded)


def unused_options(source: str, given: GivenOptions, texts: Mapping[str, str]) -> Iterator[str]:
    """A line about each given option that the source does not use.

    Args:
        source: its name.
        given: as for `open_source`.
        texts: as for `open_source`.
    """
    own, used = domain_of_source(source), options_by_source()[source]
    has_own = not own.ingest_options().model_fields
    domains = known_domains()
    if not isinstance(given, OptionsByDomain):
        domains = {} if has_own else {own.name: own}
    for name, domain in domains.items():
        for option in given_names(options_for(domain, "ingest_options", given)):
            if option in used:
                continue
            flag = option.replace("_", "-")
            yield f"--{flag} is ignored: the source {source} does not use this {name} option"
    if texts and not has_own:
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
    size = kind.shard_size if shard_size is None else shard_size
    return ingested_card(kind, name_of(output), source, shard_size=size, splits=splits)
