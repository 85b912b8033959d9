"""The files that a dataset holds: their models, and the JSON Schemas made from them."""

import json

import jsonschema
import pytest
from pydantic import ValidationError

from factory.dataset.kinds import parse_label
from schemas.base import FORMAT_VERSION, FormatError
from schemas.dataset import DatasetCard, ImageSpec
from schemas.eye.kind import EYE
from schemas.eye.sample import Eye
from schemas.generate import FOLDER, schema_files
from schemas.hand.kind import HAND

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


def hand_record() -> dict:
    """A valid json member of a labelled hand."""
    camera = {"fx_px": 500.0, "fy_px": 500.0, "cx_px": 111.5, "cy_px": 111.5}
    xyz = [[-60.0 + 3 * joint, 40.0 - 2 * joint, 700.0 + joint] for joint in range(36)]
    uvd = [[500 * x / z + 111.5, 500 * y / z + 111.5, z - 599] for x, y, z in xyz]
    some = (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32)
    common = ("key", "split", "crop_affine", "made")
    return {name: eye_record()[name] for name in common} | {
        "schema": "hand/1",
        "source": {
            "name": "nyu",
            "id": "depth_1_0000001",
            "image_sha256": SHA,
            "label_sha256": SHA,
        },
        "identity": "frame-0000001",
        "extra": {"nyu_camera": 1, "nyu_frame": 1},
        "z_near_mm": 600,
        "cube_mm": 300,
        "camera": camera,
        "joints_uvd": uvd,
        "joints_xyz_mm": xyz,
        "joints14_uvd": [uvd[joint] for joint in some],
        "joints14_xyz_mm": [xyz[joint] for joint in some],
    }


def with_joint(record: dict, name: str, joint: int, axis: int, value: float) -> dict:
    points = [list(point) for point in record[name]]
    points[joint][axis] = value
    return record | {name: points}


def test_json_schemas_are_those_of_the_models() -> None:
    stored = {path.name: path.read_text() for path in FOLDER.glob("*.schema.json")}
    assert stored == schema_files(), "run `make schemas` and read the difference"


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


@pytest.mark.slow
def test_a_hand_follows_its_published_json_schema_and_its_domain() -> None:
    record = hand_record()
    joints = [name for name in record if name.startswith("joints")]
    bare = {name: value for name, value in record.items() if name not in joints}
    for labelled, name, sample in ((True, "hand", record), (False, "hand-unlabelled", bare)):
        schema = json.loads((FOLDER / f"sample-{name}.schema.json").read_text())
        jsonschema.validate(sample, schema)
        parsed = parse_label(HAND, json.dumps(sample).encode(), labelled=labelled, where="here")
        columns = {column.name for column in HAND.columns(labelled)}
        assert columns <= set(parsed) and parsed["camera"] == record["camera"]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(sample | {"surprise": 1}, schema)
    with pytest.raises(FormatError, match="joints_uvd"):
        parse_label(HAND, json.dumps(bare).encode(), labelled=True, where="here")
    with pytest.raises(FormatError, match="joints_uvd"):
        parse_label(HAND, json.dumps(record).encode(), labelled=False, where="here")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"z_near_mm": 0}, "z_near_mm"),
        ({"z_near_mm": 600.5}, "z_near_mm"),
        ({"cube_mm": 0}, "cube_mm"),
        ({"camera": {"fx_px": 0.0, "fy_px": 1.0, "cx_px": 1.0, "cy_px": 1.0}}, "fx_px"),
        ({"camera": {"fx_px": 1.0}}, "fy_px"),
        ({"joints_uvd": hand_record()["joints_uvd"][:35]}, "joints_uvd"),
        ({"joints14_uvd": hand_record()["joints_uvd"][:14]}, "not 14 of the 36"),
        (with_joint(hand_record(), "joints_uvd", 3, 0, 5.0), "joint 3 is at .* projects to"),
        (with_joint(hand_record(), "joints_uvd", 4, 2, 5.0), "joint 4 is at .* projects to"),
        (with_joint(hand_record(), "joints_xyz_mm", 5, 2, -1.0), "joint 5 is at depth -1.0 mm"),
        ({"z_near_mm": 601}, "joint 0 is at .* projects to"),
    ],
)
def test_a_hand_that_contradicts_itself_is_refused(change: dict, reason: str) -> None:
    record = hand_record() | change
    with pytest.raises(FormatError, match=f"there: .*{reason}"):
        parse_label(HAND, json.dumps(record).encode(), labelled=True, where="there")


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
        parse_label(
            EYE, json.dumps(eye_record() | {field: value}).encode(), labelled=True, where="there"
        )


def test_a_newer_format_says_so_before_anything_else() -> None:
    newer = CARD.model_dump(mode="json") | {"format_version": FORMAT_VERSION + 1, "new": 1}
    with pytest.raises(FormatError, match=r"dataset\.json: format version 3 is newer .* update"):
        DatasetCard.from_json(json.dumps(newer).encode(), where="dataset.json")


def test_card_digest_speaks_of_content_only() -> None:
    assert CARD.model_copy(update={"name": "other"}).digest() == CARD.digest()
    assert CARD.model_copy(update={"shard_size": 5}).digest() != CARD.digest()


@pytest.mark.parametrize("splits", [{"train": 0.5}, {"train": 1.5, "test": -0.5}])
def test_splits_must_sum_to_one(splits: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="splits"):
        DatasetCard(**CARD.model_dump() | {"splits": splits})
