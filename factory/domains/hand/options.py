"""Options of jobs/ingest.py and jobs/simulate.py that are for hands alone."""

from pydantic import Field

from factory.domains.hand.sources.nyu import NyuOptions
from factory.domains.hand.sources.nyu_files import NUM_CAMERAS
from schemas.base import Model


class HandOptions(Model):
    """The options of the hand renderer that users may set."""

    cameras: int = Field(default=1, ge=1, le=NUM_CAMERAS)
    """number of views of each frame; in the second and third view the hand is rotated by 40 degrees
    to either side"""
    poses: str | None = Field(default=None, exclude=True)
    """an .npz file with joint_uvd (n, 36, 3) in u px, v px, depth mm; the frames take its joints in
    turn, unchanged. Poses are random by default"""


class HandIngestOptions(Model):
    """What is taken from frames of hands."""

    nyu: NyuOptions = NyuOptions()


class HandSimulateOptions(Model):
    """Which hands are rendered."""

    hand: HandOptions = HandOptions()
