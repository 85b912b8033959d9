"""The README of an export: the hub's header, and a card for people."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from factory.export.hub import yaml_header
from factory.export.labels import note_of, shown_type
from factory.export.seen import Seen
from factory.export.shards import brace_pattern
from factory.export.source import ReleaseSource
from factory.store.extras import require
from schemas.export import ExportedShard
from schemas.labels import LabelGuide
from schemas.report import GateCheck, Report
from schemas.version import WRITER

SHEET = "contact-sheet.png"
KINDS = {
    "synthetic": "renders of a simulator",
    "real": "camera images",
    "refined": "renders of a simulator that a network has made more like camera images",
}


def title_of(source: ReleaseSource) -> str:
    """How an export is called."""
    return f"{source.manifest.dataset.name}, release {source.release}"


def summary_of(source: ReleaseSource) -> str:
    """What an export is, in one sentence."""
    card = source.manifest.dataset
    image = card.image
    pixels = "grey" if image.channels == 1 else "RGB"
    return (
        f"{source.manifest.num_samples:,} {card.domain} images of {image.width} x {image.height} "
        f"pixels ({image.bits} bits, {pixels}), {'with' if card.labelled else 'without'} labels: "
        f"{KINDS[card.kind]}."
    )


def write_card(
    source: ReleaseSource,
    report: Report,
    guide: LabelGuide,
    fields: tuple[pa.Field, ...],
    seen: Seen,
    shards: Sequence[ExportedShard],
    licence: str | None,
    *,
    has_keypoints: bool,
) -> str:
    """The content of README.md.

    Args:
        report: by which the release was made.
        fields: of the json members.
        seen: what was seen of the samples.
        shards: the tars of the export.
        licence: as the user states it; None where it is not stated.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    require("jinja2", "the card of an export")
    import jinja2

    manifest = source.manifest
    card = manifest.dataset
    num_bytes: Counter[str] = Counter()
    for shard in shards:
        num_bytes[shard.split] += shard.size
    tags = ["webdataset", "croissant", card.kind, card.domain]
    header = yaml_header(title_of(source), licence, fields, seen.num_samples, num_bytes, tags)
    template = (Path(__file__).parent / "templates" / "card.md").read_text()
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    splits = [split for split, _ in seen.num_samples.most_common()]
    return header + environment.from_string(template).render(
        title=title_of(source),
        summary=summary_of(source),
        sheet=SHEET,
        num_shown=len(seen.tiles),
        splits=[(split, seen.num_samples[split], seen.num_shards[split]) for split in splits],
        some_split=splits[0],
        some_tars=brace_pattern([shard.tar for shard in shards if shard.split == splits[0]]),
        sources=sorted(seen.num_of_source.items()),
        fields=[_row(field, guide, seen) for field in fields],
        pixels=guide.pixels,
        bits=card.image.bits,
        provenance=provenance_of(source),
        checks=[_check(check) for check in report.checks],
        report=report,
        realism=report.realism,
        limits=list(_known_limits(source, report, fields, seen)),
        licence=licence,
        has_keypoints=has_keypoints,
        writer=WRITER,
    )


def _row(field: pa.Field, guide: LabelGuide, seen: Seen) -> Mapping[str, str]:
    note = note_of(field.name, guide.notes)
    cells = {
        "name": field.name,
        "type": shown_type(field.type),
        "unit": note.unit,
        "frame": note.frame,
        "meaning": note.meaning,
        "known": f"{seen.num_samples.total() - seen.num_null[field.name]:,}",
    }
    return {name: text.replace("|", r"\|") for name, text in cells.items()}


def _check(check: GateCheck) -> Mapping[str, str]:
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("at least", check.at_least), ("at most", check.at_most))
        if bound is not None
    ]
    return {
        "measure": check.measure,
        "value": "not measured" if check.value is None else f"{check.value:.4g}",
        "bound": ", ".join(bounds),
        "why": check.why.replace("|", r"\|"),
    }


def provenance_of(source: ReleaseSource) -> dict[str, str]:
    """What made the samples: a digest, or words, by name."""
    manifest, card = source.manifest, source.manifest.dataset
    made_by = {
        "dataset": f"{card.name} ({card.kind}, domain {card.domain})",
        "configuration of the dataset": card.config_digest,
    }
    if card.parent is not None:
        made_by["card of the dataset that it was made from"] = card.parent.card
    if card.refiner is not None:
        made_by["refiner"] = card.refiner.sha256
    if card.kept is not None:
        made_by["verdicts by which samples were kept"] = card.kept.verdicts
    return made_by | {
        "release": source.release,
        "manifest of the release": source.manifest_sha256,
        "validation report": f"{manifest.report_id}: {manifest.report}",
        "gate that it passed": manifest.gate,
        "exported by": WRITER,
    }


def _known_limits(
    source: ReleaseSource, report: Report, fields: tuple[pa.Field, ...], seen: Seen
) -> Iterator[str]:
    """What a user should know before using the data, in whole sentences."""
    card = source.manifest.dataset
    if card.kind == "refined":
        yield (
            "A network has changed the images after they were rendered, and the labels are those "
            "of the renders. The table above says how far what they show has moved, as far as it "
            "could be measured."
        )
    num_dropped = report.verdicts.num_dropped
    if num_dropped and card.kept is None:
        yield (
            f"{num_dropped:,} of the {source.manifest.num_samples:,} samples missed a limit on "
            "single samples and are included all the same: the limits above hold for the release "
            "as a whole."
        )
    unmeasured = [check.measure for check in report.checks if check.value is None]
    if unmeasured:
        yield f"Not measured: {', '.join(unmeasured)}."
    total = seen.num_samples.total()
    partly = [
        f"`{field.name}` in {seen.num_null[field.name]:,}"
        for field in fields
        if 0 < seen.num_null[field.name] <= total and field.name != "refined"
    ]
    if partly:
        yield (
            f"A label that its source does not know is null: {', '.join(partly)} of {total:,} "
            "samples."
        )
    if card.image.bits == 16:
        yield (
            "Pixels have 16 bits. Tools that decode images to 8 bits by themselves, such as "
            'webdataset\'s `.decode("l8")`, lose most of them; decode the PNG with Pillow.'
        )
