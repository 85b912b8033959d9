"""The domains and their sources by name: those of this repository, and those of packages that are
installed."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, JsonValue, ValidationError

from factory.dataset.kinds import GROUP, domain_points, known_kinds
from factory.domains.base import Domain, OptionsHook
from factory.sources.base import Source, SourceOptions
from schemas.base import FormatError, Model, spell_out

if TYPE_CHECKING:
    from factory.dataset.dataset import Dataset
    from factory.networks.estimator_kinds import EstimatorKind


@cache
def known_domains() -> dict[str, Domain]:
    """Every domain by its name.

    Raises:
        FormatError: an entry point is no domain, or of a name that is taken.
    """
    known_kinds()
    domains = {}
    for point in domain_points():
        domain = point.load()
        if not isinstance(domain, Domain):
            raise FormatError(f"entry point {point.value} of {GROUP} is not a Domain")
        domains[domain.name] = domain
    return domains


def domain_named(name: str) -> Domain:
    """Raises `FormatError` for a domain that this version does not know."""
    known = known_domains()
    if name not in known:
        raise FormatError(f"domain {name!r} is unknown here, known: {', '.join(known)}")
    return known[name]


def domain_of(dataset: "Dataset") -> Domain:
    """The domain of a dataset. Raises `FormatError` where this version does not know it."""
    return domain_named(dataset.card.domain)


def sources() -> dict[str, type[Source]]:
    """Every source of every domain, by name."""
    return {kind.name: kind for domain in known_domains().values() for kind in domain.sources()}


def domain_of_source(source: str) -> Domain:
    """The domain that a source is of, by the source's name.

    Raises:
        FormatError: no domain has such a source; the message lists those that there are.
    """
    for domain in known_domains().values():
        if any(kind.name == source for kind in domain.sources()):
            return domain
    raise FormatError(f"source {source!r} is unknown here, known: {', '.join(sources())}")


def options_by_source() -> dict[str, frozenset[str]]:
    """Every source of every domain, by name, and which of the options that domains add to
    jobs/ingest.py it uses."""
    return {
        source: frozenset(options)
        for domain in known_domains().values()
        for source, options in domain.options_by_source().items()
    }


def estimators() -> "dict[str, EstimatorKind[Any, Any, Any]]":
    """Every kind of estimator of every domain, by name.

    Raises:
        FormatError: two domains bring kinds of one name.
    """
    kinds: dict[str, EstimatorKind[Any, Any, Any]] = {}
    for domain in known_domains().values():
        for name, kind in domain.estimators().items():
            if name in kinds:
                raise FormatError(
                    f"the domains {kinds[name].domain} and {domain.name} both bring an estimator "
                    f"{name!r}; one of them has to rename it"
                )
            kinds[name] = kind
    return kinds


def make_source(location: str | Path, options: SourceOptions) -> Source:
    """The source that these options are for, reading at a location.

    Raises:
        FormatError: no domain has one.
    """
    for kind in sources().values():
        if kind.options_kind is type(options):
            return kind(location, options)
    raise FormatError(f"no source takes {type(options).__name__}")


def options_in(config: Mapping[str, JsonValue]) -> SourceOptions:
    """The options that a dataset card's `config` records.

    Raises:
        FormatError: not of an ingested dataset, or of a source or options unknown here.
    """
    name, known = config.get("source"), sources()
    if not isinstance(name, str) or name not in known:
        raise FormatError(f"a dataset made from {name!r}, known sources are {', '.join(known)}")
    try:
        return known[name].options_kind.model_validate(config.get("options"))
    except ValidationError as error:
        raise FormatError(f"options of {name} in a dataset card: {spell_out(error)}") from error


def options_of(hook: OptionsHook) -> tuple[type[Model], ...]:
    """The options that all domains add to a job, as bases for the class of its options.

    Raises:
        FormatError: two domains give an option the same name.
    """
    domain_by_option: dict[str, str] = {}
    models = []
    for domain in known_domains().values():
        model = getattr(domain, hook)()
        for option in model.model_fields:
            if option in domain_by_option:
                raise FormatError(
                    f"the domains {domain_by_option[option]} and {domain.name} both have an option "
                    f"{option!r} in their {hook}"
                )
            domain_by_option[option] = domain.name
        if model.model_fields:
            models.append(model)
    return tuple(models)


class OptionsByDomain(dict[str, Model]):
    """Options for a job, whatever its domain: a model of the type that a hook names, by domain."""


GivenOptions = Model | Mapping[str, object] | OptionsByDomain | None
"""options that a domain adds to a job: a model of the type that its hook names, or the fields of
one by name; None for the defaults"""


def options_by_domain(job: BaseModel, hook: OptionsHook) -> OptionsByDomain:
    """What a job's options say to each domain: a model of the type that its hook names.

    Args:
        job: options of a class that has `options_of(hook)` among its bases.
    """
    given = OptionsByDomain()
    for name, domain in known_domains().items():
        model = getattr(domain, hook)()
        given[name] = model(**{option: getattr(job, option) for option in model.model_fields})
    return given


def options_for(domain: Domain, hook: OptionsHook, given: GivenOptions) -> Model:
    """The options that a domain adds to a job, of the type that its hook names.

    Raises:
        ValueError: they are of another type, or do not fit the domain's own.
    """
    kind: type[Model] = getattr(domain, hook)()
    if isinstance(given, OptionsByDomain):
        return given[domain.name]
    if isinstance(given, Model) and not isinstance(given, kind):
        raise ValueError(
            f"{type(given).__name__} are not the {hook} of the domain {domain.name}, which are "
            f"{kind.__name__}"
        )
    return kind.model_validate({} if given is None else given)
