"""Ways to run a refiner over images, one in each file; `engines.choose` picks one of them."""

import sys

# OpenVINO reports every import of it to its makers, by a package that it can do without: None makes
# Python say that there is no such package, before anything of this one imports OpenVINO.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
