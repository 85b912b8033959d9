"""The trials of an evaluation: one model trained on one arm with one seed, and its errors on every
test set of the quantity that it estimates.

A trial is finished when its record `trials/<digest>.json` is there; the errors of single units are
in the Parquet file of that name, which is written first. The digest covers all that decides the
result, so a stopped evaluation goes on where it was, and an evaluation with more arms or seeds
keeps what it has.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pydantic import JsonValue

from factory.evaluation.comparison.arms import (
    Arm,
    ConstantArm,
    RealArm,
    RendersArm,
    load_arm,
    sizes_of,
)
from factory.evaluation.comparison.renders import Renders, digest_of_dataset
from factory.evaluation.comparison.setup import Compared
from factory.networks.evaluation_kinds import (
    Errors,
    Fitted,
    LoadedTest,
    Quantity,
    Regressor,
    TestSet,
    Values,
)
from factory.store.base import Store
from factory.store.open import open_store
from factory.store.parquet import parquet_bytes, read_parquet
from schemas.base import digest_of
from schemas.evaluation import Summary, TrialRecord

CONSTANT = "constant"
"""the model of the arm without images"""


@dataclass(frozen=True)
class Trial:
    """One of them, and where its record goes. It travels to workers."""

    arm_name: str
    arm: Arm
    model_name: str
    model: Regressor | None
    """None for the mean label"""
    quantity: Quantity
    size: int | None
    seed: int
    number: int
    """position of the seed"""
    renders: Renders
    tests: Mapping[str, TestSet]
    """those of the quantity"""
    test_digests: Mapping[str, str]
    """of each, as `digest_of_test`"""
    arm_settings: Mapping[str, JsonValue]
    model_settings: Mapping[str, JsonValue]
    setting: str
    digest: str
    output: str

    @property
    def name(self) -> str:
        """`trials/<digest>`, of which the record and the errors have one suffix each."""
        return f"trials/{self.digest[:20]}"

    def record(self) -> TrialRecord | None:
        """What was found, if it is finished."""
        store = open_store(self.output)
        try:
            raw = store.read(f"{self.name}.json")
        except FileNotFoundError:
            return None
        return TrialRecord.from_json(raw, where=f"{store.location}/{self.name}.json")

    def run(self) -> TrialRecord:
        """Train and score, unless that was done."""
        done = self.record()
        if done is not None:
            return done
        started = time.process_time()
        tests = {name: test.load() for name, test in self.tests.items()}
        fitted, num_images = self._fitted(tests)
        scored = {
            name: test.score(fitted.estimate(test.images))
            for name, test in tests.items()
            if self.tests[name].quantity == self.quantity.name
        }
        record = TrialRecord(
            digest=self.digest,
            setting=self.setting,
            arm=self.arm_name,
            size=self.size,
            seed=self.seed,
            model=self.model_name,
            arm_settings=dict(self.arm_settings),
            model_settings=dict(self.model_settings),
            num_images=num_images,
            facts=dict(fitted.facts),
            errors={name: _summary(errors, self.quantity.unit) for name, errors in scored.items()},
            cpu_s=time.process_time() - started,
        )
        store = open_store(self.output)
        store.put(f"{self.name}.parquet", parquet_bytes(_table_of(scored)))
        store.put(f"{self.name}.json", record.to_json())
        return record

    def _fitted(self, tests: Mapping[str, LoadedTest]) -> tuple[Fitted, int]:
        """A trained model, and the number of images that it was trained on."""
        if self.model is None:
            rows = self.renders.rows(self.renders.split, self.quantity, None, seed=0)
            mean = rows.examples.values_ND.mean(axis=0)
            return Fitted(lambda images: np.tile(mean, (len(images), 1)), {}), 0
        assert isinstance(self.arm, RendersArm | RealArm)
        images = load_arm(
            self.arm,
            self.renders,
            self.quantity,
            tests,
            size=self.size,
            seed=self.seed,
            number=self.number,
        )
        fitted = self.model.fit(images.train, images.held_out, self.quantity, seed=self.seed)
        return fitted, len(images.train.images)


def trials_of(compared: Compared, output: str) -> list[Trial]:
    """All trials of an evaluation, all arms of one seed before those of the next.

    Raises:
        FileNotFoundError: a refiner or a dataset is missing.
        ValueError: a dataset lacks a split.
    """
    setup, renders = compared.setup, compared.renders
    renders_digest = digest_of_dataset(renders.renders, renders.split, renders.held_out)
    real_digest = None if renders.real is None else digest_of_dataset(renders.real, renders.split)
    test_digests = {name: digest_of_test(test) for name, test in compared.tests.items()}
    arm_settings = {name: arm.settings() for name, arm in compared.arms.items()}
    trials = []
    for number, seed in enumerate(setup.seeds):
        for arm_name, arm in compared.arms.items():
            if isinstance(arm, ConstantArm) and number:
                continue  # it has no randomness
            for model_name, model, quantity in _models_for(arm, compared):
                tests = {n: t for n, t in compared.tests.items() if t.quantity == quantity.name}
                if isinstance(arm, RealArm) and arm.test not in tests:
                    continue  # its labels are of another quantity
                for size in sizes_of(arm, setup.sizes):
                    model_settings = {} if model is None else model.model_dump(mode="json")
                    decides = {
                        "renders": renders_digest,
                        "real": real_digest,
                        "num_held_out": renders.num_held_out,
                        "arm": arm_settings[arm_name],
                        "size": size,
                        "model": [type(model).__name__, model_settings],
                        "quantity": quantity.name,
                    }
                    own_digests = {name: test_digests[name] for name in tests}
                    own = arm.settings_of(number, arm_settings[arm_name])
                    own_setting = digest_of({**decides, "arm": own})
                    digest = digest_of([own_setting, seed, number, own_digests])
                    trials.append(
                        Trial(
                            arm_name=arm_name,
                            arm=arm,
                            model_name=model_name,
                            model=model,
                            quantity=quantity,
                            size=size,
                            seed=seed,
                            number=number,
                            renders=renders,
                            tests=tests,
                            test_digests=own_digests,
                            arm_settings=arm_settings[arm_name],
                            model_settings=model_settings,
                            setting=digest_of(decides),
                            digest=digest,
                            output=output,
                        )
                    )
    return trials


def _models_for(arm: Arm, compared: Compared) -> list[tuple[str, Regressor | None, Quantity]]:
    """(name, model, quantity) of all that is trained on an arm."""
    scored = dict.fromkeys(test.quantity for test in compared.tests.values())
    if isinstance(arm, ConstantArm):
        return [(CONSTANT, None, compared.quantities[name]) for name in scored]
    return [
        (model_name, model, compared.quantities[name])
        for model_name, model in compared.models.items()
        for name in scored
        if model.estimates(name)
    ]


def digest_of_test(test: TestSet) -> str:
    """Digest of a test set's images, and of what is scored of them."""
    settings = test.model_dump(mode="json", exclude={"dataset"})
    return digest_of([type(test).__name__, settings, digest_of_dataset(test.dataset)])


def _summary(errors: Errors, unit: str) -> Summary:
    values: Values = errors.values_M
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"{len(values)} errors, of which some are not finite")
    return Summary(
        unit=unit,
        num_units=len(values),
        mean=float(values.mean()),
        median=float(np.median(values)),
        p95=float(np.percentile(values, 95)),
    )


def _table_of(scored: Mapping[str, Errors]) -> pa.Table:
    parts = [
        pa.table(
            {
                "test": pa.array([name] * len(errors.values_M), pa.string()),
                "group": pa.array(errors.groups_M.tolist(), pa.string()),
                "error": pa.array(errors.values_M, pa.float64()),
            }
        )
        for name, errors in scored.items()
    ]
    return pa.concat_tables(parts)


def read_errors(store: Store, trial: Trial) -> dict[str, Errors]:
    """The errors of each unit, by test set, of a finished trial."""
    table, _ = read_parquet(store, f"{trial.name}.parquet")
    names = np.asarray(table["test"].to_pylist())
    values = table["error"].to_numpy()
    groups = np.asarray(table["group"].to_pylist())
    return {name: Errors(values[names == name], groups[names == name]) for name in trial.tests}
