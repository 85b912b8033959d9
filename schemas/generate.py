"""Write the JSON Schema of every file that a dataset holds to `schemas/json/`.

`python -m schemas.generate` rewrites them; a test fails when they are stale.
"""

import json
from pathlib import Path

from pydantic import BaseModel

from schemas.dataset import DatasetCard, Reject, RunRecord, ShardPlan
from schemas.eye.report import EyeReport
from schemas.eye.sample import Eye, UnlabelledEye
from schemas.hand.report import HandReport
from schemas.hand.sample import Hand, UnlabelledHand
from schemas.index import ShardFacts
from schemas.release import LatestRelease, ReleaseManifest

FOLDER = Path(__file__).parent / "json"
MODELS: dict[str, type[BaseModel]] = {
    "dataset-card": DatasetCard,
    "shard-plan": ShardPlan,
    "sample-eye": Eye,
    "sample-eye-unlabelled": UnlabelledEye,
    "sample-hand": Hand,
    "sample-hand-unlabelled": UnlabelledHand,
    "shard-facts": ShardFacts,
    "reject": Reject,
    "run-record": RunRecord,
    "report-eye": EyeReport,
    "report-hand": HandReport,
    "release-manifest": ReleaseManifest,
    "latest-release": LatestRelease,
}


def schema_files() -> dict[str, str]:
    """File name to content of every JSON Schema."""
    return {
        f"{name}.schema.json": json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                **model.model_json_schema(by_alias=True),
            },
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
        for name, model in MODELS.items()
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    files = schema_files()
    for path in FOLDER.glob("*.schema.json"):
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        (FOLDER / name).write_text(content)


if __name__ == "__main__":
    main()
