"""Values of options that cannot be used: a job ends with exit code 2, as for bad arguments."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from schemas.base import spell_out


class OptionError(ValueError):
    """An option has a value that cannot be used. No other try of the same command can do more."""


@contextmanager
def value_of(option: str) -> Iterator[None]:
    """Blame an option for what goes wrong inside, where its value is read.

    A store or a package that is out of reach is not blamed on it.

    Args:
        option: as on the command line, with its value.

    Raises:
        OptionError: something has a wrong value, or is not there.
    """
    try:
        yield
    except ValidationError as error:
        raise OptionError(f"{option} cannot be used: {spell_out(error)}") from error
    except (FileNotFoundError, ValueError) as error:
        raise OptionError(f"{option} cannot be used: {error}") from error
