"""The files that a dataset holds: their models, and the JSON Schemas made from them."""

import json

import jsonschema
import pytest
from pydantic import ValidationError

from factory.domains.eye import EYE
from schemas.base import FORMAT_VERSION, FormatError
from schemas.dataset import DatasetCard, ImageSpec
from schemas.generate import FOLDER, schema_files
from schemas.sample import Eye

SHA = "0" * 64
CARD = DatasetCard(
    name="x",
    kind="synthetic",
    domain="eye",
    labelled=True,
    image=ImageSpec(height=35, width=55),
    shard_size=4,
    config={},
    config_digest=SHA,
)


def eye_record() -> dict:
    """A valid json member of an eye."""
    return {
        "schema": "eye/1",
        "key": "000000-000017",
        "source": {"name": "unityeyes", "id": "imgs/18", "image_sha256": SHA, "label_sha256": SHA},
        "identity": "f02_color",
        "split": "train",
        "pupil_px": [27.4, 16.9],
        "pupil_from": "iris_mean",
        "eye_side": "left",
        "mirrored": False,
        "iris_px": [[1.0, 2.0]] * 32,
        "lid_px": [[1.0, 2.0]] * 16,
        "caruncle_px": [[1.0, 2.0]] * 7,
        "eye_width_px": 36.7,
        "gaze": [0.0, 0.0, -1.0],
        "gaze_pitch_rad": 0.0,
        "gaze_yaw_rad": 0.0,
        "head_pitch_rad": 0.1,
        "head_yaw_rad": 0.1,
        "pupil_size": 0.0,
        "iris_size": 1.0,
        "crop_affine": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
        "extra": {"head_pose": "(1, 180, 0)"},
        "made": {"config": SHA, "writer": "test"},
    }


def test_json_schemas_are_those_of_the_models() -> None:
    there = {path.name: path.read_text() for path in FOLDER.glob("*.schema.json")}
    assert there == schema_files(), "run `make schemas` and read the difference"


def test_a_sample_follows_its_published_json_schema() -> None:
    schema = json.loads((FOLDER / "sample-eye.schema.json").read_text())
    jsonschema.validate(eye_record(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(eye_record() | {"surprise": 1}, schema)


def test_models_are_frozen_and_refuse_unknown_fields() -> None:
    with pytest.raises(ValidationError):
        CARD.name = "y"  # type: ignore[misc]
    with pytest.raises(FormatError, match="surprise"):
        Eye.from_json(json.dumps(eye_record() | {"surprise": 1}).encode(), where="here")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gaze", [0.0, 0.0, 0.0]),
        ("pupil_px", ["left", 0.0]),
        ("iris_px", [[1.0, 2.0]] * 31),
        ("key", "17"),
        ("schema", "eye/2"),
    ],
)
def test_a_broken_label_is_refused(field: str, value: object) -> None:
    with pytest.raises(FormatError, match=f"there: .*{field}"):
        EYE.parse(json.dumps(eye_record() | {field: value}).encode(), labelled=True, where="there")


def test_a_newer_format_says_so_before_anything_else() -> None:
    newer = CARD.model_dump(mode="json") | {"format_version": FORMAT_VERSION + 1, "new": 1}
    with pytest.raises(FormatError, match=r"dataset\.json: format version 2 is newer .* update"):
        DatasetCard.from_json(json.dumps(newer).encode(), where="dataset.json")


def test_card_digest_speaks_of_content_only() -> None:
    assert CARD.model_copy(update={"name": "other"}).digest() == CARD.digest()
    assert CARD.model_copy(update={"shard_size": 5}).digest() != CARD.digest()


@pytest.mark.parametrize("splits", [{"train": 0.5}, {"train": 1.5, "test": -0.5}])
def test_splits_must_sum_to_one(splits: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="splits"):
        DatasetCard(**CARD.model_dump() | {"splits": splits})
