"""Where MLflow keeps what a job tells it: a tracking server, or a local folder."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, StringConstraints

from factory.store.extras import require
from factory.store.open import absolute
from schemas.base import Model

DATABASE = "mlflow.db"
ARTIFACTS = "artifacts"
_SERVER = re.compile(r"https?://[^/\s@?#]+(/[^\s?#]*)?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def _checked_place(place: str) -> str:
    """A place that can be used. Raises `ValueError` for any other."""
    if _SERVER.fullmatch(place):
        return place.rstrip("/")
    if place.strip() == "" or _SCHEME.match(place):
        raise ValueError(
            "expected an MLflow server, http://HOST:PORT or https://HOST, or a local folder"
        )
    if (Path(place).exists() or Path(place).is_symlink()) and not Path(place).is_dir():
        raise ValueError("expected an MLflow server or a local folder, and this is a file")
    return place


MlflowPlace = Annotated[str, AfterValidator(_checked_place)]
"""`http://HOST:PORT`, `https://HOST`, or a local folder"""
ExperimentName = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"\S")]


class MlflowOptions(Model):
    """Whether MLflow is told of a job, and where."""

    mlflow: MlflowPlace | None = None
    """tell MLflow too: an MLflow server, http://HOST:PORT or https://HOST, or a local folder, in
    which mlflow.db and artifacts/ are made (extra mlflow). A server that cannot be reached never
    stops the job"""
    mlflow_experiment: ExperimentName = "simgan-factory"
    """with --mlflow: name of the experiment that its runs belong to, which is made if need be"""

    def located(self) -> Self:
        """The same for any process: a relative folder becomes an absolute one."""
        if self.mlflow is None or is_server(self.mlflow):
            return self
        return self.model_copy(update={"mlflow": absolute(self.mlflow)})

    def require(self) -> None:
        """See that the packages are there which the place needs, before any work.

        Raises:
            MissingExtraError: one is not installed.
        """
        if self.mlflow is None:
            return
        require("mlflow", "--mlflow")
        if not is_server(self.mlflow):
            for module in ("sqlalchemy", "alembic"):
                require(module, "--mlflow with a local folder")


NO_MLFLOW = MlflowOptions()


def is_server(place: str) -> bool:
    """Whether a place of MLflow is a server; else it is a local folder."""
    return _SERVER.fullmatch(place) is not None
