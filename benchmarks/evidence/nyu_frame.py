"""A picture of what networks find on one genuine frame of the NYU hand pose set.

    python benchmarks/evidence/nyu_frame.py FRAME.png JOINTS.npz OUT.png renders=NET refined=NET

FRAME.png is a camera frame as the set has them (`depth_1_0000001.png`), and JOINTS.npz its joints:
`joint_uvd` (frames, 36, 3) in u px, v px and depth mm, of which row `--row` is taken. Each NET is
the output of `jobs/estimator.py joints`, trained on renders, on a refined dataset or on another
arm. The frame is cropped as ingest crops it, without a render to mask it. Rings are the labels,
dots what a network finds; there is a picture for each network, in the order in which they are
given. One frame proves nothing: the picture is for people to look at. The frame is research data,
and lies outside this repository, as the picture has to.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory.domains.hand.estimator_pictures import joints_png
from factory.domains.hand.geometry import NYU_CAMERA
from factory.domains.hand.networks.joints import found_joints_px, load_joints
from factory.domains.hand.sources.depth import HandCrop, unpack_depth
from factory.domains.hand.sources.nyu import NyuOptions
from schemas.hand.sample import EVALUATED_JOINTS


def cropped(frame: bytes, joints_uvd: NDArray[np.floating]) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) depth as stored of a frame, and (14, 2) its evaluated joints in px of that crop.

    Args:
        joints_uvd: (36, 3).
    """
    options = NyuOptions(kind="real", mask="cube")
    xyz_mm = NYU_CAMERA.unproject(joints_uvd)
    crop = HandCrop.around(xyz_mm, NYU_CAMERA, cube_mm=options.cube_mm, size_px=options.size_px)
    return crop.cut(unpack_depth(frame)), crop.stored(xyz_mm)[list(EVALUATED_JOINTS), :2]


def drawn(
    frame: bytes, joints_uvd: NDArray[np.floating], networks: dict[str, str]
) -> tuple[bytes, dict[str, NDArray[np.float64]]]:
    """The picture, and the (14,) distances in px of what each network finds."""
    image, truth_px = cropped(frame, joints_uvd)
    images = np.stack([image] * len(networks))
    found_px = np.concatenate(
        [found_joints_px(load_joints(location)[0], image[None]) for location in networks.values()]
    )
    truth = np.stack([truth_px] * len(networks))
    errors_px = np.linalg.norm(found_px - truth, axis=-1)
    return joints_png(images, truth, found_px), dict(zip(networks, errors_px, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frame", type=Path, help="a camera frame of 640 x 480 px")
    parser.add_argument("joints", type=Path, help="the .npz file of joints")
    parser.add_argument("output", type=Path, help="the picture that is written")
    parser.add_argument("networks", nargs="+", metavar="name=NETWORK", help="what is compared")
    parser.add_argument("--row", type=int, default=0, help="of the frame among the joints")
    given = parser.parse_args()
    pairs = [network.partition("=") for network in given.networks]
    if unnamed := [name for name, _, location in pairs if not location]:
        parser.error(f"a network is given as name=PLACE, not as {unnamed[0]!r}")
    with np.load(given.joints) as joints:
        uvd = joints["joint_uvd"][given.row].astype(np.float64)
    networks = {name: location for name, _, location in pairs}
    picture, errors_px = drawn(given.frame.read_bytes(), uvd, networks)
    given.output.write_bytes(picture)
    for name, error_px in errors_px.items():
        near = (error_px <= 5).mean()
        print(f"{name}: mean {error_px.mean():.1f} px, {near:.0%} of the joints within 5 px")


if __name__ == "__main__":
    main()
