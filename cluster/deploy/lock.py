"""Write requirements.lock: every package that the CPU variant needs, with the hashes of its files.

`make lock` runs this. uv chooses the packages for Python 3.11 on Linux, each in its version of
constraints.txt, and lists the SHA-256 of every file that PyPI has of that version. PyTorch alone
has two entries, because its builds for CPUs have an index of their own: on Linux they are named by
their local version, so that pip can never take PyPI's build, which needs CUDA; elsewhere PyPI's is
the build for CPUs.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
HEADER = """\
# What the CPU variant needs, with all extras but dev, for Python 3.11 on Linux with an x86-64
# processor. `make lock` writes this file; docs/installing.md says how to install it, and what
# pip needs to find PyTorch's build for CPUs, which is not on PyPI:
#     pip install --require-hashes -r requirements.lock
#     pip install --no-deps -e .
"""
_TORCH = re.compile(
    r"^torch==(?P<public>[\d.]+)(?P<local>\+\w+)? \\\n(?P<hashes>(?:    --hash=\S+(?: \\)?\n)+)",
    re.MULTILINE,
)
"""PyTorch's entry of a lock"""


def locked(torch_wheels: str) -> str:
    """The text of requirements.lock.

    Args:
        torch_wheels: folder, or URL of a page of links, with PyTorch's builds for CPUs.

    Raises:
        ValueError: there is no CPU build of PyTorch in the version of constraints.txt.
        subprocess.CalledProcessError: uv finds no packages that fit; its message is on stderr.
    """
    places = "--constraint=constraints.txt", f"--find-links={torch_wheels}"
    everything = _compiled("pyproject.toml", "--extra=all", *places)
    cpu = _torch_in(everything)
    if cpu["local"] != "+cpu":
        raise ValueError(f"{torch_wheels} has no CPU build of torch {cpu['public']}")
    pypi = _torch_in(_compiled("-", "--no-deps", stdin=f"torch=={cpu['public']}"))
    entries = (
        f"torch=={cpu['public']}+cpu ; sys_platform == 'linux' \\\n{cpu['hashes']}"
        f"torch=={cpu['public']} ; sys_platform != 'linux' \\\n{pypi['hashes']}"
    )
    return HEADER + _TORCH.sub(lambda _: entries, everything)


def _torch_in(lock: str) -> re.Match[str]:
    match = _TORCH.search(lock)
    if match is None:
        raise ValueError(f"uv did not list torch:\n{lock}")
    return match


def _compiled(requirements: str, *options: str, stdin: str | None = None) -> str:
    command = [sys.executable, "-m", "uv", "pip", "compile", requirements, *options, *_ALWAYS]
    done = subprocess.run(
        command, input=stdin, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    return done.stdout


_ALWAYS = (
    *("--quiet", "--no-config", "--generate-hashes", "--no-header", "--no-annotate"),
    *("--python-version=3.11", "--python-platform=x86_64-manylinux_2_28"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write requirements.lock anew.")
    parser.add_argument(
        "--torch-wheels",
        required=True,
        metavar="PLACE",
        help="folder, or URL of a page of links, with PyTorch's builds for CPUs",
    )
    LOCK.write_text(locked(parser.parse_args().torch_wheels))


if __name__ == "__main__":
    main()
