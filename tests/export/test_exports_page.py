"""Every snippet of docs/exports.md and of a card, run as its reader would run it."""

import contextlib
import io
import re
import warnings
from typing import Any

import numpy as np
import pytest

from support.places import ROOT

pytestmark = pytest.mark.slow
FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)
SNIPPETS = FENCED.findall((ROOT / "docs" / "exports.md").read_text())


@pytest.fixture
def at_the_reader(eye_export, tmp_path, monkeypatch) -> None:
    """Beside a folder OUT that is an export."""
    (tmp_path / "OUT").symlink_to(eye_export)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from etils import epath
    from mlcroissant._src.operation_graph.operations import extract

    monkeypatch.setattr(extract, "EXTRACT_PATH", epath.Path(tmp_path / "extract"))


def run(code: str) -> dict[str, Any]:
    known: dict[str, Any] = {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        exec(code, known)  # noqa: S102 - it is our own page
    return known


def test_the_snippets_of_the_page_give_images_and_labels(at_the_reader) -> None:
    by_tool = {re.findall(r"from (\w+)|import (\w+)", code)[0]: code for code in SNIPPETS}
    tools = {"".join(names): code for names, code in by_tool.items()}
    assert tools.keys() == {"datasets", "mlcroissant", "megatron", "pycocotools"}
    loaded = run(tools["datasets"])
    assert loaded["image"].size == (55, 35) and len(loaded["labels"]["iris_px"]) == 32
    loaded = run(tools["mlcroissant"])
    assert loaded["image"].size == (55, 35)
    assert np.linalg.norm(loaded["gaze"]) == pytest.approx(1, abs=1e-3)
    loaded = run(tools["megatron"].replace("num_workers=4", "num_workers=0"))
    assert tuple(loaded["images"].shape) == (8, 1, 35, 55) and len(loaded["labels"]) == 8
    assert len(run(tools["pycocotools"])["coco"].getAnnIds()) > 0


def test_the_snippet_of_a_card_gives_images_and_labels(at_the_reader, eye_export) -> None:
    (code,) = FENCED.findall((eye_export / "README.md").read_text())
    loaded = run(code.replace("FOLDER", "OUT"))
    assert loaded["image"].size == (55, 35) and "gaze" in loaded["labels"]
