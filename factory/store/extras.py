"""Packages that only some features need, and which an installation may lack."""

from importlib.util import find_spec

EXTRA_OF = {
    "alembic": "mlflow",
    "boto3": "s3",
    "flask": "browse",
    "h5py": "hdf5",
    "jinja2": "report",
    "matplotlib": "report",
    "mlflow": "mlflow",
    "openvino": "openvino",
    "sklearn": "evaluate",
    "sqlalchemy": "mlflow",
    "tensorboard": "tensorboard",
    "torch_fidelity": "fidelity",
    "waitress": "browse",
    "webdataset": "webdataset",
}
"""module -> the extra of this project that brings it; an engine's library is an extra of its name
(`engines.choose`)"""


class MissingExtraError(PermissionError):
    """A feature needs a package that is not installed; the message names the extra to install.

    It is a `PermissionError` for the reason that `StoreSetupError` is one: a person has to change
    the machine first, so no caller may take it for a missing shard or a passing fault.
    """


def require(module: str, what: str) -> None:
    """Make sure that a module of `EXTRA_OF` can be imported, without importing it.

    Code calls this just before it imports the module, and once more where a long job begins that
    ends with that import.

    Args:
        what: needs the module; begins the message.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec(module) is None:
        raise MissingExtraError(
            f"{what} needs {module}, which is not installed: pip install "
            f"'simgan-factory[{EXTRA_OF[module]}]'"
        )
