"""Arms of several refiners."""

import numpy as np
import pytest
from pydantic import ValidationError

from factory.evaluation.comparison.arms import RefinedArm, Renders, Rows
from factory.networks.evaluation_kinds import Examples

RENDERS = Renders("renders", None, "train", "test", 2)


def test_each_render_is_refined_by_as_many_refiners_as_asked_for(monkeypatch) -> None:
    monkeypatch.setattr(
        "factory.refinement.engines.choose.make_engine",
        lambda place: lambda images: images + int(place),
    )
    arm = RefinedArm(kind="refined", refiners=("1", "2", "3"), refinements=2)
    examples = Examples(np.zeros((2, 3, 4), np.uint8), np.eye(2), np.array(["a", "b"]))
    seen = [
        arm.look(RENDERS, examples.images, number)(Rows(examples, np.array(["k", "l"])))
        for number in range(3)
    ]
    assert [np.unique(one.images).tolist() for one in seen] == [[1, 2], [1, 3], [2, 3]]
    for one in seen:
        assert one.values_ND.tolist() == [*np.eye(2).tolist()] * 2
        assert one.groups.tolist() == ["a", "b", "a", "b"]


def test_more_refinements_than_refiners_are_refused_and_one_is_no_other_setting() -> None:
    with pytest.raises(ValidationError, match="3 refinements of each render .* 2 are named"):
        RefinedArm(kind="refined", refiners=("1", "2"), refinements=3)
    assert "refinements" not in RefinedArm(kind="refined", refiners=("1",)).model_dump()
