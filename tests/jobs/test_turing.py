"""jobs/turing.py as a user runs it: answered in one process, stopped, and gone on with."""

import json
import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.turing import TuringJob
from support.job_runs import command, run_job
from support.places import ROOT


def test_what_has_to_be_given_is_said() -> None:
    for given, message in (
        ({}, "give --refined and --real, or --analyse"),
        ({"refined": "a", "real": "b", "num_examples": 3}, "multiple of 2"),
        ({"refined": "a", "real": "b", "observer": "../x"}, "match pattern"),
        ({"refined": "a", "real": "b", "port": 70000}, "less than or equal to 65535"),
    ):
        with pytest.raises(ValidationError, match=message):
            TuringJob(output="out", **given)
    with pytest.raises(ValidationError, match="has to be a folder"):
        TuringJob(output="s3://bucket/out", analyse=True)
    assert TuringJob(output="out", analyse=True).port == 0


def test_an_analysis_of_no_test_is_an_error(tmp_path: Path) -> None:
    printed = run_job("turing", "--analyse", "--output", tmp_path, expect=1)
    assert "holds no visual Turing test" in printed


class _Process:
    """The job in a process of its own, answered over HTTP with what the page sends."""

    def __init__(self, *options: object) -> None:
        self.process = subprocess.Popen(
            command("turing", *options), stderr=subprocess.PIPE, cwd=ROOT, text=True
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if match := re.search(r"http://127\.0\.0\.1:\d+", line):
                self.url = match[0]
                return
        raise AssertionError(f"it ended with {self.process.wait()} before it served anything")

    def post(self, path: str, content: object) -> dict[str, object]:
        headers = {"Content-Type": "application/json", "Origin": self.url}
        body = json.dumps(content).encode()
        request = urllib.request.Request(f"{self.url}/{path}", body, headers)
        with urllib.request.urlopen(request, timeout=30) as reply:
            state: dict[str, object] = json.loads(reply.read())
        return state

    def end(self) -> tuple[int, str]:
        assert self.process.stderr is not None
        rest = self.process.stderr.read()
        self.process.stderr.close()
        return self.process.wait(60), rest


@pytest.mark.slow
def test_a_test_is_stopped_and_gone_on_with(turing_eyes, tmp_path):
    options = ("--refined", turing_eyes.refined.location, "--real", turing_eyes.real.location,
               "--output", tmp_path, "--num-examples", 2, "--num-refined", 2)  # fmt: skip
    first = _Process(*options)
    first.post("answer", {"position": 0, "answer": "real", "seconds": 2})
    written = (tmp_path / "observers" / "observer-1" / "answers.jsonl").read_bytes()
    assert written.count(b"\n") == 1, "before the page hears of it"
    os.kill(first.process.pid, signal.SIGTERM)
    code, printed = first.end()
    assert code == 128 + signal.SIGTERM and "the same command resumes" in printed
    second = _Process(*options)
    for position in (1, 2, 3):
        state = second.post("answer", {"position": position, "answer": "real", "seconds": 2})
    assert state["is_done"]
    second.post("end", {})
    code, printed = second.end()
    assert code == 0 and "2 of 4 answers are right" in printed
    assert "2 of 4 answers are right" in run_job("turing", *options)  # nothing left to show
    assert "2 of 4" in run_job("turing", "--analyse", "--output", tmp_path)
    changed = run_job("turing", *options, "--seed", 5, expect=1)
    assert "seed: 0 -> 5" in changed
