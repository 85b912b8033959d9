"""An evaluation: models are trained on every arm, scored on real images, and compared."""

import logging
from functools import partial

from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import SideBySide
from factory.domains.registry import domain_named
from factory.evaluation.comparison.arms import RendersArm
from factory.evaluation.comparison.config import EvaluationConfig
from factory.evaluation.comparison.page import NUM_PICTURES, Pictures, figures_of, write_page
from factory.evaluation.comparison.results import make_report, outcomes_of
from factory.evaluation.comparison.scored import scored_refiners, scoring_of, titles_of
from factory.evaluation.comparison.setup import Compared
from factory.evaluation.comparison.trial_log import log_trials, looks_of, read_log
from factory.evaluation.comparison.trials import read_errors, trials_of
from factory.store.extras import require
from factory.store.open import absolute, open_store
from schemas.evaluation import EvaluationReport
from schemas.options import OptionError, value_of

log = logging.getLogger(__name__)
_NUM_LOOKED_AT = 200
"""renders that controls are fitted to for the pictures of the page, and the first of which it
shows"""


def compared_by(config: EvaluationConfig) -> Compared:
    """What an evaluation compares, checked before any training.

    Raises:
        OptionError: the setup cannot be used, or has not the arms that are asked for.
        MissingExtraError: what a model or the page needs is not installed.
    """
    for module in ("jinja2", "matplotlib"):
        require(module, "evaluation.html")
    with value_of(f"--setup {config.setup}"):
        compared = Compared.load(config.setup)
    unknown = set(config.only) - set(compared.arms)
    if unknown:
        raise OptionError(f"--only: the setup has no arm {', '.join(sorted(unknown))}")
    return compared


def evaluate(
    config: EvaluationConfig, compared: Compared, side_by_side: SideBySide
) -> EvaluationReport:
    """Run the trials that are not finished yet, and write evaluation.json, evaluation.html and its
    figures, `figures/*.svg`.

    Args:
        compared: what `compared_by` gives.

    Raises:
        RuntimeError: a training fails.
    """
    output = absolute(config.output)
    trials = trials_of(compared, output)
    missing = [t for t in trials if t.record() is None]
    asked = [t for t in missing if not config.only or t.arm_name in config.only]
    log.info(
        "%d trials, %d finished, %d to run", len(trials), len(trials) - len(missing), len(asked)
    )
    before = read_log(compared.setup.log)
    if asked:
        use_gpu = config.device == "cuda"
        side_by_side([trial.run for trial in asked], "evaluate", use_gpu=use_gpu)
    store = open_store(output)
    finished = [(trial, record) for trial in trials if (record := trial.record()) is not None]
    if compared.setup.log is not None:
        log_trials(compared.setup.log, finished)
    outcomes = outcomes_of([(t, record, read_errors(store, t)) for t, record in finished])
    notes, pictures = side_by_side([partial(_shown_in, compared)])[0]
    scoring = scoring_of(compared)
    scored = scored_refiners(compared, outcomes, scoring)
    report = make_report(compared, outcomes, looks_of(before, finished), scored, notes)
    store.put("evaluation.json", report.to_json())
    store.put("setup.toml", config.setup.read_bytes())
    figures = figures_of(report, outcomes, titles_of(scoring))
    for figure in figures:
        store.put(f"figures/{figure.name}.svg", figure.svg)
    store.put("evaluation.html", write_page(report, figures, pictures).encode())
    for verdict in report.verdicts:
        log.info(
            "%s, %s, %s: %s. %s",
            verdict.arm, verdict.model, verdict.test, verdict.outcome, verdict.why,
        )  # fmt: skip
    log.info("report: %s/evaluation.html", output)
    return report


def _shown_in(compared: Compared) -> tuple[list[str], Pictures]:
    """What the test sets say of themselves and papers of theirs, and the same renders in each
    arm."""
    tests = {name: test.load() for name, test in compared.tests.items()}
    notes = [f"{name}: {note}" for name, test in tests.items() for note in test.notes]
    quantity = compared.quantities[next(iter(compared.tests.values())).quantity]
    renders = compared.renders
    rows = renders.rows(renders.split, quantity, None, seed=0).first(_NUM_LOOKED_AT)
    by_arm = {
        name: arm.look(renders, rows.examples.images, 0)(rows).images[:NUM_PICTURES]
        for name, arm in compared.arms.items()
        if isinstance(arm, RendersArm)
    }
    for name, test in tests.items():
        by_arm[name] = test.images[:: max(1, len(test.images) // NUM_PICTURES)][:NUM_PICTURES]
    card = Dataset.open(renders.renders).card
    full_scale = domain_named(compared.domain).sample_kind.full_scale(card)
    return [*notes, *compared.published], Pictures(by_arm, full_scale)
