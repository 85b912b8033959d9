"""Options of jobs/ingest.py and jobs/simulate.py that are for hands alone."""

from factory.domains.hand.renderer.renderer import HandOptions
from factory.domains.hand.sources.nyu import NyuOptions
from schemas.base import Model


class HandIngestOptions(Model):
    """What is taken from frames of hands."""

    nyu: NyuOptions = NyuOptions()


class HandSimulateOptions(Model):
    """Which hands are rendered."""

    hand: HandOptions = HandOptions()
