"""Connecting a job to Ray."""

import logging
import os
from pathlib import Path

import grpc
import ray

from cluster.job.signals import holding_signals_back

CONNECT_S = 60.0
"""seconds in which the head of a cluster has to answer, unless SIMGAN_RAY_CONNECT_S says others"""
SOCKET_PATH_BYTES = 107
"""the longest path that the socket of a process may have"""
_SOCKET = "session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
"""what Ray appends to its folder"""


def ensure_ray(*, dashboard: bool = False) -> None:
    """Connect to the cluster that this job runs in, or start one on this machine.

    Args:
        dashboard: start Ray with its dashboard, whose state API Ray Train needs.

    Raises:
        RuntimeError: there is no cluster where RAY_ADDRESS says, or Ray cannot start on this
            machine.
    """
    if ray.is_initialized():
        return
    address = ray_address()
    if address is not None:
        require_cluster(address, float(os.environ.get("SIMGAN_RAY_CONNECT_S", CONNECT_S)))
        with holding_signals_back():
            ray.init(log_to_driver=True, logging_level=logging.ERROR)
        return
    port = metrics_port()
    above = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    require_short_folder(Path(above) / "ray")
    try:
        with holding_signals_back():
            ray.init(
                address="local",
                include_dashboard=dashboard,
                log_to_driver=True,
                logging_level=logging.ERROR,
                _metrics_export_port=port,
            )
    except Exception as error:  # Ray raises that very class where its processes do not come up
        raise RuntimeError(
            f"Ray did not start on this machine: {error} Perhaps the machine is overloaded, or "
            "short of memory or of open files (ulimit -n); run the same command again then. Ray's "
            f"logs are in {above}/ray/session_latest/logs"
        ) from error


def metrics_port() -> int | None:
    """The port at which a Ray of this job offers its metrics to Prometheus; None for any.

    Without it, Ray takes a free port and says nowhere which one: it writes its file for Prometheus'
    discovery only where it has a dashboard.

    Raises:
        RuntimeError: SIMGAN_METRICS_PORT is no port.
    """
    given = os.environ.get("SIMGAN_METRICS_PORT")
    if not given:
        return None
    if not given.isdecimal() or not 0 < int(given) < 1 << 16:
        raise RuntimeError(f"SIMGAN_METRICS_PORT={given} is no port: give 1 to 65535, or unset it")
    return int(given)


def ray_address() -> str | None:
    """The address of the cluster that this job runs in; None for a Ray of its own."""
    return os.environ.get("RAY_ADDRESS") or None


def require_cluster(address: str, patience_s: float) -> None:
    """Make sure that a cluster answers; Ray itself would try for a quarter of an hour, silently.

    Raises:
        RuntimeError: none does, or the address is none of a cluster.
    """
    scheme, separator, host = address.partition("://")
    unset = "unset RAY_ADDRESS to start a Ray on this machine"
    if separator and scheme in ("http", "https"):
        raise RuntimeError(
            f"RAY_ADDRESS={address} is the address of a cluster's dashboard, to which jobs are "
            f"submitted: ray job submit --address {address} --working-dir . -- python jobs/…; or "
            f"{unset}; or, on a node of the cluster, set it to HEAD:6379"
        )
    if separator:
        raise RuntimeError(
            f"RAY_ADDRESS={address}: jobs do not run through Ray Client, from outside of the "
            "cluster; submit them: ray job submit --address http://"
            f"{host.partition(':')[0]}:8265 --working-dir . -- python jobs/…; or {unset}"
        )
    if address in ("auto", "local") or os.environ.get("RAY_USE_TLS", "0") != "0":
        return  # Ray finds out by itself, soon; its certificates are not known here
    channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
    try:
        grpc.channel_ready_future(channel).result(timeout=patience_s)
    except grpc.FutureTimeoutError:
        raise RuntimeError(
            f"no Ray cluster answered at RAY_ADDRESS={address} within {patience_s:g} s: it may "
            f"have ended, or a firewall may be between; correct the address, or {unset}. "
            "SIMGAN_RAY_CONNECT_S sets the seconds to wait"
        ) from None
    finally:
        channel.close()


def require_short_folder(folder: Path) -> None:
    """Make sure that the paths of Ray's sockets in a folder are not too long.

    Raises:
        RuntimeError: they are.
    """
    length = len(os.fsencode(folder / _SOCKET))
    if length > SOCKET_PATH_BYTES:
        raise RuntimeError(
            f"Ray cannot start in {folder}: the path is too long by "
            f"{length - SOCKET_PATH_BYTES} bytes for the sockets that it makes there. Set "
            "RAY_TMPDIR to a short folder on a local disk, e.g. export RAY_TMPDIR=/tmp (Ray's "
            "folder follows TMPDIR otherwise)"
        )
