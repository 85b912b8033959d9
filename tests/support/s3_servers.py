"""S3 servers for tests: moto in this process, Ceph's gateway (RGW) beside it, and the fixtures."""

import logging
import os
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest

from factory.store import s3_requests
from factory.store.base import Store
from factory.store.open import open_store
from support import s3_proxy
from support.s3_proxy import FaultyProxy

SCRIPT = Path(__file__).with_name("rgw.sh")
RGW_ROOT = Path(os.environ.get("SIMGAN_RGW", Path.home() / ".cache" / "simgan-factory" / "rgw"))
BUCKET = "lab"
SHORT = s3_requests.Patience(
    connect_s=2, silence_s=0.4, attempts=8, total_s=20, first_pause_s=0.01, longest_pause_s=0.1
)
"""patience for tests in which a server fails: seconds, not minutes"""

SLOW_S = 2 * SHORT.silence_s
"""longer than that patience waits for an answer"""

PASSING: dict[str, s3_proxy.Fault] = {
    "503": s3_proxy.answer_with(503, "SlowDown"),
    "500": s3_proxy.answer_with(500, "InternalError"),
    "409": s3_proxy.answer_with(409, "ConditionalRequestConflict"),
    "request timeout": s3_proxy.answer_with(400, "RequestTimeout"),
    "lost request": s3_proxy.lose_request,
    "lost answer": s3_proxy.lose_answer,
    "error after": s3_proxy.error_after,
    "late answer": s3_proxy.answer_after(SLOW_S),
    "cut short": s3_proxy.cut_short,
}
"""faults that a second attempt outlives"""

KINDS = [pytest.param(kind, marks=pytest.mark.s3) for kind in ("moto", "rgw")]


@dataclass
class S3Server:
    """A running server with one bucket, `lab`."""

    port: int
    access_key: str = "TESTACCESSKEY"
    secret_key: str = field(default="test-secret-key", repr=False)

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """What a process needs to use it, and nothing of whoever runs the tests."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def make_bucket(self, name: str = BUCKET) -> None:
        """Make a bucket."""
        import boto3

        boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
        ).create_bucket(Bucket=name)


@dataclass
class RgwServer(S3Server):
    """Ceph's gateway, which may be killed and comes back with all that it stored."""

    folder: Path = Path()

    def kill(self) -> None:
        """SIGKILL the gateway."""
        _rgw("kill", self.folder)

    def back(self) -> None:
        """Start it again, and wait until it answers."""
        _rgw("back", self.folder)

    def is_up(self) -> bool:
        """Whether somebody listens at its port."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _rgw(command: str, *arguments: object, **environment: str) -> None:
    subprocess.run(
        [SCRIPT, command, *map(str, arguments)],
        env=os.environ | environment,
        check=True,
        timeout=120,
    )


def _three_free_ports() -> int:
    """The first of three neighbours that nobody listens on."""
    while True:
        with ExitStack() as stack:
            first = 0
            try:
                for number in range(3):
                    listener = stack.enter_context(socket.socket())
                    listener.bind(("127.0.0.1", first + number if first else 0))
                    first = first or listener.getsockname()[1]
            except OSError:
                continue
            return first


@contextmanager
def moto_running() -> Iterator[S3Server]:
    """moto: quick, in memory, and it lets any credentials through."""
    from moto.s3.responses import S3Response  # slow to import, and most test runs need none
    from moto.server import ThreadedMotoServer

    # It looks whether a name is free and then stores, with nothing to keep a second thread out.
    one_put_at_a_time, put_object = threading.Lock(), S3Response.put_object

    def put_object_alone(self):
        with one_put_at_a_time:
            return put_object(self)

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        with mock.patch.object(S3Response, "put_object", put_object_alone):
            moto = S3Server(server.get_host_and_port()[1])
            moto.make_bucket()
            yield moto
    finally:
        server.stop()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    """moto."""
    with moto_running() as server:
        yield server


@contextmanager
def rgw_server(folder: Path) -> Iterator[RgwServer]:
    """Ceph's gateway on a free port, with one bucket, kept in a folder that must not exist."""
    server = RgwServer(_three_free_ports(), folder=folder)
    keys = {"RGW_ACCESS_KEY": server.access_key, "RGW_SECRET_KEY": server.secret_key}
    try:
        _rgw("up", RGW_ROOT, folder, server.port, os.getpid(), **keys)
        server.make_bucket()
        yield server
    finally:
        _rgw("down", folder)


@pytest.fixture(scope="session")
def rgw(tmp_path_factory) -> Iterator[RgwServer]:
    """Ceph's gateway; skipped where its packages are not unpacked."""
    if not (RGW_ROOT / "usr/bin/radosgw").is_file():
        pytest.skip(
            "needs a real S3 server: `make rgw` unpacks Ceph's gateway from Debian's packages "
            "(250 MB, no root) to ~/.cache/simgan-factory/rgw, or to $SIMGAN_RGW"
        )
    with rgw_server(tmp_path_factory.mktemp("rgw") / "run") as server:
        yield server


@pytest.fixture(params=KINDS)
def s3_server(request, monkeypatch) -> S3Server:
    """Each S3 server in turn, named by the AWS environment of this process."""
    server = request.getfixturevalue({"moto": "moto_server", "rgw": "rgw"}[request.param])
    use(server, monkeypatch)
    return server


def use(server: S3Server, monkeypatch) -> None:
    """Point this process and its children at a server."""
    for name in os.environ:
        if name.startswith("AWS_") and name != "AWS_CA_BUNDLE":
            monkeypatch.delenv(name)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


def new_location() -> str:
    """A place in the bucket that no other test uses."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex}/eyes"


@pytest.fixture(params=["local", *KINDS])
def any_location(request, tmp_path, monkeypatch) -> str:
    """An empty place for a dataset: a folder, then one on each S3 server."""
    if request.param == "local":
        return str(tmp_path / "dataset")
    use(request.getfixturevalue({"moto": "moto_server", "rgw": "rgw"}[request.param]), monkeypatch)
    return new_location()


@pytest.fixture
def any_store(any_location) -> Store:
    """An empty store of each kind."""
    return open_store(any_location)


@pytest.fixture
def moto_store(moto_server, monkeypatch) -> Store:
    """An empty store on moto."""
    use(moto_server, monkeypatch)
    return open_store(new_location())


@pytest.fixture
def proxy(s3_server, monkeypatch) -> Iterator[FaultyProxy]:
    """A proxy before each S3 server, which does what it is told; clients have little patience."""
    with FaultyProxy(s3_server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setattr(s3_requests, "PATIENCE", SHORT)
        yield proxy
