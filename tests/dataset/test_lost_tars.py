"""A run with nothing to do notices a committed shard whose tar is gone."""

import re

import pytest

from factory.dataset.commit import withdraw
from factory.dataset.dataset import Replaced
from factory.dataset.lost_tars import lost_tars
from factory.dataset.session import SessionHere
from factory.dataset.tar import DamagedShardError
from factory.domains.registry import make_source
from factory.ingestion.run import ingest_new_inputs
from factory.refinement.run import refine
from factory.upkeep.records_anew import publish_rejects
from schemas.dataset import Reject
from support import fakes, planted


def test_a_lost_tar_is_named_with_what_mends_it(dataset, eight_inputs) -> None:
    assert lost_tars(dataset) == []
    name = fakes.tar_of(dataset, 1)
    dataset.store.delete(name)
    (line,) = lost_tars(dataset)
    assert name in line and f"jobs/repair.py --input {dataset.location} --apply" in line
    fakes.build_again(dataset.replacing({1: Replaced(1, name)}), eight_inputs, 1)
    assert lost_tars(dataset) == []


def test_a_generation_may_name_an_older_tar(dataset) -> None:
    rejects = [Reject.model_validate(row) for row in dataset.rejects(1).to_pylist()]
    assert publish_rejects(dataset, 1, 1, rejects)
    withdraw(dataset, 0, 1, "a test")
    assert dataset.facts(1).generation == 2 and lost_tars(dataset) == []
    dataset.store.delete(fakes.tar_of(dataset, 1))
    assert len(lost_tars(dataset)) == 1


@pytest.mark.slow
def test_a_run_with_nothing_to_do_fails_and_names_it(
    dataset, child, eight_inputs, refiner, monkeypatch
) -> None:
    def make(what, task, shards, num_samples):
        raise AssertionError(f"{what}: there is nothing to make")

    def ingest() -> None:
        source = make_source(eight_inputs, planted.OPTIONS)
        ingest_new_inputs(
            source, dataset.location, dataset.card, max_reject_share=1.0, make_shards=make
        )

    def refine_() -> None:
        refine(dataset, refiner=refiner, output=child.location, engine="torch")

    monkeypatch.setattr(SessionHere, "make_shards", staticmethod(make))
    for run, incomplete in ((ingest, dataset), (refine_, child)):
        run()
        name = fakes.tar_of(incomplete, 0)
        content = incomplete.store.read(name)
        incomplete.store.delete(name)
        with pytest.raises((ValueError, DamagedShardError), match=re.escape(name)):
            run()
        incomplete.store.put(name, content)
