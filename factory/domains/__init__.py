"""The domains by name."""

from collections.abc import Mapping

from factory.domain import Domain
from factory.domains.eye import EYE
from factory.domains.hand import HAND
from schemas.base import FormatError

DOMAINS: Mapping[str, Domain] = {domain.name: domain for domain in (EYE, HAND)}


def domain_named(name: str) -> Domain:
    """Raises `FormatError` for a domain that this version does not know."""
    if name not in DOMAINS:
        raise FormatError(f"domain {name!r} is unknown here, known: {', '.join(DOMAINS)}")
    return DOMAINS[name]


def domain_of(source: str) -> Domain:
    """The domain that a source is of, by the source's name. Raises `FormatError`."""
    for domain in DOMAINS.values():
        if any(kind.name == source for kind in domain.sources):
            return domain
    raise FormatError(f"source {source!r} is unknown here")
