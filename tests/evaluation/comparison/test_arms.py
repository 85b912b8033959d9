"""Arms of several refiners, and of refined images that are damaged."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from factory.domains.eye.quantities import GAZE
from factory.evaluation.comparison.arms import DamagedArm, RefinedArm, load_arm
from factory.evaluation.comparison.renders import Renders, Rows
from factory.networks.evaluation_kinds import Examples

pytestmark = pytest.mark.slow

RENDERS = Renders("renders", None, "train", "test", 2)


def test_each_render_is_refined_by_as_many_refiners_as_asked_for(monkeypatch) -> None:
    monkeypatch.setattr(
        "factory.refinement.engines.choose.make_engine",
        lambda refiner: lambda images: images + int(refiner),
    )
    arm = RefinedArm(kind="refined", refiners=("1", "2", "3"), refinements=2)
    examples = Examples(np.zeros((2, 3, 4), np.uint8), np.eye(2), np.array(["a", "b"]))
    seen = [
        arm.look(RENDERS, examples.images, number)(Rows(examples, pa.table({"key": ["k", "l"]})))
        for number in range(3)
    ]
    assert [np.unique(one.images).tolist() for one in seen] == [[1, 2], [1, 3], [2, 3]]
    for one in seen:
        assert one.values_ND.tolist() == [*np.eye(2).tolist()] * 2
        assert one.groups.tolist() == ["a", "b", "a", "b"]


def test_more_refinements_than_refiners_are_refused_and_one_is_no_other_setting() -> None:
    with pytest.raises(ValidationError, match=r"3 refinements of each render .* 2 are named"):
        RefinedArm(kind="refined", refiners=("1", "2"), refinements=3)
    assert "refinements" not in RefinedArm(kind="refined", refiners=("1",)).model_dump()


def test_what_decides_a_seed_is_its_own_refiner_alone(monkeypatch) -> None:
    """So an evaluation keeps its finished trials when refiners for further seeds are added."""
    monkeypatch.setattr(
        "factory.networks.refiner_files.load_refiner",
        lambda refiner: (None, SimpleNamespace(sha256=f"digest of {refiner}")),
    )
    few, more = (
        RefinedArm(kind="refined", refiners=names) for names in (("a", "b"), ("a", "b", "c"))
    )
    assert few.settings() != more.settings()
    of_few, of_more = (
        [arm.settings_of(number, arm.settings()) for number in range(3)] for arm in (few, more)
    )
    assert [own["refiners"] for own in of_few] == [
        ["digest of a"], ["digest of b"], ["digest of a"],
    ]  # fmt: skip
    assert [one == other for one, other in zip(of_few, of_more, strict=True)] == [
        True, True, False,
    ]  # fmt: skip


def loaded(arm: RefinedArm, renders: Renders):
    return load_arm(arm, renders, GAZE, {}, size=None, seed=0, number=0)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_share_of_refined_images_is_damaged(split_pair, monkeypatch, share) -> None:
    monkeypatch.setattr(
        "factory.refinement.engines.choose.make_engine", lambda refiner: lambda images: images
    )
    renders = Renders(split_pair[0].location, None, "train", "test", 8)
    plain = loaded(RefinedArm(kind="refined", refiners=("r",)), renders)
    arm = {"kind": "damaged", "refiners": ("r",), "share": share}
    moved = loaded(DamagedArm(**arm, damage="shift", size=3), renders)
    swapped = loaded(DamagedArm(**arm, damage="labels_swapped"), renders)
    for part, clean in enumerate(plain):
        num = round(share * len(clean.images))
        is_moved = (moved[part].images != clean.images).any(axis=(1, 2))
        assert is_moved.sum() == num > 1
        assert (moved[part].values_ND == clean.values_ND).all()
        is_swapped = (swapped[part].values_ND != clean.values_ND).any(axis=1)
        assert num - 1 <= is_swapped.sum() <= num  # of an odd number one keeps its own
        assert (
            np.sort(swapped[part].values_ND[:, 0]).tolist()
            == np.sort(clean.values_ND[:, 0]).tolist()
        )
        assert (swapped[part].images == clean.images).all()


def test_damage_that_the_domain_does_not_know_is_refused_before_any_training(
    split_pair, monkeypatch
) -> None:
    card = split_pair[0].card
    monkeypatch.setattr(RefinedArm, "check", lambda self, card: None)
    with pytest.raises(ValueError, match=r"the domain eye has no damage 'rust'; there are shift, "):
        DamagedArm(kind="damaged", refiners=("r",), damage="rust").check(card)
    DamagedArm(kind="damaged", refiners=("r",), damage="shift", size=2).check(card)
    with pytest.raises(ValidationError, match="one refinement"):
        DamagedArm(kind="damaged", refiners=("r", "s"), refinements=2, damage="shift")
