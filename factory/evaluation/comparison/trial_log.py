"""The log of trials: a text file with a line for each trial and test set, which is kept in a
repository, so that every setting that was tried stays on record, those that lost included."""

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from factory.evaluation.comparison.trials import Trial
from factory.store.atomic import write_atomically
from schemas.evaluation import LoggedTrial, Looks, TrialRecord


def read_log(path: Path | None) -> list[LoggedTrial]:
    """All lines of a log; none where there is no file yet.

    Raises:
        FormatError: a line is no such record.
    """
    if path is None or not path.exists():
        return []
    lines = path.read_bytes().splitlines()
    return [
        LoggedTrial.from_json(line, where=f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def log_trials(path: Path, finished: Sequence[tuple[Trial, TrialRecord]]) -> None:
    """Add the lines of trials that the log lacks.

    Raises:
        FormatError: a line of the log is damaged.
    """
    known = {(line.digest, line.test) for line in read_log(path)}
    now, commit = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", _commit()
    lines = [
        LoggedTrial(
            date=now,
            commit=commit,
            test_set=trial.test_digests[test],
            test=test,
            error=error,
            **record.model_dump(
                include=LoggedTrial.model_fields.keys() & TrialRecord.model_fields.keys()
            ),
        )
        for trial, record in finished
        for test, error in record.errors.items()
        if (record.digest, test) not in known
    ]
    before = path.read_bytes() if path.exists() else b""
    if lines:
        added = "".join(line.model_dump_json() + "\n" for line in lines)
        write_atomically(path, before + added.encode())


def looks_of(
    before: Sequence[LoggedTrial], finished: Sequence[tuple[Trial, TrialRecord]]
) -> tuple[Looks, ...]:
    """How many settings each test set was scored with, by the log and by these trials.

    Args:
        before: the log as it was.
    """
    looked: dict[str, set[str]] = {}
    for line in before:
        looked.setdefault(line.test_set, set()).add(line.setting)
    digests = {name: d for trial, _ in finished for name, d in trial.test_digests.items()}
    looks = []
    for name, digest in digests.items():
        earlier = looked.get(digest, set())
        ours = {record.setting for _, record in finished if name in record.errors}
        looks.append(
            Looks(
                test=name,
                num_settings=len(earlier | ours),
                num_new_settings=len(ours - earlier),
            )
        )
    return tuple(looks)


def _commit() -> str:
    """The commit of this code, with a + where files were changed since."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head, changed = (
            subprocess.run([*git, *command], capture_output=True, text=True, check=True).stdout
            for command in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "-uno"))
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.strip() + ("+" if changed.strip() else "")
