"""The base of all models of files on disk and of messages between processes."""

import hashlib
from collections.abc import Iterator
from typing import Annotated, Any, Self

import orjson
from pydantic import (
    AllowInfNan,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

FORMAT_VERSION = 2
"""Version of the dataset layout, written into its card and its indexes. Files of later versions are
refused."""


class FormatError(ValueError):
    """A file does not follow its schema, or is of a newer format."""


Float = Annotated[float, AllowInfNan(False)]
"""A finite number. Labels are float32, printed in the shortest form that round-trips."""
Point = tuple[Float, Float]
"""(x right, y down) in crop pixels; pixel centres are at integers."""
Vector = tuple[Float, Float, Float]
"""(x right, y down, z away from the camera), the camera frame."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, StringConstraints(pattern=r"^\d{6,}-\d{6,}$")]
"""`{shard:06d}-{index:06d}`: unique in a dataset; the index is the position in the plan."""
Split = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


def spell_out(error: ValidationError) -> str:
    """Which fields are wrong, and how, on one line."""
    return "; ".join(
        f"{'.'.join(map(str, detail['loc'])) or 'value'}: {detail['msg']}, "
        f"found {str(detail['input'])[:80]!r}"
        for detail in error.errors()
    )


class Model(BaseModel):
    """A frozen record that refuses unknown fields and writes canonical JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_json(self) -> bytes:
        """UTF-8 JSON, two-space indented, fields in the order of the class, newline at the end."""
        return orjson.dumps(
            self.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        )

    @classmethod
    def from_json(cls, raw: bytes, *, where: str) -> Self:
        """Parse and check one file.

        Args:
            raw: the bytes of the file.
            where: its name, for the error message.

        Raises:
            FormatError: the file is not JSON, does not follow this schema, or is of a newer format
                version.
        """
        try:
            content = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise FormatError(f"{where}: not JSON ({error})") from error
        version = content.get("format_version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise FormatError(
                f"{where}: format version {version} is newer than this program's "
                f"({FORMAT_VERSION}); update simgan-factory to read it"
            )
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            raise FormatError(f"{where}: not a valid {cls.__name__}: {spell_out(error)}") from error


class Versioned(Model):
    """A file that carries the format version from which on its schema did not change."""

    format_version: int = Field(default=1, ge=1)


def digest_of(content: Any) -> str:
    """sha256 over the canonical JSON (sorted keys, no spaces) of a plain structure."""
    canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    return hashlib.sha256(canonical).hexdigest()


def differences_of(existing: Any, requested: Any, path: str = "") -> Iterator[str]:
    """Where two plain structures differ, one line each: `path: existing -> requested`."""
    if isinstance(existing, dict) and isinstance(requested, dict):
        for name in sorted(existing.keys() | requested.keys()):
            yield from differences_of(
                existing.get(name), requested.get(name), f"{path}.{name}" if path else name
            )
    elif existing != requested:
        yield f"{path}: {_brief(existing)} -> {_brief(requested)}"


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
