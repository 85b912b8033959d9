"""Nights that tests of this package share."""

import pytest

from support.nights import FakeSteps, Nights


@pytest.fixture
def nights(refined) -> Nights:
    """Shards 0 to 3 are there; shard 4 comes with a later night."""
    return Nights(FakeSteps(refined))
