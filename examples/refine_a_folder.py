"""From a folder of renders and a folder of camera pictures to a release, by calls of the library.

    python examples/refine_a_folder.py RENDERS CAMERA OUTPUT

RENDERS is a folder of UnityEyes renders (N.jpg and N.json), CAMERA one of pictures of eyes; both
may hold archives, or be at s3://. `--trial` runs the same chain in seconds, with settings that are
far too small to learn anything. The same command again goes on where it was stopped.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from pydantic import JsonValue

from factory import ingest, publish, refine, train, validate
from factory.measures.two_sample import TwoSampleTest
from factory.training.config import TrainConfig
from factory.validation.settings import ValidationSettings

LOOK = {"crop": {"equalise": True}}
"""how renders and camera pictures are cropped; it has to be the same for both"""
TRIAL: dict[str, JsonValue] = {
    "steps": 4,
    "batch_size": 8,
    "buffer_size": 32,
    "refiner_pretrain_steps": 2,
    "discriminator_pretrain_steps": 2,
    "refiner": {"maps": 4, "blocks": 1},
    "num_threads": 1,
}
"""what `--trial` changes of a configuration"""


def options_in(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line; those of the process where None are given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("renders", help="folder, archive or s3://bucket/prefix of renders")
    parser.add_argument("camera", help="folder, archive or s3://bucket/prefix of camera pictures")
    parser.add_argument("output", help="folder or s3://bucket/prefix of all that is made")
    parser.add_argument("--config", default="eye-small", help="configuration of the training")
    parser.add_argument("--gate", default="eye", help="limits that a release has to keep")
    parser.add_argument("--release", default="first", help="name of the release")
    parser.add_argument("--trial", action="store_true", help="run in seconds, learn nothing")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the release; gives the exit code, 3 where the gate refused the refined images."""
    given = options_in(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    output = given.output.rstrip("/")

    renders = ingest(given.renders, source="unityeyes", output=f"{output}/renders", options=LOOK)
    camera = ingest(given.camera, source="images", output=f"{output}/camera", options=LOOK)

    config = TrainConfig.from_file(given.config, **(TRIAL if given.trial else {}))
    train(renders, camera, output=f"{output}/refiner", config=config)
    refined = refine(renders, refiner=f"{output}/refiner", output=f"{output}/refined")

    if given.trial:
        report = validate(
            refined,
            real=camera,
            gate=given.gate,
            settings=ValidationSettings(
                test=TwoSampleTest(seeds=(0,), num_steps=10), num_calibration=16
            ),
            options={"looks": {"num_rounds": 10, "features": {"num_steps": 3}}},
        )
    else:
        report = validate(refined, real=camera, gate=given.gate)
    if not report.passed:
        missed = ", ".join(check.measure for check in report.checks if not check.passed)
        print(f"no release: {missed} missed; see {output}/refined/reports/{report.id}/report.html")
        return 3

    manifest = publish(refined, given.release)
    print(f"{manifest.num_samples} samples in {output}/refined/releases/{manifest.release}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
