"""A release in an object store is exported as one in a folder is."""

import pytest

from support import planted
from support.exports import exported

pytestmark = [pytest.mark.slow, pytest.mark.s3]


def test_a_release_in_any_store_gives_the_same_export(
    depths, hand_export, any_location, tmp_path
) -> None:
    folder = exported(planted.copied(depths, any_location), tmp_path / "x")
    names = {path.relative_to(hand_export) for path in hand_export.rglob("*") if path.is_file()}
    assert names
    for name in names:
        assert (folder / name).read_bytes() == (hand_export / name).read_bytes(), name
