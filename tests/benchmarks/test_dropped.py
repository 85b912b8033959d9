"""The benchmark that leaves out the samples with the worst measurements."""

import runpy
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from factory.networks.evaluation_kinds import Errors, Examples, Fitted, LoadedTest
from factory.store.local import LocalStore
from factory.store.parquet import parquet_bytes
from support.places import ROOT

script = runpy.run_path(str(ROOT / "benchmarks" / "evidence" / "dropped.py"))
NUM = 40
WRONG = np.arange(NUM) >= 30
"""images whose labels are wrong, which `turn_deg` shows and `registration_px` does not"""


class MeanLabel:
    """A model that answers the mean label of what it was trained on."""

    def fit(self, train: Examples, held_out: Examples, quantity: object, *, seed: int) -> Fitted:
        mean = train.values_ND.mean(axis=0)
        return Fitted(lambda images: np.tile(mean, (len(images), 1)), {})


def trials():
    """As `Trials` makes them of a setup and a dataset."""
    made = script["Trials"].__new__(script["Trials"])
    values = np.where(WRONG, 8.0, 1.0)[:, None]
    made.train = Examples(np.zeros((NUM, 2, 2), np.uint8), values, np.arange(NUM).astype(str))
    made.held_out, made.quantity, made.model = made.train, None, "mean"
    truth = LoadedTest(
        np.zeros((5, 2, 2), np.uint8),
        lambda estimates: Errors(np.abs(estimates[:, 0] - 1), np.arange(5).astype(str)),
    )
    made.tests = {"real": truth}
    made.compared = SimpleNamespace(models={"mean": MeanLabel()}, domain="eye")
    none = [None] * NUM
    made.table = pa.table(
        {
            "turn_deg": np.where(WRONG, 5.0, 0.1),
            "registration_px": np.arange(NUM) % 7 / 10,
            "contrast": pa.array(none, pa.float64()),
        }
    )
    return made


def test_leaving_out_what_a_measure_finds_beats_leaving_out_at_random() -> None:
    rows = {
        row["dropped"]: row for row in script["rows_of"](trials(), 0.25, [0, 1], 4, {"nothing"})
    }
    assert rows["at random"]["seeds"] == [0, 1, 2, 3] and rows["high turn_deg"]["seeds"] == [0, 1]
    assert set(rows) == {"at random", "high turn_deg", "high registration_px"}
    errors = {name: np.mean(row["errors"]["real"]) for name, row in rows.items()}
    assert errors["high turn_deg"] == 0
    assert min(errors["at random"], errors["high registration_px"]) > 0.5


def test_of_measurements_by_several_witnesses_one_set_has_to_be_named(tmp_path) -> None:
    store = LocalStore(tmp_path)
    for folder, value in (("aa", 1.0), ("bb", 2.0)):
        store.put(f"measures/{folder}/000000.parquet", parquet_bytes(pa.table({"x": [value]})))
    refined = SimpleNamespace(store=store, location=str(tmp_path))
    with pytest.raises(SystemExit, match=r"\['aa', 'bb'\]: name one \(--witnesses\)"):
        script["measures_of"](refined, None)
    assert script["measures_of"](refined, "bb")["x"].to_pylist() == [2.0]
