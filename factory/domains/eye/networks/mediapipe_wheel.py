"""Take MediaPipe's iris model out of the wheel that has it.

    python -m factory.domains.eye.networks.mediapipe_wheel FOLDER

FOLDER, which may be s3://bucket/prefix, is then what `--witnesses mediapipe FOLDER` takes. pip
downloads the wheel of `mediapipe` 0.10.14, the last that has the model as a file, and installs
nothing: it would ask for old versions of protobuf and NumPy. Without a network, give a wheel that
was downloaded elsewhere: `--wheel FILE`.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from factory.domains.eye.networks.mediapipe import MODEL_NAME, MODEL_SHA256, require_model
from factory.store.open import open_store
from schemas.base import FormatError
from schemas.eye.estimators import MediapipeSource
from schemas.version import WRITER

VERSION = "0.10.14"
MEMBER = f"mediapipe/modules/iris_landmark/{MODEL_NAME}"
LICENCE_MEMBER = f"mediapipe-{VERSION}.dist-info/LICENSE"


def download_wheel(folder: Path) -> Path:
    """The wheel of Linux, whatever this machine has: the model is the same in all.

    Raises:
        ValueError: pip does not get it.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--python-version", "3.11"]
    command += ["--platform", "manylinux2014_x86_64", "--dest", str(folder)]
    done = subprocess.run(
        [*command, f"mediapipe=={VERSION}"], capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise ValueError(
            f"pip did not download mediapipe {VERSION} ({' '.join(done.stderr.split())[-500:]}); "
            "download its wheel elsewhere and give it with --wheel"
        )
    return wheels[0]


def take_model(wheel: Path, output: str) -> None:
    """Write the model, its licence and `mediapipe.json`, which says where both are from.

    Raises:
        FileNotFoundError: there is no such wheel.
        FormatError: it is damaged, or not the wheel that has the model.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            content, licence = archive.read(MEMBER), archive.read(LICENCE_MEMBER)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FormatError(f"{wheel}: not the wheel of mediapipe {VERSION} ({error})") from error
    require_model(content, where=f"{wheel}: {MEMBER}")
    source = MediapipeSource(
        package=f"mediapipe {VERSION}",
        wheel=wheel.name,
        member=MEMBER,
        sha256=MODEL_SHA256,
        writer=WRITER,
    )
    store = open_store(output)
    store.put(MODEL_NAME, content)
    store.put("LICENSE", licence)
    store.put("mediapipe.json", source.to_json())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", metavar="FOLDER", help="where the model is written")
    parser.add_argument("--wheel", type=Path, help="a wheel that was downloaded before")
    args = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="mediapipe-") as folder:
            take_model(args.wheel or download_wheel(Path(folder)), args.output)
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{args.output} has MediaPipe's iris model: --witnesses mediapipe {args.output}")


if __name__ == "__main__":
    main()
