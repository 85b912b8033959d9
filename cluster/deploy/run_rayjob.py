"""Make a RayJob of a suspended one, and wait for its end: what the Kubernetes CronJob runs.

Needs nothing but the standard library and the service account of its pod: no kubectl, no other
image, and no copy of the RayJob inside a ConfigMap, where neither kustomize nor a schema sees it.

The new RayJob is named after the Kubernetes Job (`JOB_NAME`), so that a pod which takes over from
one that died finds the same RayJob instead of starting a second one, and belongs to it (`JOB_UID`),
so that both leave the history together.

Exit codes: 0 the run succeeded; 1 it failed, was stopped or deleted; 2 it cannot be started;
3 the API server did not answer for a long time.
"""

import argparse
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

SUCCEEDED, FAILED, CANNOT_START, NO_ANSWER = 0, 1, 2, 3
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SERVER = "https://kubernetes.default.svc"
TIMEOUT_S = 30.0
"""of one request"""
PATIENCE_S = 600.0
"""with an API server that does not answer"""
LONGEST_NAME = 47
"""of a RayJob, as KubeRay allows"""


class RefusedError(Exception):
    """The API server answered, and will not answer otherwise."""

    def __init__(self, status: int, message: str):
        super().__init__(f"HTTP {status}: {message}")
        self.status = status


class RayJobs:
    """The RayJobs of a pod's namespace."""

    def __init__(self, server: str, account: Path, pause_s: float, patience_s: float):
        """
        Args:
            account: folder with the files `token`, `namespace` and, for https, `ca.crt`.
        """
        namespace = (account / "namespace").read_text().strip()
        self._url = f"{server}/apis/ray.io/v1/namespaces/{namespace}/rayjobs"
        self._token = account / "token"
        self._pause_s, self._patience_s = pause_s, patience_s
        self._tls = None
        if server.startswith("https:"):
            self._tls = ssl.create_default_context(cafile=account / "ca.crt")

    def get(self, name: str) -> dict[str, Any]:
        """Raises `RefusedError`, 404 among others, and `TimeoutError`."""
        return self._persist(f"{self._url}/{name}")

    def create(self, rayjob: dict[str, Any]) -> dict[str, Any]:
        """Raises `RefusedError`, 409 if there is one of that name, and `TimeoutError`."""
        return self._persist(self._url, json.dumps(rayjob).encode())

    def _persist(self, url: str, body: bytes | None = None) -> dict[str, Any]:
        started = time.monotonic()
        while True:
            try:
                return self._request(url, body)
            except RefusedError as error:
                if error.status != 429 and error.status < 500:
                    raise
                reason = str(error)
            except (OSError, HTTPException, json.JSONDecodeError) as error:
                reason = f"{type(error).__name__}: {error}"
            if time.monotonic() - started > self._patience_s:
                raise TimeoutError(f"{url}: {reason}")
            say(f"{reason}; trying again")
            time.sleep(self._pause_s)

    def _request(self, url: str, body: bytes | None) -> dict[str, Any]:
        headers = {
            # Read each time: the token in the file is renewed every hour.
            "Authorization": f"Bearer {self._token.read_text().strip()}",
            "Content-Type": "application/json",
        }
        request = urllib.request.Request(url, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self._tls) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(2000).decode(errors="replace")
            raise RefusedError(error.code, text) from None


def run_of(template: dict[str, Any], job_name: str, job_uid: str) -> dict[str, Any]:
    """A RayJob that runs what a suspended one describes.

    Args:
        job_name: of the Kubernetes Job that this is a part of.

    Raises:
        ValueError: the name is too long for a RayJob.
    """
    # Not the Job's own name: KubeRay gives the RayJob's name to the Job that submits it.
    name = f"{job_name}-run"
    if len(name) > LONGEST_NAME:
        raise ValueError(f"{name}: {len(name)} characters, and KubeRay allows {LONGEST_NAME}")
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job_name, "uid": job_uid}
    return {
        "apiVersion": template["apiVersion"],
        "kind": template["kind"],
        "metadata": {
            "name": name,
            "labels": template["metadata"].get("labels", {}),
            "ownerReferences": [owner],
        },
        "spec": template["spec"] | {"suspend": False},
    }


def outcome_of(rayjob: dict[str, Any]) -> int | None:
    """The exit code of a RayJob that came to its end; None while it goes on."""
    status = rayjob.get("status", {})
    match status.get("jobDeploymentStatus"):
        case "Complete":
            return SUCCEEDED if status.get("jobStatus") == "SUCCEEDED" else FAILED
        case "Failed" | "ValidationFailed":
            return FAILED
        case _:
            return None


def wait_for(rayjobs: RayJobs, name: str, every_s: float) -> int:
    """Wait for the end of a RayJob, and say each change."""
    said = ""
    while True:
        rayjob = rayjobs.get(name)
        status = rayjob.get("status", {})
        parts = [status.get(field) for field in ("jobDeploymentStatus", "jobStatus", "reason")]
        now = " ".join(part for part in parts if part) or "New"
        if now != said:
            say(f"{name}: {now} {status.get('message') or ''}".rstrip())
            said = now
        code = outcome_of(rayjob)
        if code is not None:
            return code
        time.sleep(every_s)


def say(line: str) -> None:
    """To the pod's log."""
    print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("template", help="name of the suspended RayJob")
    parser.add_argument("--server", default=SERVER)
    parser.add_argument("--account", type=Path, default=ACCOUNT)
    parser.add_argument("--every-s", type=float, default=15.0, help="seconds between two looks")
    parser.add_argument("--patience-s", type=float, default=PATIENCE_S)
    given = parser.parse_args(arguments)
    rayjobs = RayJobs(given.server, given.account, given.every_s, given.patience_s)
    try:
        run = run_of(rayjobs.get(given.template), os.environ["JOB_NAME"], os.environ["JOB_UID"])
        name = run["metadata"]["name"]
        try:
            rayjobs.create(run)
            say(f"{name}: made of {given.template}")
        except RefusedError as error:
            if error.status != 409:
                raise
            say(f"{name}: is there already, waiting for it")
    except (RefusedError, ValueError, KeyError) as error:
        say(f"cannot start a run of {given.template}: {error!r}")
        return CANNOT_START
    except TimeoutError as error:
        say(str(error))
        return NO_ANSWER
    try:
        return wait_for(rayjobs, name, given.every_s)
    except RefusedError as error:
        say(f"{name}: {error}")
        return FAILED
    except TimeoutError as error:
        say(str(error))
        return NO_ANSWER


if __name__ == "__main__":
    sys.exit(main())
