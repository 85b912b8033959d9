"""A job some of whose options are for one of several things alone: for one source, or one domain.

Its `--help` shows the options of the one that was named, on the command line or in a config file,
and those of others are refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import tyro
from pydantic import create_model

from cluster.job.command import JobConfig, spelled
from cluster.job.program import refuse

Choices = Mapping[str, frozenset[str]]
"""name of each thing that a job can be asked for to names of the fields that are for it, perhaps
also for others, but not for all"""


class ChoosingJob(JobConfig):
    """A job whose options depend on one of them."""

    chosen_by: ClassVar[str]
    """name of the field that decides, e.g. `source`"""
    dependent: ClassVar[frozenset[str]] = frozenset()
    """names of fields that are only for choices which name them, even if none does"""

    @classmethod
    def choices(cls) -> Choices:
        """All that there are."""
        raise NotImplementedError

    @classmethod
    def for_some(cls) -> frozenset[str]:
        """Names of all fields that are not for every choice."""
        return cls.dependent.union(*cls.choices().values())

    @classmethod
    def summary(cls, choice: str) -> str:
        """What a choice is, in a line, for the list of all."""
        return ""

    @classmethod
    def note(cls, choice: str) -> str:
        """What else `--help` says of a choice that was named."""
        return ""

    @classmethod
    def narrowed(cls, given: Sequence[str], table: Mapping[str, Any], where: str) -> type[Self]:
        choices = cls.choices()
        name = _value_of(spelled(cls.chosen_by), given)
        named_by_table = name is None and cls.chosen_by in table
        if name is None:
            name = str(table.get(cls.chosen_by, cls.model_fields[cls.chosen_by].get_default()))
        foreign = cls.for_some()
        refused = {}
        if name in choices:
            foreign -= choices[name]
            refused = {option: _reason(cls.chosen_by, option, choices, name) for option in foreign}
        if named_by_table:
            for option in sorted(refused.keys() & table.keys()):
                refuse(f"{where}: {option} {refused[option]}")
        hidden: dict[str, Any] = {
            option: (
                Annotated[cls.model_fields[option].rebuild_annotation(), tyro.conf.Suppress],
                cls.model_fields[option],
            )
            for option in foreign
        }
        kind = create_model(cls.__name__, __base__=cls, __doc__=cls.__doc__, **hidden)
        kind.refused_options = {**cls.refused_options, **refused}
        kind.about_choices = "\n".join(_about(cls, choices, name))
        fields = kind.__pydantic_fields__
        kind.__pydantic_fields__ = {option: fields[option] for option in cls.model_fields}
        return kind


def _value_of(flag: str, given: Sequence[str]) -> str | None:
    """The value of an option on the command line, which is the last one."""
    value = None
    for index, argument in enumerate(given):
        name, is_joined, joined = argument.partition("=")
        if name.replace("_", "-") == flag:
            value = joined if is_joined else next(iter(given[index + 1 : index + 2]), None)
    return value


def _reason(chosen_by: str, option: str, choices: Choices, name: str) -> str:
    owners = [other for other, options in choices.items() if option in options]
    of_others = f"for the {chosen_by} {', '.join(owners)}, not for" if owners else "not for"
    return f"is {of_others} {name}"


def _about(kind: type[ChoosingJob], choices: Choices, name: str) -> Iterator[str]:
    """What `--help` says of the choices."""
    how = f"`{kind.program()} {spelled(kind.chosen_by)} NAME --help`"
    if name in choices:
        others = ", ".join(other for other in choices if other != name)
        yield (
            f"These are the options for the {kind.chosen_by} {name}; {how} shows those for another "
            f"one: {others}. {kind.note(name)}"
        ).rstrip()
        return
    yield f"Each {kind.chosen_by} has options of its own, which {how} shows:"
    width = max(map(len, choices))
    yield from (f"  {other:{width}}  {kind.summary(other)}".rstrip() for other in choices)
