"""A visual Turing test: shown to an observer, and analysed."""

import logging

from factory.dataset.dataset import Dataset
from factory.evaluation.turing.analysis import report_of
from factory.evaluation.turing.answers import ANSWERS, AnswerFile, read_answers
from factory.evaluation.turing.choice import (
    OBSERVERS,
    PICTURES,
    Datasets,
    chosen,
    picture_png,
    read_settings,
    settings_of,
)
from factory.evaluation.turing.config import TuringConfig
from factory.evaluation.turing.page import analysis_page
from factory.evaluation.turing.server import TuringServer
from factory.evaluation.turing.trial import Trial
from factory.store.extras import require
from factory.store.local import LocalStore
from factory.store.open import open_store
from schemas.turing import ObserverPictures, Origin, TuringReport

log = logging.getLogger(__name__)


def local_store(output: str) -> LocalStore:
    """The folder of a test."""
    store = open_store(output)
    assert isinstance(store, LocalStore), "the configuration refuses others"
    return store


def take_test(config: TuringConfig, port: int) -> None:
    """Show an observer the pictures that are not answered yet, until all are and the observer ends
    the test; then write the analysis.

    Raises:
        ValueError: datasets, splits or settings that do not fit.
        MissingExtraError: what writes the analysis is not installed.
        RuntimeError: another process shows this observer the test.
    """
    require("jinja2", "turing.html")
    store, datasets = local_store(config.output), _datasets(config)
    pictures = chosen(store, settings_of(config, datasets), datasets, config.observer)
    with AnswerFile(store.root / OBSERVERS / config.observer / ANSWERS, pictures) as file:
        trial = Trial(
            pictures,
            _pngs(pictures, datasets),
            {origin: dataset.location for origin, dataset in datasets.items()},
            file,
        )
        if not trial.is_done:
            _serve(trial, port, config.output)
    write_analysis(config.output)


def _serve(trial: Trial, port: int, output: str) -> None:
    with TuringServer(trial, port, lambda: write_analysis(output)) as server:
        state = trial.state()
        log.info(
            "%s has answered %d of %d pictures; open %s in a browser of this machine. Ctrl-C "
            "stops, and the same command goes on.",
            state.observer,
            state.position,
            state.num_pictures,
            server.url,
        )
        server.serve_forever(poll_interval=0.1)


def write_analysis(output: str) -> str:
    """Write turing.json and turing.html of all answers that there are.

    Returns:
        The page.

    Raises:
        FileNotFoundError: the output holds no test.
        FormatError: a file of it cannot be read.
    """
    store = local_store(output)
    settings = read_settings(store)
    answers = {}
    for observer in store.folders(OBSERVERS):
        name = f"{OBSERVERS}/{observer}"
        if store.size(f"{name}/{PICTURES}") is None:  # a run was stopped as it made the folder
            continue
        pictures = ObserverPictures.from_json(
            store.read(f"{name}/{PICTURES}"), where=f"{store.location}/{name}/{PICTURES}"
        )
        answers[observer] = pictures, read_answers(store.root / name / ANSWERS, pictures)
    report = report_of(settings, answers)
    page = analysis_page(report, *_mistaken_pngs(report))
    store.put("turing.json", report.to_json())
    store.put("turing.html", page.encode())
    for part in report.parts:
        log.info("%s", part.in_words)
    log.info("report: %s/turing.html", store.location)
    return page


def _datasets(config: TuringConfig) -> Datasets:
    assert config.real is not None and config.refined is not None
    places: dict[Origin, str] = {"real": config.real, "refined": config.refined}
    if config.synthetic is not None:
        places["unrefined"] = config.synthetic
    return {origin: Dataset.open(place) for origin, place in places.items()}


def _pngs(pictures: ObserverPictures, datasets: Datasets) -> dict[str, bytes]:
    """All PNGs that an observer is shown, by their sha256."""
    shown = [one for part in pictures.parts for one in (*part.examples, *part.pictures)]
    return {one.png_sha256: picture_png(datasets[one.origin], one) for one in shown}


def _mistaken_pngs(report: TuringReport) -> tuple[dict[str, bytes], str | None]:
    """PNGs by their sha256, and why some are missing: a dataset may have moved since."""
    pngs: dict[str, bytes] = {}
    missing = None
    for picture in (one.picture for part in report.parts for one in part.mistaken):
        location = report.settings.datasets[picture.origin].location
        try:
            pngs[picture.png_sha256] = picture_png(Dataset.open(location), picture)
        except (OSError, ValueError) as error:
            missing = str(error)
            log.warning("a picture is left out of the page: %s", error)
    return pngs, missing
