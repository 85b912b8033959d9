"""The version that goes into every shard and run record."""

from importlib.metadata import version

WRITER = f"simgan-factory {version('simgan-factory')}"
