"""Visual Turing tests in which nobody has to look: datasets of drawn eyes, a server in a thread,
and observers that answer through it as a page does.

Every test process loads this file, so the analysis, and with it scipy.stats, is imported where it
is needed.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from factory.dataset.dataset import Dataset
from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.evaluation.turing.answers import ANSWERS, AnswerFile
from factory.evaluation.turing.choice import OBSERVERS, PICTURES, chosen, picture_png
from factory.evaluation.turing.choice import settings_of as checked_settings
from factory.evaluation.turing.config import TuringConfig
from factory.evaluation.turing.server import TuringServer
from factory.evaluation.turing.trial import Trial
from factory.images.png import Pixels, decode_png
from factory.store.local import LocalStore
from schemas.turing import ObserverPictures, Origin, Truth, TuringSettings
from support import fakes


class Eyes(NamedTuple):
    """Datasets of drawn eyes, and images to learn from that no test shows."""

    real: Dataset
    """stand-ins for camera images"""
    refined: Dataset
    """more of these: what a perfect refiner would make"""
    unrefined: Dataset
    """renders"""
    camera: Pixels
    renders: Pixels

    @property
    def datasets(self) -> dict[Origin, Dataset]:
        """By what they are in a test."""
        return {"real": self.real, "refined": self.refined, "unrefined": self.unrefined}

    def settings(self, **other: Any) -> TuringSettings:
        """Of a test of the paper's counts, or of others."""
        config = TuringConfig(
            output="test", real=self.real.location, refined=self.refined.location, **other
        )
        return checked_settings(config, self.datasets)


@pytest.fixture(scope="session")
def turing_eyes(tmp_path_factory: pytest.TempPathFactory) -> Eyes:
    """Drawn once. Read only."""
    folder = tmp_path_factory.mktemp("turing-eyes")
    sets = {}
    for name, style, seed, num in (
        ("real", "camera", 1, 84), ("refined", "camera", 2, 64), ("unrefined", "render", 3, 26),
        ("other-camera", "camera", 4, 40), ("other-renders", "render", 5, 40),
    ):  # fmt: skip
        drawn = EyeRenderer(height=100, width=134, style=style, seed=seed).render(range(num))
        write_renders(folder / name, drawn)
        options = PicturesOptions() if style == "camera" else UnityEyesOptions()
        sets[name] = fakes.ingest_here(
            folder / name, folder / f"{name}-set", options, shard_size=100
        )
    others = (sets[name].images(0) for name in ("other-camera", "other-renders"))
    return Eyes(sets["real"], sets["refined"], sets["unrefined"], *others)


class Served(NamedTuple):
    """A test that a server in a thread shows."""

    server: TuringServer
    pictures: ObserverPictures
    output: Path

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, bytes, Any]:
        """(status, content, headers) of a request as the page makes it, or with other headers."""
        connection = HTTPConnection("127.0.0.1", self.server.server_port, timeout=20)
        given = {"Origin": self.server.url.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
        content = None
        if body is not None:
            given["Content-Type"] = "application/json"
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET" if body is None else "POST", path, content, given)
        reply = connection.getresponse()
        answered = reply.status, reply.read(), dict(reply.getheaders())
        connection.close()
        return answered

    def state(self) -> dict[str, Any]:
        """What the page is told."""
        state: dict[str, Any] = json.loads(self.ask("/state")[1])
        return state

    def answers_path(self) -> Path:
        """The observer's file."""
        return self.output / OBSERVERS / self.pictures.observer / ANSWERS

    def let_answer(self, observer: Callable[[Pixels], Truth], most: int | None = None) -> None:
        """Have an observer answer what is left, or the next few."""
        state = self.state()
        last = state["num_pictures"] if most is None else state["position"] + most
        while state["position"] < last:
            position = state["position"]
            png = self.ask(f"/pictures/{position}.png")[1]
            given = {"position": position, "answer": observer(decode_png(png)), "seconds": 1.5}
            status, content, _ = self.ask("/answer", given)
            assert status == 200, content
            state = json.loads(content)


@contextmanager
def serving(
    eyes: Eyes, output: Path, observer: str = "one", port: int = 0, **settings: Any
) -> Iterator[Served]:
    """The test of an output, as `jobs/turing.py` shows it."""
    from factory.evaluation.turing.run import write_analysis

    store, datasets = LocalStore(output), eyes.datasets
    pictures = chosen(store, eyes.settings(**settings), datasets, observer)
    assert (output / OBSERVERS / observer / PICTURES).is_file()
    shown = [one for part in pictures.parts for one in (*part.examples, *part.pictures)]
    pngs = {one.png_sha256: picture_png(datasets[one.origin], one) for one in shown}
    locations = {origin: dataset.location for origin, dataset in datasets.items()}
    with AnswerFile(output / OBSERVERS / observer / ANSWERS, pictures) as file:
        trial = Trial(pictures, pngs, locations, file)
        with TuringServer(trial, port, lambda: write_analysis(str(output))) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield Served(server, pictures, output)
            finally:
                server.shutdown()
                thread.join()


def guessing(seed: int) -> Callable[[Pixels], Truth]:
    """An observer that does not look."""
    rng = np.random.default_rng(seed)
    return lambda _: "real" if rng.random() < 0.5 else "synthetic"


def network(eyes: Eyes) -> Callable[[Pixels], Truth]:
    """An observer that has learned from other images which are a camera's: a network of one layer
    on the amplitudes of an image's Fourier transform."""
    amplitudes = _amplitudes(np.concatenate([eyes.camera, eyes.renders]))
    is_real = np.repeat([1.0, 0.0], [len(eyes.camera), len(eyes.renders)])
    middle, spread = amplitudes.mean(0), amplitudes.std(0) + 1e-3
    inputs = (amplitudes - middle) / spread
    weights = np.zeros(inputs.shape[1])
    for _ in range(200):  # descends the cross-entropy
        says_real = 1 / (1 + np.exp(-inputs @ weights))
        weights -= 1e-3 * (inputs.T @ (says_real - is_real) / len(inputs) + 0.01 * weights)

    def says(image: Pixels) -> Truth:
        logit = ((_amplitudes(image[None]) - middle) / spread) @ weights
        return "real" if float(logit[0]) > 0 else "synthetic"

    return says


def _amplitudes(images: Pixels) -> NDArray[np.float64]:
    spectra = np.abs(np.fft.rfft2(images / 255.0 - 0.5))
    return np.asarray(np.log(spectra + 1e-2).reshape(len(images), -1))
