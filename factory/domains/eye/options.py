"""Options of jobs/ingest.py and jobs/simulate.py that are for eyes alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from factory.dataset.tar import sha256
from factory.domains.base import given_names
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.gaze_filter import GazeFilter, GazeWeights, Range
from factory.sources.base import SourceOptions
from schemas.base import FormatError, Model
from schemas.options import OptionError, value_of

OPTIONS_BY_SOURCE = {
    "unityeyes": (
        "crop",
        "keep_gaze_yaw_deg",
        "keep_gaze_pitch_deg",
        "keep_head_yaw_deg",
        "keep_opening",
        "target_gaze",
        "corner_error_px",
    ),
    "mpiigaze": ("crop",),
    "images": ("crop",),
    "screen-targets": ("crop", "blocks"),
    "iris-masks": ("crop", "only_names"),
}
"""name of a source to the options of `EyeIngestOptions` that it uses"""
SELECTIONS = {"blocks": "screen-targets", "only_names": "iris-masks"}
"""options that choose among the pictures of one source, which is named. With another source they
are refused wherever they were given, as a part that was to be left out would be in the dataset"""


class EyeIngestOptions(Model):
    """How pictures of eyes are cropped, and which renders are kept."""

    crop: EyeCrop = EyeCrop()
    keep_gaze_yaw_deg: Range | None = None
    """keep gazes with yaw in this range, degrees, positive towards image left"""
    keep_gaze_pitch_deg: Range | None = None
    """keep gazes with pitch in this range, degrees, positive up"""
    keep_head_yaw_deg: Range | None = None
    """keep heads with yaw in this range, degrees"""
    keep_opening: Range | None = None
    """keep eyes whose lid opening, its height over the width of the eye, is in this
    range: a camera may never show eyes that are as wide open as renders are"""
    target_gaze: Path | None = None
    """resample to the gazes in this .npz, whose gaze_rad (n, 2) is (yaw, pitch)"""
    corner_error_px: Annotated[float, Field(ge=0, le=4, allow_inf_nan=False)] = 0.0
    """standard deviation, along each axis and in px of the crop, of a random error
    of the two eye corners by which a crop is placed and scaled. Corners are found with such errors
    in camera images; labels follow the crop, and stay exact"""
    blocks: Literal["all", "even", "odd"] = "all"
    """the blocks that are kept, by their position among all, counted from 0 in
    the natural order of their names"""
    only_names: str | None = None
    """keep pictures whose name, without folder and suffix, is like this, e.g.
    'r*'"""


class EyeSimulateOptions(Model):
    """The size of rendered eyes."""

    height: Annotated[int | None, Field(ge=36, le=2400)] = None
    """style render only: picture height in pixels; default 240"""
    width: Annotated[int | None, Field(ge=48, le=3200)] = None
    """style render only: picture width in pixels; default 320"""

    def given(self) -> dict[str, int]:
        """The options that were given, by name."""
        return self.model_dump(exclude_none=True)


def eye_source_options(
    source: str,
    given: EyeIngestOptions,
    *,
    location: str,
    recorded: Mapping[str, JsonValue] | None,
) -> SourceOptions:
    """The options of one source of eyes. `Domain.source_options` explains the arguments.

    Raises:
        FormatError: eyes have no such source.
        OptionError: colours are asked of a grey source, an option is for another source, the target
            of `target_gaze` is unusable, or no render has a readable gaze.
    """
    from factory.domains.eye.sources.iris_masks import IrisMasksOptions
    from factory.domains.eye.sources.mpiigaze import MpiiGazeOptions
    from factory.domains.eye.sources.pictures import PicturesOptions
    from factory.domains.eye.sources.screen_targets import ScreenTargetsOptions
    from factory.domains.eye.sources.unityeyes import UnityEyesOptions

    for name in given_names(given):
        if SELECTIONS.get(name, source) != source:
            flag = name.replace("_", "-")
            raise OptionError(f"--{flag} is for the source {SELECTIONS[name]}, not for {source}")
    match source:
        case "images":
            return PicturesOptions(crop=given.crop)
        case "mpiigaze":
            if given.crop.colour:
                raise OptionError("--crop.colour: MPIIGaze's normalised images are grey")
            if given.crop.depth_bits is not None:
                raise OptionError("--crop.depth-bits: MPIIGaze's normalised images have 8 bits")
            return MpiiGazeOptions(crop=given.crop)
        case "screen-targets":
            return ScreenTargetsOptions(crop=given.crop, blocks=given.blocks)
        case "iris-masks":
            return IrisMasksOptions(crop=given.crop, only_names=given.only_names)
        case "unityeyes":
            keep = GazeFilter(
                gaze_yaw_deg=given.keep_gaze_yaw_deg,
                gaze_pitch_deg=given.keep_gaze_pitch_deg,
                head_yaw_deg=given.keep_head_yaw_deg,
                opening=given.keep_opening,
                weights=_weights(given, location, recorded),
            )
            return UnityEyesOptions(
                crop=given.crop, keep=keep, corner_error_px=given.corner_error_px
            )
    raise FormatError(f"eyes have no source {source!r}")


def _weights(
    given: EyeIngestOptions, location: str, recorded: Mapping[str, JsonValue] | None
) -> GazeWeights | None:
    """Weights that resample renders to the target's gazes.

    The first run freezes them in the dataset's card. Later runs take them from there, so that they
    do not depend on the renders that arrived since.
    """
    from factory.domains.eye.sources.gaze_weights import weights_for
    from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource

    if given.target_gaze is None:
        return None
    with value_of(f"--target-gaze {given.target_gaze}"):
        digest = sha256(given.target_gaze.read_bytes())
    if recorded is not None and recorded.get("source") == UnityEyesSource.name:
        frozen = UnityEyesOptions.model_validate(recorded["options"]).keep.weights
        if frozen is not None and frozen.target_sha256 == digest:
            return frozen
    source = UnityEyesSource(location, UnityEyesOptions(crop=given.crop))
    listing = source.listing()
    with value_of(f"--target-gaze {given.target_gaze}"):
        return weights_for(source, listing, given.target_gaze, digest)
