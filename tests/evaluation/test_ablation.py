"""Variants of one training compared: the file, the table, and the job as a user runs it."""

import pytest

from cluster.job.command import parse
from factory.domains.eye.pupil.finder import PupilFinder
from factory.domains.eye.scoring import EyeScoring
from factory.evaluation.ablation import columns_of, load_variants, row_of
from factory.measures.two_sample import TwoSampleTest
from factory.validation.held_out import HeldOutChoice
from jobs.ablate import AblateJob, main
from schemas.score import Score
from support.fakes import score
from support.job_runs import work_here
from support.places import ROOT

VARIANTS = """
[train]
steps = 4
batch_size = 4
buffer_size = 8
refiner_pretrain_steps = 2
discriminator_pretrain_steps = 0
log_every = 1
strip_every = 4

[train.refiner]
maps = 4
blocks = 1

[variants."all of it"]

[variants."no history, global D"]
buffer_size = 0
discriminator.scope = "global"
"""


def test_the_file_of_the_repository_is_the_papers_ablation() -> None:
    variants = load_variants(ROOT / "configs" / "ablation.toml")
    full, no_history, whole_image = variants.values()
    assert no_history == full.model_copy(update={"buffer_size": 0})
    assert whole_image.discriminator.scope == "global" and whole_image.buffer_size
    assert whole_image.discriminator.layers == full.discriminator.layers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nsteps = 3\n", r"no table \[variants\.NAME\]"),
        (VARIANTS + "[variants.wrong]\nlambda = 3\n", r"\[variants\.wrong\].*lambda"),
        (VARIANTS + "[variants.odd]\nbatch_size = 5\n", r"\[variants\.odd\].*even"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(tmp_path, text, message) -> None:
    (tmp_path / "v.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_variants(tmp_path / "v.toml")


def cells(*scores: Score) -> list[str]:
    return list(row_of("a", scores, columns_of(EyeScoring(PupilFinder(), TwoSampleTest()))).cells)


def test_a_row_has_the_mean_and_scatter_over_seeds() -> None:
    assert cells(score(0.4, 0.9, 0.5), score(0.6, 1.0, 0.7)) == [
        "9", "0.50 ± 0.14", "2.00 ± 0.00", "60% ± 14%", "0.200 ± 0.000", "95.0% ± 7.1%"
    ]  # fmt: skip
    assert cells(score(0.4, 0.9))[1] == "0.40"
    assert cells(score(None, 0.9))[1] == "not measured"
    assert cells(score(None, 0.9), score(0.5, 0.9))[0] == "4"


def test_a_mean_over_some_of_the_seeds_says_so() -> None:
    """Else a variant that loses every label with one seed looks as good as one that never does."""
    unmeasured = score(None, 0.9)
    assert cells(unmeasured, score(0.5, 0.9))[1] == "0.50 (1 of 2 seeds)"
    both = cells(score(0.4, 0.9), unmeasured, score(0.6, 0.9))
    assert both[1] == "0.50 ± 0.14 (2 of 3 seeds)" and both[4] == "0.200 ± 0.000"
    assert cells(unmeasured, unmeasured)[1] == "not measured"


@pytest.mark.slow
def test_the_held_out_images_are_of_their_split_and_named_by_their_digest(split_pair) -> None:
    chosen, other = (HeldOutChoice.checked(*split_pair, "test", num).load() for num in (40, 20))
    assert set(chosen.index["split"].to_pylist()) == {"test"} and len(chosen.real) == 40
    assert chosen.digest() == HeldOutChoice.checked(*split_pair, "test", 40).load().digest()
    assert chosen.digest() != other.digest()
    with pytest.raises(ValueError, match="no split dev"):
        HeldOutChoice.checked(*split_pair, "dev", 40)


@pytest.mark.slow
def test_the_job_trains_scores_and_reports_once(split_pair, tmp_path, monkeypatch) -> None:
    work_here(monkeypatch)
    (tmp_path / "variants.toml").write_text(VARIANTS)
    output = tmp_path / "out"
    options = {
        "variants": tmp_path / "variants.toml",
        "synthetic": split_pair[0].location,
        "real": split_pair[1].location,
        "output": output,
        "num-held-out": 60,
        "test.num-steps": 2,
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    job = parse(AblateJob, [*flags, "--seeds", "0", "--test.seeds", "0"])
    main(job)
    scores = {path: path.stat().st_mtime_ns for path in output.glob("*/seed-*/score.json")}
    assert {path.parent.parent.name for path in scores} == {"all-of-it", "no-history-global-d"}
    assert len(scores) == 2
    page = (output / "ablation.html").read_text()
    assert "no history, global D" in page and "not refined" in page
    assert (
        page.count("data:image/png;base64,") == 3 and "http:" not in page and "https:" not in page
    )
    main(job)
    assert scores == {path: path.stat().st_mtime_ns for path in scores}  # nothing made twice
    with pytest.raises(ValueError, match="no split dev"):
        main(job.model_copy(update={"held_out": "dev"}))
