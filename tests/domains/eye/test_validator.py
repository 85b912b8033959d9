"""What the validator of eyes makes of datasets in colour."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from factory.domains.eye import validator as module
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.validator import EyeValidator


def test_images_in_colour_are_measured_in_grey_and_shown_in_colour(monkeypatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 35, 55, 3), dtype=np.uint8)
    measured: list[np.ndarray] = []

    def keep(*arguments: object, **_: object) -> list[object]:
        measured.extend(array for array in arguments if isinstance(array, np.ndarray))
        return []

    index = pa.table({"key": [f"000000-{number:06d}" for number in range(9)]})
    sampled = SimpleNamespace(index=index, synthetic=images, refined=images[::-1])
    monkeypatch.setattr(module, "crop_of", lambda parent: EyeCrop(colour=True))
    monkeypatch.setattr(module, "sample_pairs", lambda *_: sampled)
    monkeypatch.setattr(module, "sample_images", lambda *_: images)
    monkeypatch.setattr(module, "calibration_part", lambda sampled, num: sampled)
    monkeypatch.setattr(module, "identities_of", lambda sampled: None)
    monkeypatch.setattr(module, "read_measures", lambda *_: index)
    for name in ("camera_pairs", "look_parts", "comparisons"):
        monkeypatch.setattr(module, name, keep)
    for name in ("realism_of", "looks_of"):
        monkeypatch.setattr(module, name, lambda results: None)
    settings = SimpleNamespace(seed=0, num_realism=9, num_calibration=9, test=None)
    examined = EyeValidator().examine(
        SimpleNamespace(parent=None, real=None, refined=None),
        [0],
        None,
        SimpleNamespace(finder=None),
        settings,
        SimpleNamespace(looks=None),
        lambda calls, _what: [None] * len(calls),
    )
    assert len(measured) == 6 and all(array.shape == (9, 35, 55) for array in measured)
    assert np.array_equal(examined.real_NHW, images)
