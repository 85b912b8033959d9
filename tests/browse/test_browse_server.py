"""The server of the page, and the command that starts it."""

import http.client
import re
import signal
import subprocess
import sys

import pytest

from factory.browse.server import make_server
from factory.store.extras import MissingExtraError
from support.browsing import browsed
from support.places import ROOT


def asked(address: str, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    connection.request(method, path, headers=headers)
    reply = connection.getresponse()
    return reply.status, reply.read()


def test_it_answers_at_its_own_address_alone(places) -> None:
    with browsed(places.folder) as address:
        port = address.rpartition(":")[2]
        assert asked(address, "/")[0] == 200
        assert asked(address, "/", Host=f"localhost:{port}")[0] == 200
        assert asked(address, "/", Host=f"evil.example:{port}")[0] == 403
        assert asked(address, "/", method="POST")[0] == 405
        status, content = asked(address, "/", method="HEAD")
        assert (status, content) == (200, b"")
        with pytest.raises(OSError, match=f"port {port} of 127.0.0.1 cannot be used"):
            make_server([str(places.folder)], int(port))


def test_without_its_packages_it_names_the_extra(places, monkeypatch) -> None:
    monkeypatch.setattr("factory.store.extras.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs flask.*simgan-factory\[browse\]"):
        make_server([str(places.folder)], 0)


@pytest.mark.long
def test_the_command_prints_the_address_and_ends_by_a_signal(places, tmp_path) -> None:
    command = [sys.executable, "jobs/browse.py"]
    nothing = subprocess.run(
        [*command, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert nothing.returncode == 2 and "holds no dataset" in nothing.stderr
    with subprocess.Popen(
        [*command, str(places.folder)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        match = re.fullmatch(r"open (http://127\.0\.0\.1:\d+)/\n", said)
        assert match is not None, said
        assert asked(match[1], "/")[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
