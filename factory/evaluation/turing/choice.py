"""Which images an observer is shown, and in which order: decided by the seed and the observer's
name, and written once beside the answers."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_index
from factory.evaluation.turing.config import TuringConfig
from factory.images.png import Pixels, depth_as_grey, encode_png
from factory.store.base import Store
from factory.validation.sampling import shards_of
from schemas.base import differences_of
from schemas.turing import (
    ComparedDataset,
    ObserverPictures,
    Origin,
    Other,
    ShownPicture,
    TuringPart,
    TuringSettings,
)

SETTINGS = "test.json"
OBSERVERS = "observers"
"""the folder with one for each observer"""
PICTURES = "pictures.json"


class OtherTestError(ValueError):
    """The output holds a test of other images."""


Datasets = Mapping[Origin, Dataset]


class Group(NamedTuple):
    """How many images of one dataset a part needs."""

    other: Other
    origin: Origin
    num_examples: int
    num_pictures: int


def settings_of(config: TuringConfig, datasets: Datasets) -> TuringSettings:
    """The settings of a test, once its datasets are seen to go together.

    Raises:
        ValueError: the images of the datasets differ in domain or layout.
    """
    real = datasets["real"]
    for dataset in datasets.values():
        card = dataset.card
        if (card.domain, card.image) != (real.card.domain, real.card.image):
            raise ValueError(
                f"{dataset.location} holds images of {card.domain}, {card.image}, but "
                f"{real.location} of {real.card.domain}, {real.card.image}; both are needed in "
                "one layout, or their size alone would tell them apart"
            )
    return TuringSettings(
        datasets={
            origin: ComparedDataset(location=dataset.location, card=dataset.card.digest())
            for origin, dataset in datasets.items()
        },
        **config.model_dump(include=TuringSettings.model_fields.keys() - {"datasets"}),
    )


def require_same_settings(store: Store, settings: TuringSettings) -> None:
    """Refuse an output that holds a test with other settings.

    Raises:
        OtherTestError: it does; the message says what differs.
    """
    try:
        existing = read_settings(store)
    except FileNotFoundError:
        return
    different = list(differences_of(_identity(existing), _identity(settings)))
    if different:
        raise OtherTestError(
            f"{store.location} holds a test with other settings (existing -> requested):\n  "
            + "\n  ".join(different)
            + "\nGive the same ones, or choose another output."
        )


def _enter(store: Store, settings: TuringSettings) -> None:
    """Write the settings, or where the datasets of the same ones are now."""
    try:
        store.put_new(SETTINGS, settings.to_json())
    except FileExistsError:
        require_same_settings(store, settings)
        if read_settings(store) != settings:
            store.put(SETTINGS, settings.to_json())


def read_settings(store: Store) -> TuringSettings:
    """The settings of the test in an output.

    Raises:
        FileNotFoundError: it holds none.
    """
    try:
        raw = store.read(SETTINGS)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"{store.location} holds no visual Turing test: it has no {SETTINGS}"
        ) from error
    return TuringSettings.from_json(raw, where=f"{store.location}/{SETTINGS}")


def _identity(settings: TuringSettings) -> dict[str, object]:
    """What two settings of one test agree on: all but where the datasets are."""
    content = settings.model_dump(mode="json")
    cards = {origin: dataset["card"] for origin, dataset in content["datasets"].items()}
    return content | {"datasets": cards}


def chosen(
    store: Store, settings: TuringSettings, datasets: Datasets, observer: str
) -> ObserverPictures:
    """What an observer is shown: as written in the output, or drawn and written now.

    Nothing is written of a test that cannot be drawn, so that other settings can be tried.

    Raises:
        OtherTestError: the output holds a test with other settings.
        ValueError: a dataset has too few different images.
    """
    require_same_settings(store, settings)
    name = f"{OBSERVERS}/{observer}/{PICTURES}"
    drawn = None
    if store.size(name) is None:
        drawn = _drawn(settings, datasets, observer)
    _enter(store, settings)
    if drawn is not None:
        store.put_new(name, drawn.to_json())
    return ObserverPictures.from_json(store.read(name), where=f"{store.location}/{name}")


def _drawn(settings: TuringSettings, datasets: Datasets, observer: str) -> ObserverPictures:
    name_seed = int.from_bytes(hashlib.sha256(observer.encode()).digest()[:8])
    rng = np.random.default_rng((settings.seed, name_seed))
    half = settings.num_examples // 2
    numbers: dict[Other, int] = {"refined": settings.num_refined}
    if "unrefined" in datasets:
        numbers["unrefined"] = settings.num_unrefined
    groups = [
        Group(other, origin, half, number)
        for other, number in numbers.items()
        for origin in ("real", other)
    ]
    drawn = _images(settings, datasets, groups, rng)
    parts = []
    for other in numbers:
        of_part = [(group, drawn[group]) for group in groups if group.other == other]
        examples = [one for group, some in of_part for one in some[: group.num_examples]]
        pictures = [one for group, some in of_part for one in some[group.num_examples :]]
        order = rng.permutation(len(pictures)).tolist()
        shown = tuple(pictures[number] for number in order)
        parts.append(TuringPart(other=other, examples=tuple(examples), pictures=shown))
    return ObserverPictures(observer=observer, parts=tuple(parts))


def _images(
    settings: TuringSettings,
    datasets: Datasets,
    groups: Sequence[Group],
    rng: np.random.Generator,
) -> dict[Group, list[ShownPicture]]:
    """Images for every group. None is shown twice, in whatever dataset or under whatever key it
    lies, because an image that was seen as an example would answer for itself. Renders whose
    refined images are shown are left out while there are others.
    """
    drawn: dict[Group, list[ShownPicture]] = {}
    seen: set[str] = set()
    for origin, dataset in datasets.items():
        of_origin = [group for group in groups if group.origin == origin]
        needed = sum(group.num_examples + group.num_pictures for group in of_origin)
        shards = shards_of(dataset, settings.split)
        keys: list[str] = load_index(dataset, ["key"], shards)["key"].to_pylist()
        refined = {one.key for some in drawn.values() for one in some if one.origin == "refined"}
        avoided = refined if origin == "unrefined" else set()
        pool: list[ShownPicture] = []
        order = [keys[number] for number in rng.permutation(len(keys)).tolist()]
        for key in sorted(order, key=avoided.__contains__):
            if len(pool) == needed:
                break
            digest = hashlib.sha256(shown_png(dataset.image(key))).hexdigest()
            if digest not in seen:
                seen.add(digest)
                pool.append(ShownPicture(origin=origin, key=key, png_sha256=digest))
        if len(pool) < needed:
            raise ValueError(
                f"{dataset.location} has {len(pool)} images for this test that are not shown "
                f"already, but it needs {needed}; lower --num-examples, --num-refined or "
                "--num-unrefined"
            )
        for group in of_origin:
            count = group.num_examples + group.num_pictures
            drawn[group], pool = pool[:count], pool[count:]
    return drawn


def picture_png(dataset: Dataset, picture: ShownPicture) -> bytes:
    """The PNG of a picture that was chosen.

    Raises:
        ValueError: the dataset has no such image any more, or another one under its key.
    """
    try:
        png = shown_png(dataset.image(picture.key))
    except (KeyError, FileNotFoundError) as error:
        raise ValueError(
            f"{dataset.location} has no image {picture.key}, which the test shows"
        ) from error
    if hashlib.sha256(png).hexdigest() != picture.png_sha256:
        raise ValueError(
            f"image {picture.key} of {dataset.location} is not the one that the test began with; "
            "begin another test in another output"
        )
    return png


def shown_png(image: Pixels) -> bytes:
    """An image as observers see it, without metadata; of depth, what is nearer is brighter."""
    if image.dtype == np.uint16:
        depths = image[image > 0]
        near, far = (float(depths.min()), float(depths.max())) if depths.size else (0.0, 1.0)
        image = depth_as_grey(image, near, far)
    return encode_png(image)
