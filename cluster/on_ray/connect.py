"""Connecting a job to Ray."""

import logging
import os

import ray


def ensure_ray(*, dashboard: bool = False) -> None:
    """Connect to the cluster that this job runs in, or start one on this machine.

    Args:
        dashboard: start Ray with its dashboard, whose state API Ray Train needs.
    """
    if ray.is_initialized():
        return
    if "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=True, logging_level=logging.ERROR)
    else:
        ray.init(
            address="local",
            include_dashboard=dashboard,
            log_to_driver=True,
            logging_level=logging.ERROR,
        )
