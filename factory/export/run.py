"""A release as a folder of its own, which other tools read without the dataset.

docs/exports.md says what is in it, and with which tools it was tried.
"""

import errno
import hashlib
import logging
import shutil
from contextlib import ExitStack
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import Progress, no_progress
from factory.dataset.tar import DamagedShardError, sha256
from factory.domains.registry import domain_of
from factory.export.card import SHEET, provenance_of, summary_of, title_of, write_card
from factory.export.coco import CocoFiles
from factory.export.croissant import Described, croissant
from factory.export.energon import EnergonIndex, write_energon
from factory.export.folder import MARK, FolderTakenError, appearing, export_in, write_file
from factory.export.labels import RecordType
from factory.export.seen import Seen
from factory.export.shards import Sink, write_shards
from factory.export.source import ReleaseSource
from factory.images.contact_sheet import contact_sheet
from factory.release.publish import read_report, wids_index
from factory.store.extras import require
from schemas.export import ExportedShard, ExportManifest
from schemas.labels import LabelGuide
from schemas.report import Report
from schemas.version import WRITER

SUMS = "SHA256SUMS"
log = logging.getLogger(__name__)


def export_release(
    dataset: Dataset,
    release: str,
    folder: Path,
    *,
    licence: str | None = None,
    progress: Progress = no_progress,
) -> ExportManifest:
    """Write a release to a folder, which appears when it is whole.

    Nothing is done where the folder is that export already.

    Args:
        folder: does not exist yet, or is empty.
        licence: of the data, as its card states it; None where it is not stated.
        progress: of the shards that are written.

    Raises:
        FileNotFoundError: there is no such release.
        FolderTakenError: the folder holds something else, or another run is writing it.
        DamagedShardError: a file of the release is not the one that was released.
        NotReleasableError: the report by which it was released is gone.
        FormatError: a sample does not follow its schema, or its domain is unknown here.
        MissingExtraError: jinja2 or matplotlib is not installed.
        OSError: there is not enough space.
    """
    folder = folder.absolute()
    source = ReleaseSource(dataset, release)
    earlier = export_in(folder)
    if earlier is not None:
        if (earlier.manifest, earlier.licence) != (source.manifest_sha256, licence):
            raise FolderTakenError(
                f"{folder} is an export of the release {earlier.release} of {earlier.dataset} "
                f"(licence: {earlier.licence or 'not stated'}) already: name another folder"
            )
        log.info("%s is that export already", folder)
        return earlier
    require_packages()
    report = _report_of(source)
    guide = domain_of(dataset).label_guide()
    with appearing(folder) as target:
        _require_space(source, target)
        manifest = _write(source, report, guide, target, licence, progress)
    log.info(
        "exported %d samples in %d tars: %s", manifest.num_samples, len(manifest.shards), folder
    )
    return manifest


def require_packages() -> None:
    """Raise `MissingExtraError` where a package is missing that the card of an export needs."""
    for module in ("jinja2", "matplotlib"):
        require(module, "an export")


def _report_of(source: ReleaseSource) -> Report:
    """The report by which a release was made.

    Raises:
        NotReleasableError: it is gone.
        DamagedShardError: it is another one now.
    """
    report, raw = read_report(source.dataset, source.manifest.report_id)
    if sha256(raw) != source.manifest.report:
        raise DamagedShardError(
            f"{source.dataset.location}: report {report.id} is not the one by which "
            f"{source.release} was released"
        )
    return report


def _require_space(source: ReleaseSource, target: Path) -> None:
    needed = sum(shard.size for shard in source.manifest.shards)
    free = shutil.disk_usage(target).free
    if free < needed:
        message = f"{needed} bytes of tars do not fit in {free}"
        raise OSError(errno.ENOSPC, message, str(target.parent))


def _write(
    source: ReleaseSource,
    report: Report,
    guide: LabelGuide,
    target: Path,
    licence: str | None,
    progress: Progress,
) -> ExportManifest:
    """Everything that is in an export."""
    card = source.manifest.dataset
    seen = Seen(source.manifest.num_samples)
    keypoints = guide.keypoints if card.labelled else None
    with ExitStack() as stack:
        sinks: list[Sink] = [seen, stack.enter_context(EnergonIndex(target))]
        if keypoints is not None:
            files = CocoFiles(target, keypoints, card.image, title_of(source))
            sinks.append(stack.enter_context(files))
        on_shard = stack.enter_context(progress(len(source.manifest.shards)))
        shards = tuple(write_shards(source, target, sinks, on_shard))
    write_energon(target, shards, source.manifest_sha256)
    fields = RecordType(source.dataset.sample_kind, labelled=card.labelled).fields
    readme = write_card(
        source, report, guide, fields, seen, shards, licence, has_keypoints=keypoints is not None
    )
    write_file(target / "README.md", readme.encode())
    write_file(target / SHEET, _sheet(source, seen))
    for split in sorted(seen.num_samples):
        tars = [(of.tar, of.num_samples, of.size) for of in shards if of.split == split]
        write_file(target / f"{split}.wids.json", wids_index(f"{card.name}-{split}", tars))
    _write_croissant(source, report, guide, shards, target, licence)
    manifest = ExportManifest(
        release=source.release,
        dataset=card.name,
        manifest=source.manifest_sha256,
        licence=licence,
        writer=WRITER,
        num_samples=seen.num_samples.total(),
        shards=shards,
    )
    write_file(target / MARK, manifest.to_json())
    write_file(target / SUMS, _sums(target, shards).encode())
    return manifest


def _sheet(source: ReleaseSource, seen: Seen) -> bytes:
    """A PNG of some samples."""
    below = "key"
    if any(tile.gaze_rad is not None for tile in seen.tiles):
        below += "; yaw and pitch of the gaze"
    shown = f"{len(seen.tiles)} of {seen.num_samples.total():,} samples. Below each: {below}"
    return contact_sheet(seen.tiles, title_of(source), shown)


def _write_croissant(
    source: ReleaseSource,
    report: Report,
    guide: LabelGuide,
    shards: tuple[ExportedShard, ...],
    target: Path,
    licence: str | None,
) -> None:
    # mlcroissant unpacks a tar into a folder that it names after the tar's URL alone, and takes
    # what is there for the next tar of that URL. So the URL leads through a folder that is named
    # after the release: otherwise the second export that somebody reads would show the images of
    # the first.
    folder = f"provenance/{source.manifest_sha256[:16]}"
    (target / folder).mkdir(parents=True)
    provenance = orjson.dumps(provenance_of(source), option=orjson.OPT_INDENT_2)
    write_file(target / folder / "release.json", provenance)
    described = Described(
        name=title_of(source),
        description=summary_of(source),
        licence=licence,
        published=report.created[:10],
        version="1.0.0",
    )
    columns: pa.Schema = pq.read_schema(target / shards[0].index)
    content = croissant(described, shards, columns, guide.notes, f"{folder}/../../")
    write_file(target / "croissant.json", orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _sums(target: Path, shards: tuple[ExportedShard, ...]) -> str:
    """The digests of all files, as `sha256sum` writes them."""
    known = {shard.tar: shard.sha256 for shard in shards}
    lines = []
    for path in sorted(path for path in target.rglob("*") if path.is_file()):
        name = path.relative_to(target).as_posix()
        if name not in known:
            with path.open("rb") as file:
                known[name] = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{known[name]}  {name}\n")
    return "".join(lines)
