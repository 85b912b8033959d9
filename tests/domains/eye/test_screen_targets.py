"""Pictures of eyes that looked at known dots, with their table."""

import math
import tarfile
from pathlib import Path

import numpy as np
import pytest

from factory.domains.eye.domain import EYE_DOMAIN
from factory.domains.eye.options import EyeIngestOptions
from factory.domains.eye.sources import targets_csv
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.screen_targets import ScreenTargetsOptions, ScreenTargetsSource
from factory.sources.base import BadRender, LeftOut, Vanished
from support import fakes
from support.looking_eyes import (
    INNER_PX,
    OUTER_PX,
    in_picture,
    picture,
    row,
    write_pictures,
    write_table,
)

CENTER = (30.75, 17.4)


def source_of(location: Path, **options: object) -> ScreenTargetsSource:
    return ScreenTargetsSource(location, ScreenTargetsOptions.model_validate(options))


def reasons(folder: Path) -> dict[str, str]:
    """Why inputs are rejected, by their ids."""
    source, by_id = source_of(folder), {}
    for facts in source.listing():
        try:
            source.load(facts.id)
        except BadRender as bad:
            by_id[facts.id] = bad.reason
    return by_id


def test_an_eye_is_framed_by_its_corners_as_a_render_is(tmp_path) -> None:
    write_pictures(tmp_path, {"1.png": picture(CENTER)})
    write_table(tmp_path, [row("1.png", target_x_px=12.5, note="bright")])
    loaded = source_of(tmp_path).load("targets.csv:1.png")
    crop = EyeCrop()
    assert np.allclose(loaded.crop_affine, crop.framing(INNER_PX, OUTER_PX).affine())
    corners = [loaded.crop_affine @ [*corner, 1] for corner in (INNER_PX, OUTER_PX)]
    assert np.allclose(np.mean(corners, axis=0), (27, 17))
    assert math.isclose(math.dist(*corners), crop.eye_width_px)
    dark = loaded.image < 100
    dark_center = np.argwhere(dark)[:, ::-1].mean(axis=0)
    assert np.allclose(dark_center, loaded.crop_affine @ [*in_picture(CENTER), 1], atol=0.6)
    assert loaded.identity == "anna/block-0" and loaded.labels == {}
    assert loaded.extra == {
        "target_px": [12.5, 540.0],
        "block": "block-0",
        "block_position": 0,
        "frame": "1.png",
        "person": "anna",
        "eye_side": "left",
        "mirrored": False,
        "other": {"note": "bright"},
    }


@pytest.mark.parametrize("with_corners", [True, False])
def test_a_right_eye_is_mirrored(tmp_path, with_corners) -> None:
    write_pictures(tmp_path, {"l.png": picture(CENTER), "r.png": picture(CENTER, right=True)})
    mirrored = {"inner_x_px": 109 - INNER_PX[0], "outer_x_px": 109 - OUTER_PX[0]}
    left, right = row("l.png"), row("r.png", eye_side="right", **mirrored)
    if not with_corners:
        left, right = (
            {
                name: cell
                for name, cell in cells.items()
                if "ner_" not in name and "outer" not in name
            }
            for cells in (left, right)
        )
    write_table(tmp_path, [left, right])
    a, b = (source_of(tmp_path).load(f"targets.csv:{side}.png") for side in "lr")
    assert np.array_equal(a.image, b.image)
    assert not a.extra["mirrored"] and b.extra["mirrored"] and b.extra["eye_side"] == "right"
    x, y = in_picture(CENTER)
    assert np.allclose(a.crop_affine @ [x, y, 1], b.crop_affine @ [109 - x, y, 1])


def test_blocks_are_in_natural_order_and_those_left_out_are_filtered(tmp_path) -> None:
    names = [f"{n}.png" for n in range(4)]
    write_pictures(tmp_path, dict.fromkeys(names, picture()))
    blocks = ("b10", "b2", "b1", "b2")
    rows = [row(name, block=block) for name, block in zip(names, blocks, strict=True)]
    write_table(tmp_path, rows)
    source = source_of(tmp_path)
    positions = [source.load(f"targets.csv:{name}").extra["block_position"] for name in names]
    assert positions == [2, 1, 0, 1]
    even = fakes.ingest_here(tmp_path, tmp_path / "even", ScreenTargetsOptions(blocks="even"))
    assert even.facts(0).num_samples == 2 and even.facts(0).num_filtered == 2
    odd = source_of(tmp_path, blocks="odd")
    with pytest.raises(LeftOut, match="not among the odd ones"):
        odd.load("targets.csv:0.png")
    assert odd.load("targets.csv:1.png").identity == "anna/b2" == odd.identity("targets.csv:3.png")


@pytest.mark.parametrize(
    ("source", "option"),
    [
        ("images", {"blocks": "even"}),
        ("unityeyes", {"only_names": "r*"}),
        ("iris-masks", {"blocks": "odd"}),
    ],
)
def test_a_selection_is_refused_by_other_sources(source, option) -> None:
    given = EyeIngestOptions.model_validate(option)
    with pytest.raises(ValueError, match=f"is for the source .*, not for {source}"):
        EYE_DOMAIN.source_options(source, given, location="x", recorded=None)


def test_options_of_the_command_line_reach_the_source() -> None:
    given = EyeIngestOptions(blocks="odd", keep_head_yaw_deg=(0, 1))
    options = EYE_DOMAIN.source_options("screen-targets", given, location="x", recorded=None)
    assert options == ScreenTargetsOptions(blocks="odd")


BAD_ROWS = {
    "target_x_px is no finite number, found 'nan'": {"target_x_px": "nan"},
    "target_y_px is no finite number, found '1e999'": {"target_y_px": "1e999"},
    "target_x_px is no finite number, found '1,5'": {"target_x_px": "1,5"},
    "no block is named": {"block": " "},
    "eye_side is 'Left'": {"eye_side": "Left"},
    "the two eye corners are the same point": {"outer_x_px": INNER_PX[0]},
    "of the eye corners only inner_x_px, inner_y_px, outer_x_px are given": {"outer_y_px": ""},
    "inner_y_px is no finite number, found 'inf'": {"inner_y_px": "inf"},
    "an eye corner is outside the picture of 110x70": {"outer_x_px": 110},
    "are not as in an eye of the eye_side": {"eye_side": "right"},
    "eye is 9.5 px wide, at least 16 needed": {"outer_x_px": 20},
}


@pytest.mark.parametrize("reason", BAD_ROWS)
def test_a_malformed_row_is_rejected_alone(tmp_path, reason) -> None:
    write_pictures(tmp_path, dict.fromkeys(("1.png", "2.png"), picture()))
    write_table(tmp_path, [row("1.png", **BAD_ROWS[reason]), row("2.png")])
    ((rejected, why),) = reasons(tmp_path).items()
    assert rejected == "targets.csv:1.png" and reason in why


def test_rows_and_pictures_that_do_not_fit_are_rejected_with_their_line(tmp_path) -> None:
    pictures = ("1.png", "2.png", "3.png", "4.png", "no row.png", "bad.png", "f1.png", "f2.png")
    write_pictures(tmp_path, dict.fromkeys(pictures, picture()))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    rows = [row("1.png"), row("2.png"), row("2.png"), row("gone.png"), row(""), row("../5.png")]
    rows += [row("3.png"), row("4.txt"), row("./4.png"), row("bad.png")]
    rows += [row("f1.png", frame=7), row("f2.png", frame=7, target_x_px=3)]
    write_table(tmp_path, rows)
    lines = (tmp_path / "targets.csv").read_text().splitlines()
    lines[7] += ",1"
    (tmp_path / "targets.csv").write_text("\n".join([*lines, "", ""]))
    by_id = reasons(tmp_path)
    frame = "the pictures of a frame have different targets: frame '7' in the lines 12, 13 of"
    expected = {
        "targets.csv:2.png": "the lines 3 and 4 of targets.csv name the same picture",
        "targets.csv:line 5": "line 5 of targets.csv names 'gone.png', which is not there",
        "targets.csv:line 6": "line 6 of targets.csv names no picture",
        "targets.csv:line 7": "leads out of the place",
        "targets.csv:3.png": "line 8 of targets.csv has 12 cells, its header 11",
        "targets.csv:line 9": "names a picture of no known kind: '4.txt'",
        "targets.csv:bad.png": "does not decode",
        "targets.csv:f1.png": frame,
        "targets.csv:f2.png": frame,
        "no row.png": "no row of a targets.csv names this picture",
    }
    assert by_id.keys() == expected.keys()
    assert all(expected[id] in by_id[id] for id in expected), by_id


BAD_TABLES = {
    "has no column picture, target_x_px, target_y_px, block": b"picture;target_x_px\n",
    "has no column outer_x_px, outer_y_px": (
        b"picture,target_x_px,target_y_px,block,inner_x_px,inner_y_px\n"
    ),
    "is not in UTF-8 (byte 0)": b"\xff\xfep\0",
    "is empty": b"\n\n",
    "is not CSV from line 2 on": b'picture,target_x_px,target_y_px,block\n"1.png,1,2,a\n',
    "has two columns of one name": b"picture,picture,target_x_px,target_y_px,block\n",
    "more than the 4,000 that are read": b"x" * 4001,
}


@pytest.mark.parametrize("problem", BAD_TABLES)
@pytest.mark.parametrize("in_archive", [False, True])
def test_a_table_that_cannot_be_read_is_named_and_the_rest_goes_on(
    tmp_path, monkeypatch, problem, in_archive
) -> None:
    monkeypatch.setattr(targets_csv, "MAX_BYTES", 4000)
    for day in ("monday", "tuesday"):
        write_pictures(tmp_path / day, {"1.png": picture()})
        write_table(tmp_path / day, [row("1.png")])
    raw = BAD_TABLES[problem]
    (tmp_path / "monday" / "targets.csv").write_bytes(raw)
    location = tmp_path
    if in_archive:
        location = tmp_path / "set.tar"
        with tarfile.open(location, "w") as tar:
            for day in ("monday", "tuesday"):
                tar.add(tmp_path / day, day)
    ids, (named,) = fakes.scanned(source_of(location))
    assert ids == ["tuesday/targets.csv:1.png"]
    assert named.startswith("monday/targets.csv: ") and problem in named
    assert source_of(location).load(ids[0]).identity == "anna/block-0"


def test_sets_in_archives_give_the_same_samples(tmp_path) -> None:
    write_pictures(tmp_path / "set", {"eyes/1.png": picture(CENTER)})
    write_table(tmp_path / "set", [row("eyes\\1.png")])
    with tarfile.open(tmp_path / "week.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "set", "set")
    loose, packed = "set/targets.csv:eyes/1.png", "week.tar.gz/set/targets.csv:eyes/1.png"
    assert fakes.scanned(source_of(tmp_path)) == ([loose, packed], [])
    a, b = (source_of(tmp_path).load(id) for id in (loose, packed))
    assert np.array_equal(a.image, b.image) and a.label_sha256 == b.label_sha256


def test_only_rows_that_changed_become_new_samples(tmp_path) -> None:
    folder, options = tmp_path / "in", ScreenTargetsOptions()
    write_pictures(folder, dict.fromkeys(("1.png", "2.png", "3.png"), picture()))
    write_table(folder, [row("1.png"), row("2.png")])
    dataset = fakes.ingest_here(folder, tmp_path / "out", options)
    assert dataset.facts(0).num_samples == 2 and dataset.facts(0).num_rejected == 1
    write_table(folder, [row("1.png", target_x_px=1), row("2.png"), row("3.png", block="block-2")])
    planned = fakes.plan_from(dataset, source_of(folder))
    assert (planned.num_new, planned.num_rewritten) == (2, 1)
    fakes.build_here(dataset, folder, options)
    assert dataset.index(1, ["source_id"])["source_id"].to_pylist() == [
        "targets.csv:1.png",
        "targets.csv:3.png",
    ]


def test_a_picture_that_vanished_may_come_back(tmp_path) -> None:
    write_pictures(tmp_path, {"1.png": picture()})
    write_table(tmp_path, [row("1.png")])
    (facts,) = source_of(tmp_path).listing()
    (tmp_path / "1.png").unlink()
    with pytest.raises(Vanished):
        source_of(tmp_path).load(facts.id)
