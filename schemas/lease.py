"""The lease by which overlapping runs of one job notice each other."""

from datetime import UTC, datetime

from schemas.base import Model


class Lease(Model):
    """`lease/<name>.json`: which run is at work."""

    holder: str
    """unique to a run"""
    host: str
    """machine and process namespace, within which a process id means something"""
    pid: int
    since: float
    """seconds since 1970 UTC"""
    expires: float
    """seconds since 1970 UTC, by the holder's clock"""

    def __str__(self) -> str:
        return (
            f"process {self.pid} on {self.host.partition('/')[0]}, since {_utc(self.since)}, "
            f"until {_utc(self.expires)} unless renewed"
        )


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
