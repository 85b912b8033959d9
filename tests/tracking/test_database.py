"""MLflow's database in a folder: whole, or not there."""

import os
import subprocess
import sys

import pytest

from factory.tracking.mlflow_run import client_of
from factory.tracking.options import MlflowOptions
from support.places import ROOT

KILLED_BETWEEN_TABLES = """
import os, sys
from sqlalchemy import Table, event
from factory.tracking.mlflow_run import client_of
from factory.tracking.options import MlflowOptions

event.listen(Table, "after_create", lambda *made, **options: os._exit(9))
client_of(MlflowOptions(mlflow=sys.argv[1]))
"""


@pytest.mark.long
def test_a_process_that_is_killed_while_it_makes_the_database_leaves_none(tmp_path) -> None:
    folder = tmp_path / "mlflow"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_BETWEEN_TABLES, str(folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert killed.returncode == 9 and list(folder.iterdir()) == []
    client = client_of(MlflowOptions(mlflow=str(folder)))
    assert client.get_experiment_by_name("simgan-factory") is None
    assert client.create_experiment("simgan-factory") == "1"
