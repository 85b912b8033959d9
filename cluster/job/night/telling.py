"""Keep the record of a night, and tell whoever should know of one that went wrong or is missing."""

import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from cluster.job.command import GateFailedError
from cluster.job.night.chain import Night, NightFailedError, flat, latest_name
from cluster.job.night.webhook import PAUSES_S, call_webhook
from cluster.job.program import BAD_ARGUMENTS, DONE, FAILED, GATE_FAILED, SIGNALLED
from cluster.job.signals import StopRequest
from factory.release.latest import latest_or_none, seen_nothing_newer
from factory.store.open import open_store
from schemas.night import NightRecord
from schemas.options import OptionError

log = logging.getLogger(__name__)
CLOCKS_DIFFER = timedelta(hours=1)
"""by which the clocks of two machines may differ"""


class OverdueError(RuntimeError):
    """The latest release is older than it may be."""


def run_night(night: Night, keep: Callable[[str, bytes], None]) -> None:
    """Run a night, keep its record, and tell the webhook of one that went wrong.

    A night that a scheduler stops is told with a single try, as little time is left. One that a
    person interrupts is not told.

    Args:
        keep: puts a file into the folder of the run.

    Raises:
        others: as `Night.run`, which this changes nothing about.
    """
    code = FAILED
    pauses_s: Sequence[float] = PAUSES_S
    webhook = night.settings.webhook
    try:
        night.run()
        code = DONE
    except GateFailedError:
        code = GATE_FAILED
        raise
    except StopRequest as request:
        code, pauses_s = SIGNALLED + request.signal, ()
        night.failures.append(f"{night.current}: stopped by {request.signal.name}")
        raise
    except KeyboardInterrupt:
        code, webhook = SIGNALLED + signal.SIGINT, None
        raise
    except NightFailedError:
        raise
    except Exception as error:
        code = BAD_ARGUMENTS if isinstance(error, OptionError) else FAILED
        night.failures.append(f"{night.current}: {error}")
        raise
    finally:
        record = night.record(code)
        log.info("%s", record.text)
        try:
            keep("night.json", record.to_json())
        except OSError as error:  # the store may be what failed; the webhook is told all the same
            log.error("night.json could not be kept: %s", error)
        if code != DONE and webhook is not None:
            call_webhook(webhook, record, pauses_s=pauses_s)


@contextmanager
def told_if_not_begun(location: str, webhook: SecretStr | None) -> Iterator[Callable[[], None]]:
    """Tell the webhook of a night that cannot begin: of real images that are not there, of a place
    that cannot be written to.

    Args:
        location: of the refined dataset.

    Yields:
        What is called when the night begins, which tells of itself from then on.
    """
    began: list[datetime] = []
    started = datetime.now(UTC)
    try:
        yield lambda: began.append(datetime.now(UTC))
    except Exception as error:
        if not began and webhook is not None:
            record = NightRecord(
                outcome="failed",
                exit_code=BAD_ARGUMENTS if isinstance(error, OptionError) else FAILED,
                location=location,
                host=socket.gethostname(),
                started=started.isoformat(timespec="seconds"),
                seconds=round((datetime.now(UTC) - started).total_seconds(), 1),
                latest=latest_name(location),
                failures=(flat(f"it could not begin: {error}"),),
            )
            call_webhook(webhook, record)
        raise


def require_recent(
    location: str, hours: float, webhook: SecretStr | None, now: datetime | None = None
) -> str:
    """See that the latest release of a dataset is recent, or was found the newest recently; else
    tell the webhook.

    Args:
        location: of the refined dataset.
        hours: that may have passed since.
        now: None for now, UTC.

    Returns:
        How old it is, in words.

    Raises:
        OverdueError: it is older, or there is none.
        FormatError: the pointer to it cannot be read.
    """
    now = datetime.now(UTC) if now is None else now
    store = open_store(location)
    latest = latest_or_none(store)
    if latest is None:
        words = f"{location} has no latest release"
    else:
        published, looked = datetime.fromisoformat(latest.published), seen_nothing_newer(store)
        words = f"the release {latest.release} was published {_hours(now - published):.1f} h ago"
        if looked is not None and looked >= published:
            words += f", and found to be the newest {_hours(now - looked):.1f} h ago"
        # A date that is still to come is of a wrong clock, and would hide a missing night for long.
        known = [at for at in (published, looked) if at is not None and at <= now + CLOCKS_DIFFER]
        if known and now - max(known) <= timedelta(hours=hours):
            return words
    record = NightRecord(
        outcome="overdue",
        exit_code=FAILED,
        location=location,
        host=socket.gethostname(),
        started=now.isoformat(timespec="seconds"),
        seconds=0.0,
        latest=None if latest is None else latest.release,
        failures=(f"{words}; at most {hours:g} h were expected",),
    )
    if webhook is not None:
        call_webhook(webhook, record)
    raise OverdueError(record.failures[0])


def _hours(age: timedelta) -> float:
    return age.total_seconds() / 3600
