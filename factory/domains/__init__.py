"""The domains by name: those of this repository, and those of packages that are installed.

A package brings a domain along by an entry point of the group `simgan_factory.domains`, so that
every process finds it (docs/new-domain.md).
"""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from factory.domain import Domain
from factory.domains.eye import EYE
from factory.domains.hand import HAND
from schemas.base import FormatError

GROUP = "simgan_factory.domains"


@cache
def known_domains() -> dict[str, Domain]:
    """Of this repository and of what is installed, by name; looked up late, as the modules of a
    domain may import anything here. Raises `FormatError` as `with_installed` does."""
    return with_installed(entry_points(group=GROUP))


def with_installed(installed: Iterable[EntryPoint]) -> dict[str, Domain]:
    """The domains of this repository and those that entry points name.

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


def domain_named(name: str) -> Domain:
    """Raises `FormatError` for a domain that this version does not know."""
    known = known_domains()
    if name not in known:
        raise FormatError(f"domain {name!r} is unknown here, known: {', '.join(known)}")
    return known[name]


def domain_of(source: str) -> Domain:
    """The domain that a source is of, by the source's name. Raises `FormatError`."""
    for domain in known_domains().values():
        if any(kind.name == source for kind in domain.sources):
            return domain
    raise FormatError(f"source {source!r} is unknown here")
