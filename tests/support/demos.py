"""Settings of a demo that ends soon."""

import re

from support.places import DATA

FEWER = {
    "count": 160,
    "shard_size": 32,
    "steps": 40,
    "num_calibration": 30,
    "num_realism": 60,
    "num_images": 60,
    "buffer_size": 128,
    "refiner_pretrain_steps": 0,
    "discriminator_pretrain_steps": 10,
}


def smaller(settings: str) -> str:
    """Settings of a demo with fewer of everything, and a gate that refuses nothing."""
    for name, number in FEWER.items():
        settings = re.sub(rf"(?m)^{name} = [\d_]+$", f"{name} = {number}", settings)
    return re.sub(r'(?m)^gate = ".*"$', f'gate = "{DATA / "open-gate.toml"}"', settings)
