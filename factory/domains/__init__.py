"""The domains by name: those of this repository, and those of packages that are installed.

A package brings a domain along by an entry point of the group `simgan_factory.domains`, so that
every process finds it (docs/new-domain.md).
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points

from factory.domain import Domain
from factory.domains.eye import EYE
from factory.domains.hand import HAND
from schemas.base import FormatError

GROUP = "simgan_factory.domains"


def known_domains(installed: Iterable[EntryPoint]) -> dict[str, Domain]:
    """By name, with those that entry points name.

    Raises:
        FormatError: an entry point is no domain, or of a name that is taken.
    """
    found = {domain.name: domain for domain in (EYE, HAND)}
    for point in installed:
        domain = point.load()
        if not isinstance(domain, Domain):
            raise FormatError(f"entry point {point.value} of {GROUP} is no Domain")
        if domain.name in found:
            raise FormatError(f"entry point {point.value}: there is a domain {domain.name} already")
        found[domain.name] = domain
    return found


DOMAINS: Mapping[str, Domain] = known_domains(entry_points(group=GROUP))


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
