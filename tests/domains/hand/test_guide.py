"""The joints of a hand as outside readers get them."""

import numpy as np
import pytest

from factory.domains.hand.guide import hand_guide, hand_outline
from support import hands


def test_the_points_are_the_joints_and_the_box_is_around_them() -> None:
    uvd = hands.joints_uvd()
    outline = hand_outline({"joints_uvd": uvd.tolist()})
    assert np.array_equal(outline.points_xy, uvd[:, :2]) and not outline.hidden.any()
    assert outline.box_xyxy == pytest.approx((300, 250, 380, 330))


def test_every_joint_is_named_once_and_all_but_the_palm_hang_together() -> None:
    layout = hand_guide().keypoints
    assert len(layout.names) == len(set(layout.names)) == 36
    reached = {layout.names.index("PALM_3")}
    for _ in layout.skeleton:
        reached |= {b for pair in layout.skeleton for b in pair if reached & set(pair)}
    assert set(range(32)) <= reached
