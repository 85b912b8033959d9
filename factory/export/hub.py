"""The YAML header by which the Hugging Face hub and `datasets` read an export without arguments."""

from collections import Counter
from typing import Any

import pyarrow as pa
import yaml

_LICENCES = """
afl-3.0 agpl-3.0 apache-2.0 bsd bsd-2-clause bsd-3-clause cc cc-by-2.0 cc-by-2.5 cc-by-3.0
cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0
cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 gpl-3.0 lgpl-3.0 mit mpl-2.0 odbl odc-by
pddl unlicense
"""
KNOWN_LICENCES = frozenset(_LICENCES.split())
"""identifiers of the hub; a licence of another name is `other` there"""
_SIZES = {
    1_000: "n<1K",
    10_000: "1K<n<10K",
    100_000: "10K<n<100K",
    1_000_000: "100K<n<1M",
    10_000_000: "1M<n<10M",
    100_000_000: "10M<n<100M",
    1_000_000_000: "100M<n<1B",
    10_000_000_000: "1B<n<10B",
}
"""the hub's names of sizes, by what they are below"""


def yaml_header(
    name: str,
    licence: str | None,
    fields: tuple[pa.Field, ...],
    num_samples: Counter[str],
    num_bytes: Counter[str],
    tags: list[str],
) -> str:
    """The header with its two lines of dashes.

    Args:
        name: shown as the data set's.
        licence: as it was stated; None where none was.
        fields: of the json members.
        num_samples: by split.
        num_bytes: of the tars, by split.
    """
    features = [
        {"name": "png", "dtype": "image"},
        {"name": "json", "struct": [_feature(field.name, field.type) for field in fields]},
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
    ]
    splits = [split for split, _ in num_samples.most_common()]
    header: dict[str, Any] = {
        "pretty_name": name,
        **_licence(licence),
        "size_categories": [_size(num_samples.total())],
        "tags": tags,
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"{split}-*.tar"} for split in splits],
            }
        ],
        "dataset_info": {
            "features": features,
            "splits": [
                {"name": split, "num_bytes": num_bytes[split], "num_examples": num_samples[split]}
                for split in splits
            ],
            "download_size": num_bytes.total(),
            "dataset_size": num_bytes.total(),
        },
    }
    content = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{content}---\n"


def _feature(name: str, kind: pa.DataType) -> dict[str, Any]:
    """One feature, as `datasets.Features` is written in such a header."""
    if pa.types.is_struct(kind):
        return {"name": name, "struct": [_feature(inner.name, inner.type) for inner in kind]}
    if pa.types.is_fixed_size_list(kind):
        return {"name": name, **_list_of(kind)}
    return {"name": name, "dtype": _dtype(kind)}


def _list_of(kind: pa.DataType) -> dict[str, Any]:
    inner = kind.value_type
    content = _list_of(inner) if pa.types.is_fixed_size_list(inner) else _dtype(inner)
    return {"list": content, "length": kind.list_size}


def _dtype(kind: pa.DataType) -> str:
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


def _licence(licence: str | None) -> dict[str, str]:
    if licence is None:
        return {"license": "unknown"}
    if licence.lower() in KNOWN_LICENCES:
        return {"license": licence.lower()}
    return {"license": "other", "license_name": licence}


def _size(num_samples: int) -> str:
    return next((name for below, name in _SIZES.items() if num_samples < below), "10B<n<100B")
