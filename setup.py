"""Compiles the faster way to crops where there is a C compiler with libjpeg-turbo's headers, and
puts the configurations, gates and pages into a wheel.

Everything else is in pyproject.toml. Without the compiled part the package installs all the same,
and makes the same crops in half as much time again: `factory.images.native.how()` says which way is
in use.
"""

import hashlib
from pathlib import Path

from cffi import FFI
from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SOURCE = ROOT / "factory" / "images" / "crop.c"
PICTURE = "int picture_width, int picture_height"
CROP = "double scale, double x, double y, int width, int height, uint8_t *crop"

builder = FFI()
builder.cdef(
    f"""
    enum {{ DONE, DAMAGED, NO_MEMORY, OTHER_SIZE, OTHER_KIND, ... }};
    const char *source_sha256(void);
    int crop_picture(const uint8_t *picture, {PICTURE}, {CROP});
    int crop_jpeg(const uint8_t *jpeg, size_t size, {PICTURE}, int eighths, {CROP}, char *reason);
    """
)
# At the top level, so that workers which are sent the sources alone find it where it is installed.
builder.set_source(
    "_simgan_crop",
    SOURCE.read_text()
    + "static const char *source_sha256(void) { return "
    + f'"{hashlib.sha256(SOURCE.read_bytes()).hexdigest()}"; }}',
    libraries=["jpeg"],
    # No fused operations, whose other roundings could make other pixels on other machines.
    extra_compile_args=["-O3", "-ffp-contract=off", "-fno-math-errno"],
)
extension = builder.distutils_extension()
extension.optional = True
extension.depends = ["setup.py"]


class BuildWithFolders(build_py):
    """Copies `configs/`, `gates/` and `docs/`, which lie beside the packages, into one of them.

    `schemas.shipped` finds them in either place; an editable install reads the checkout's own.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder in ("configs", "gates", "docs"):
            target = Path(self.build_lib, "simgan_factory", folder)
            for path in sorted((ROOT / folder).rglob("*")):
                place = target / path.relative_to(ROOT / folder)
                if path.is_file():
                    self.mkpath(str(place.parent))
                    self.copy_file(str(path), str(place))


setup(ext_modules=[extension], cmdclass={"build_py": BuildWithFolders})
