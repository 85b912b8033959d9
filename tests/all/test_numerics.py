"""The numerical tests again, with the roundings of other processors, and on another number of
threads than the one that `tests/conftest.py` gives them."""

import os
import subprocess
import sys

import pytest

from benchmarks.demo_seeds import NUMERICS
from support.clusters import without_ray_address
from support.places import ROOT

pytestmark = pytest.mark.long
NUMERICAL = ("images", "measures", "networks", "training", "refinement", "validation", "domains")
"""folders of tests whose results are numbers of networks, images and statistics"""
WITHOUT_NUMBERS = ("*_damaged.py", "*_fuzz.py", "*_in_browser.py")
"""files of tests in them that look at something else"""
ROUNDINGS = {
    "avx2_on_two_threads": NUMERICS["avx2"] | {"OMP_NUM_THREADS": "2"},
    "without_vectors": {
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "ATEN_CPU_CAPABILITY": "default",
        "OPENCV_CPU_DISABLE": "AVX2,AVX512_SKX",
    },
}


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.timeout(1200)
def test_numerical_tests_pass_with_other_roundings(rounding) -> None:
    chosen = "not gpu and not long and not ray and not s3"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", chosen]
    done = subprocess.run(
        [
            *command,
            *(f"tests/{folder}" for folder in NUMERICAL),
            *(f"--ignore-glob={pattern}" for pattern in WITHOUT_NUMBERS),
        ],
        cwd=ROOT,
        env={**os.environ, **without_ray_address(), **ROUNDINGS[rounding]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
