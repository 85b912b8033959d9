"""The pod that makes a night's RayJob and waits for it, against an API server of the test's own."""

import json
import runpy
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from support.manifests import read
from support.places import ROOT

DEPLOY = ROOT / "cluster" / "deploy"
BASE = read((DEPLOY / "kubernetes" / "base" / "rayjob.yaml").read_text())[0]
TEMPLATE = BASE | {"spec": BASE["spec"] | {"suspend": True}}
"""as in a cluster, where kustomize has suspended it"""
JOB = "simgan-nightly-29300130"
main = runpy.run_path(str(DEPLOY / "run_rayjob.py"))["main"]


class ApiServer:
    """RayJobs of one namespace, each of which goes through given states, one a look."""

    def __init__(self) -> None:
        self.rayjobs: dict[str, dict[str, Any]] = {"simgan-nightly": TEMPLATE}
        self.states: list[dict[str, Any]] = [
            {},
            {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"},
            {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"},
        ]
        self.outages: list[int] = []
        """answers to the next requests, instead of the right ones; 0: the connection is closed"""
        self.tokens: list[str] = []
        self.num_posts = 0

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if self.outages and (status := self.outages.pop(0)):
            return status, {"message": "out of order"}
        root = "/apis/ray.io/v1/namespaces/eyes/rayjobs"
        if method == "POST" and path == root:
            self.num_posts += 1
            made = json.loads(body)
            if made["metadata"]["name"] in self.rayjobs:
                return 409, {"reason": "AlreadyExists"}
            self.rayjobs[made["metadata"]["name"]] = made
            return 201, made
        name = path.removeprefix(f"{root}/")
        if method != "GET" or name not in self.rayjobs:
            return 404, {"reason": "NotFound"}
        if name == "simgan-nightly":
            return 200, self.rayjobs[name]
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return 200, self.rayjobs[name] | ({"status": state} if state else {})


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """An API server on a port of 127.0.0.1; `api.url` says where."""
    api = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            api.tokens.append(self.headers["Authorization"])
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if api.outages and api.outages[0] == 0:
                api.outages.pop(0)
                self.close_connection = True
                return
            status, made = api.answer(self.command, self.path, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(made).encode())

        do_GET = do_POST = reply  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """The test prints enough."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield api
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def scheduler(api, tmp_path, monkeypatch):
    """Runs the script as the CronJob's pod would; its exit code."""
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "namespace").write_text("eyes")
    monkeypatch.setenv("JOB_NAME", JOB)
    monkeypatch.setenv("JOB_UID", "1-2-3")

    def run(template: str = "simgan-nightly", patience_s: float = 5) -> int:
        options = {"server": api.url, "account": tmp_path, "every-s": 0, "patience-s": patience_s}
        return main([template, *(f"--{name}={value}" for name, value in options.items())])

    return run


def test_a_run_is_the_template_without_its_suspension(api, scheduler, capsys) -> None:
    assert scheduler() == 0
    made = api.rayjobs.pop(f"{JOB}-run")
    assert made["spec"] == TEMPLATE["spec"] | {"suspend": False}
    assert TEMPLATE["spec"]["suspend"] is True
    (owner,) = made["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "batch/v1", "kind": "Job", "name": JOB, "uid": "1-2-3"}
    # KubeRay names the Job that submits a RayJob after it: with the owner's name, it would take
    # the owner for that Job and submit nothing.
    assert made["metadata"]["name"] != owner["name"]
    assert list(api.rayjobs) == ["simgan-nightly"]
    assert "Complete SUCCEEDED" in capsys.readouterr().out


def test_a_pod_that_takes_over_waits_for_the_same_run(api, scheduler) -> None:
    api.rayjobs[f"{JOB}-run"] = {"metadata": {"name": f"{JOB}-run"}}
    assert scheduler() == 0
    assert api.num_posts == 1
    assert len(api.rayjobs) == 2


@pytest.mark.parametrize(
    "end",
    [
        {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"},
        {"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"},
        {"jobDeploymentStatus": "ValidationFailed", "message": "no such field"},
    ],
)
def test_a_run_that_does_not_succeed_fails_the_night(api, scheduler, capsys, end) -> None:
    api.states = [{"jobDeploymentStatus": "Retrying"}, end]
    assert scheduler() == 1
    assert " ".join(value for value in end.values()) in capsys.readouterr().out


def test_a_run_that_was_deleted_fails_the_night(api, scheduler, capsys) -> None:
    api.states = [{"jobDeploymentStatus": "Running"}]
    waiting = threading.Timer(0.2, lambda: api.rayjobs.pop(f"{JOB}-run"))
    waiting.start()
    assert scheduler() == 1
    waiting.join()
    assert "HTTP 404" in capsys.readouterr().out


def test_an_api_server_that_fails_for_a_while_is_waited_for(api, scheduler) -> None:
    api.outages = [500, 0, 502, 503, 0, 429]
    assert scheduler() == 0
    assert api.outages == []
    assert f"{JOB}-run" in api.rayjobs


def test_an_api_server_that_fails_for_long_is_another_failure(api, scheduler) -> None:
    api.outages = [503] * 100_000
    assert scheduler(patience_s=0.2) == 3


def test_what_cannot_be_started_is_said(api, scheduler, capsys, monkeypatch) -> None:
    assert scheduler("simgan-weekly") == 2
    assert "simgan-weekly" in capsys.readouterr().out
    api.outages = [403]
    assert scheduler() == 2
    assert "HTTP 403" in capsys.readouterr().out
    monkeypatch.setenv("JOB_NAME", "a" * 44)
    assert scheduler() == 2
    assert "KubeRay allows 47" in capsys.readouterr().out
    assert list(api.rayjobs) == ["simgan-nightly"]


def test_the_token_is_read_anew_for_each_request(api, scheduler, tmp_path) -> None:
    assert scheduler() == 0
    (tmp_path / "token").write_text("second\n")
    assert scheduler() == 0
    assert set(api.tokens) == {"Bearer first", "Bearer second"}
    assert api.tokens == sorted(api.tokens)
