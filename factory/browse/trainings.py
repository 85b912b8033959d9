"""A training run as it stands: what was asked for, how far it is, its losses, strips and scores."""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from pydantic import Field

from factory.browse.places import Item
from factory.networks.stored_refiner import WEIGHTS_NAME
from factory.store.base import Store
from factory.store.open import open_store
from factory.training.metrics_log import METRICS_NAME, PANELS
from factory.validation.report.figures import nice_step
from schemas.base import Model
from schemas.score import SCORE_NAME, SCORED_FOLDER
from schemas.training import RUN_NAME

STILL_S = 300.0
"""seconds without a new line after which a training that is not finished is taken to have
stopped"""
MOST_POINTS = 300
"""points of a curve that are drawn"""
SCORE_NUMBERS: Mapping[str, tuple[str, ...]] = {
    "drift_median_px": ("drift_px", "median"),
    "drift_p95_px": ("drift_px", "p95"),
    "two_sample_accuracy": ("two_sample", "accuracy"),
    "closed_share": ("closed_share", "share", "value"),
    "boundary_gain": ("boundary_gain",),
    "mean_shift_px": ("mean_shift_px",),
    "lost_joint_share": ("lost_joint_share",),
    "mean_abs_delta": ("mean_abs_delta",),
}
"""the main numbers of a score, by names with their units, and where a score has them"""
WIDTH, HEIGHT, LEFT, BOTTOM = 560, 180, 46, 22
_STRIP = re.compile(r"strips/(step-(\d+)\.png)")
_SCORED = re.compile(r"\d+")
_PICTURES = frozenset({"overview.png", "losses.png"})


class Strip(NamedTuple):
    """A picture of what the refiner made at one step: synthetic above refined."""

    step: int
    name: str
    version: int
    """changes when the file does"""


class Curve(NamedTuple):
    """One line of a plot, as the points of an SVG polyline."""

    name: str
    points: str
    last: float


class Tick(NamedTuple):
    """A mark of an axis."""

    at: float
    label: str


class Panel(NamedTuple):
    """One plot."""

    title: str
    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


class ScoreLine(NamedTuple):
    """What a refiner of the run does to held-out images."""

    clock: int
    """updates until then, pre-training included"""
    numbers: dict[str, float]


class Training(Model):
    """A training run as it stands."""

    state: str
    """`finished`, `running`, `stopped` or `not begun`"""
    words: str
    """the same in a sentence"""
    domain: str = ""
    config: dict[str, Any] = Field(default_factory=dict)
    clock: int = 0
    """updates so far, pre-training included"""
    num_steps: int | None = None
    """updates that the schedule has in all, as far as the configuration says"""
    newest: dict[str, float | str] = Field(default_factory=dict)
    """the last line of metrics"""
    panels: tuple[Panel, ...] = ()
    strips: tuple[Strip, ...] = ()
    """the newest first"""
    scores: tuple[ScoreLine, ...] = ()
    pictures: tuple[str, ...] = ()
    """those that a finished run leaves"""
    unreadable: str = ""


def read_training(item: Item) -> Training:
    """A training run, of which nothing is kept in memory.

    What cannot be read is left out, and `unreadable` says so.
    """
    store = open_store(item.location)
    lines, age_s = _metrics(store)
    config, domain, unreadable = _record(store)
    is_finished = store.size(WEIGHTS_NAME) is not None
    clock = int(lines[-1]["clock"]) if lines else 0
    state, words = _state(is_finished, lines, age_s)
    return Training(
        state=state,
        words=words,
        domain=domain,
        config=config,
        clock=clock,
        num_steps=_num_steps(config),
        newest=_single_values(lines[-1]) if lines else {},
        panels=tuple(_panel(title, names, lines) for title, names in PANELS.items()),
        strips=tuple(sorted(_strips(store), reverse=True)),
        scores=tuple(sorted(_scores(store), key=lambda score: score.clock)),
        pictures=tuple(sorted(n for n in _PICTURES if store.size(n) is not None)),
        unreadable=unreadable,
    )


def training_picture(item: Item, name: str) -> bytes:
    """A strip of a run, or one of the pictures that it leaves.

    Raises:
        FileNotFoundError: the run has no such picture.
    """
    if name not in _PICTURES and _STRIP.fullmatch(f"strips/{name}") is None:
        raise FileNotFoundError(f"{item.shown} has no picture {name}")
    path = name if name in _PICTURES else f"strips/{name}"
    return open_store(item.location).read(path)


def newest_strip(item: Item) -> Strip | None:
    """The last strip of a run; None where there is none yet."""
    return max(_strips(open_store(item.location)), default=None)


def _record(store: Store) -> tuple[dict[str, Any], str, str]:
    """(configuration, domain, why they cannot be read)."""
    try:
        content = orjson.loads(store.read(RUN_NAME))
    except FileNotFoundError:
        return {}, "", ""
    except OSError as error:
        return {}, "", f"{RUN_NAME} cannot be read: {error}."
    except orjson.JSONDecodeError as error:
        return {}, "", f"{RUN_NAME} is not JSON: {error}."
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        return {}, "", f"{RUN_NAME} is not the record of a training."
    return content["config"], str(content.get("domain", "")), ""


def _metrics(store: Store) -> tuple[list[dict[str, Any]], float | None]:
    """The lines that are whole, and the seconds since the last one was written."""
    entry = next((e for e in store.entries("") if e.name == METRICS_NAME), None)
    if entry is None:
        return [], None
    lines = []
    for raw in store.read(METRICS_NAME).splitlines():
        line = _parsed(raw)  # not the last one, while it is being written
        if isinstance(line, dict) and type(line.get("clock")) is int:
            lines.append(line)
    return lines, max(0.0, time.time() - entry.mtime_ns / 1e9)


def _parsed(raw: bytes) -> Any:
    """What JSON says, with the NaN that Python writes for a loss that has diverged; None where it
    is no JSON."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _single_values(line: Mapping[str, Any]) -> dict[str, float | str]:
    return {name: value for name, value in line.items() if isinstance(value, int | float | str)}


def _state(
    is_finished: bool, lines: Sequence[Mapping[str, Any]], age_s: float | None
) -> tuple[str, str]:
    if is_finished:
        return "finished", "The run is finished: its refiner is saved."
    if not lines or age_s is None:
        return "not begun", "The run has not written any metrics yet."
    if age_s < STILL_S:
        return "running", f"The run is at work: its last line is {age_s:.0f} s old."
    ago = f"{age_s / 60:.0f} minutes" if age_s < 7200 else f"{age_s / 3600:.0f} hours"
    return "stopped", f"The run stopped before it was finished: its last line is {ago} old."


def _num_steps(config: Mapping[str, Any]) -> int | None:
    names = ("steps", "refiner_pretrain_steps", "discriminator_pretrain_steps")
    counts = [config.get(name) for name in names]
    return sum(counts) if all(isinstance(count, int) for count in counts) else None  # type: ignore[arg-type]


def _strips(store: Store) -> Iterator[Strip]:
    for entry in store.entries("strips"):
        match = _STRIP.fullmatch(entry.name)
        if match is not None:
            yield Strip(int(match[2]), match[1], entry.mtime_ns // 1_000_000)


def _scores(store: Store) -> Iterator[ScoreLine]:
    for folder in store.folders(SCORED_FOLDER):
        if _SCORED.fullmatch(folder) is None:
            continue
        try:
            content = _parsed(store.read(f"{SCORED_FOLDER}/{folder}/{SCORE_NAME}"))
        except OSError:  # it is being scored
            continue
        if isinstance(content, dict):
            numbers = {name: _at(content, "score", *path) for name, path in SCORE_NUMBERS.items()}
            yield ScoreLine(int(folder), {n: v for n, v in numbers.items() if _is_number(v)})


def _at(content: Any, *names: str) -> Any:
    """What stands in records within records; None where there is nothing."""
    for name in names:
        content = content.get(name) if isinstance(content, dict) else None
    return content


def _panel(title: str, names: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> Panel:
    series = {
        name: [(line["clock"], float(line[name])) for line in lines if _is_number(line.get(name))]
        for name in names
    }
    series = {name: _thinned(points) for name, points in series.items() if points}
    if not series:
        return Panel(title, (), (), ())
    values = [value for points in series.values() for _, value in points]
    low, high = min(0.0, *values), max(values)
    high = high if high > low else low + 1.0
    last: int = max(1, *(points[-1][0] for points in series.values()))

    def x(clock: float) -> float:
        return LEFT + (WIDTH - LEFT - 8) * clock / last

    def y(value: float) -> float:
        return 8 + (HEIGHT - BOTTOM - 8) * (high - value) / (high - low)

    curves = tuple(
        Curve(name, " ".join(f"{x(c):.1f},{y(v):.1f}" for c, v in points), points[-1][1])
        for name, points in series.items()
    )
    step = max(1, round(nice_step(last, 4)))
    x_ticks = tuple(Tick(x(clock), f"{clock:,}") for clock in range(0, last + 1, step))
    y_ticks = tuple(Tick(y(v), f"{v:.3g}") for v in (low, low + (high - low) / 2, high))
    return Panel(title, curves, x_ticks, y_ticks)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most `MOST_POINTS`, evenly spread, with the last one."""
    step = max(1, -(-len(points) // MOST_POINTS))
    return points[::-1][::step][::-1]
