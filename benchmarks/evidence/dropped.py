"""Does it pay to drop the samples whose measurements are worst?

    python benchmarks/evidence/dropped.py --setup SETUP.toml --refined REFINED --output ROWS.jsonl

REFINED is a refined dataset of the setup's renders that jobs/validate.py has measured. For every
measure, and each side of it on which damage lies, the worst share of the refined images is left
out, a model of the setup is trained on the others, and its error on the setup's test sets is
compared with the errors after as many images were left out at random. A limit of single samples
that drops what costs nothing only costs images. A line of JSON for each measure goes to the output,
and lines that are there already are not computed again.
"""

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.dataset.dataset import Dataset
from factory.domains.registry import domain_named
from factory.evaluation.comparison.arms import DatasetArm
from factory.evaluation.comparison.setup import Compared
from factory.networks.evaluation_kinds import Examples, Regressor
from factory.store.parquet import read_parquet

log = logging.getLogger("dropped")
Rows = NDArray[np.intp]
Row = dict[str, object]


def measures_of(refined: Dataset, witnesses: str | None) -> pa.Table:
    """The measurements of a dataset, one row for each sample.

    Args:
        witnesses: digest of what they were measured with, the name of a folder in `measures/`; None
            where there is only one.
    """
    names = sorted(entry.name for entry in refined.store.walk("measures"))
    folders = sorted({name.split("/")[1] for name in names})
    if witnesses is None and len(folders) != 1:
        raise SystemExit(f"{refined.location} was measured with {folders}: name one (--witnesses)")
    wanted = f"measures/{witnesses or folders[0]}/"
    tables = [read_parquet(refined.store, name)[0] for name in names if name.startswith(wanted)]
    return pa.concat_tables(tables, promote_options="default")


class Trials:
    """Models trained on parts of the refined images, and their errors."""

    def __init__(self, compared: Compared, model: str, refined: Dataset, table: pa.Table) -> None:
        self.compared, self.model = compared, model
        self.tests = {name: test.load() for name, test in compared.tests.items()}
        (quantity,) = {test.quantity for test in compared.tests.values()}
        self.quantity = compared.quantities[quantity]
        renders = compared.renders
        train, held_out = (
            renders.rows(split, self.quantity, None, seed=0)
            for split in (renders.split, renders.held_out)
        )
        arm = DatasetArm(kind="dataset", dataset=refined.location)
        look = arm.look(renders, train.examples.images, number=0)
        self.train, self.held_out = look(train), look(held_out)
        keys = train.keys.tolist()
        if len(self.train.images) < len(keys):
            raise SystemExit(f"{refined.location} lacks some of the renders of {renders.renders}")
        order = {key: row for row, key in enumerate(table["key"].to_pylist())}
        self.table = table.take([order[key] for key in keys])

    def errors(self, rows: Rows, seed: int) -> dict[str, float]:
        """Mean error on each test set of a model that was trained on some of the images."""
        model: Regressor = self.compared.models[self.model]
        train: Examples = self.train.take(rows)
        fitted = model.fit(train, self.held_out, self.quantity, seed=seed)
        return {
            name: float(test.score(fitted.estimate(test.images)).values_M.mean())
            for name, test in self.tests.items()
        }

    def without_worst(self, measure: str, *, high: bool, share: float) -> Rows | None:
        """The rows that stay, or None where most images were not measured. Those that were not
        measured stay."""
        if measure not in self.table.column_names:
            return None
        values = self.table[measure].to_numpy(zero_copy_only=False).astype(np.float64)
        if np.isnan(values).mean() > 0.5:
            return None
        badness = np.where(np.isnan(values), -np.inf, values if high else -values)
        return np.sort(
            np.argsort(badness, kind="stable")[: len(values) - round(share * len(values))]
        )

    def at_random(self, share: float, seed: int) -> Rows:
        num = len(self.train.images)
        rows = np.random.default_rng([seed, 3]).permutation(num)
        return np.sort(rows[: num - round(share * num)])


def rows_of(
    trials: Trials, share: float, seeds: list[int], num_random: int, done: set[str]
) -> Iterator[Row]:
    """A row for each measure whose name is not done yet.

    Args:
        num_random: parts left out at random: how much their errors differ says how much chance
            there is in the error of one part.
    """
    num = len(trials.train.images)

    def row(name: str, kept: list[Rows], seeds: list[int] = seeds) -> Row:
        errors = [trials.errors(rows, seed) for rows, seed in zip(kept, seeds, strict=True)]
        log.info("%s: %s", name, errors)
        return {
            "dropped": name,
            "share": share if len(kept[0]) < num else 0.0,
            "model": trials.model,
            "seeds": seeds,
            "errors": {test: [one[test] for one in errors] for test in errors[0]},
        }

    if "nothing" not in done:
        yield row("nothing", [np.arange(num)] * len(seeds))
    if "at random" not in done:
        numbers = list(range(num_random))
        yield row("at random", [trials.at_random(share, number) for number in numbers], numbers)
    for tail in domain_named(trials.compared.domain).damage().tails:
        name = f"{'high' if tail.high else 'low'} {tail.measure}"
        kept = trials.without_worst(tail.measure, high=tail.high, share=share)
        if kept is not None and name not in done:
            yield row(name, [kept] * len(seeds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setup", type=Path, required=True, help="as jobs/evaluate.py takes it")
    parser.add_argument("--refined", required=True, help="the refined dataset, with measurements")
    parser.add_argument("--output", type=Path, required=True, help="file of JSON lines")
    parser.add_argument("--model", default="ridge", help="one of the setup's (default: ridge)")
    parser.add_argument("--witnesses", help="folder in measures/, where there are several")
    parser.add_argument("--share", type=float, default=0.25, help="left out (default: 0.25)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the model")
    parser.add_argument(
        "--num-random", type=int, default=8, help="parts left out at random (default: 8)"
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    refined = Dataset.open(args.refined)
    trials = Trials(
        Compared.load(args.setup), args.model, refined, measures_of(refined, args.witnesses)
    )
    lines = args.output.read_text().splitlines() if args.output.exists() else []
    done = {json.loads(line)["dropped"] for line in lines}
    with args.output.open("a") as output:
        for row in rows_of(trials, args.share, args.seeds, args.num_random, done):
            output.write(json.dumps(row) + "\n")
            output.flush()


if __name__ == "__main__":
    main()
