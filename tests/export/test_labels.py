"""The types of the fields of an export, and what is said of them."""

import orjson
import pyarrow as pa
import pytest
from pydantic import Field

from factory.dataset.kinds import kind_named
from factory.domains.registry import domain_named
from factory.export.labels import RecordType, note_of, shown_type
from schemas.dataset import ImageSpec
from schemas.kinds import SampleKind
from schemas.labels import LabelNote
from schemas.sample import Envelope


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("domain", ["eye", "hand"])
def test_every_field_of_the_model_has_a_type_and_a_note(domain, labelled) -> None:
    kind = kind_named(domain)
    fields = RecordType(kind, labelled=labelled).fields
    model = kind.labelled if labelled else kind.unlabelled
    assert {f.name for f in fields} == {i.alias or n for n, i in model.model_fields.items()}
    types = {field.name: field.type for field in fields}
    assert types["refined"] == pa.struct([("refiner", pa.string()), ("parent", pa.string())])
    assert types["extra"] == types["schema"] == types["identity"] == pa.string()
    notes = domain_named(domain).label_guide().notes
    assert all(note_of(field.name, notes).meaning for field in fields)
    assert notes.keys() <= {f.name for f in RecordType(kind, labelled=True).fields}


def test_a_label_is_written_with_nulls_and_its_extra_as_text() -> None:
    kind = kind_named("hand")
    given = {"key": "000000-000000", "extra": {"a": [1, "x"]}, "made": {"config": "c"}}
    record, raw = RecordType(kind, labelled=True).rewrite(given)
    assert orjson.loads(raw) == record and list(record)[:2] == ["key", "source"]
    assert record["extra"] == '{"a":[1,"x"]}'
    assert record["made"] == {"config": "c", "writer": None}
    assert record["refined"] is None and record["joints_uvd"] is None


class Odd(Envelope):
    """A kind of sample with a field that no column holds."""

    schema_: str = Field(alias="schema")
    odd: list[str]


def test_a_field_without_a_type_is_refused() -> None:
    kind = SampleKind("odd", "odd/1", Odd, Odd, (), ImageSpec(height=1, width=1), 1)
    with pytest.raises(TypeError, match="odd is neither a column of the index"):
        RecordType(kind, labelled=True)


def test_types_and_units_in_words() -> None:
    points = pa.list_(pa.list_(pa.float32(), 2), 32)
    assert shown_type(points) == "float32 [32, 2]"
    assert shown_type(pa.struct([("a", pa.int32()), ("b", pa.string())])) == "record of a, b"
    assert note_of("radius_px", {}) == LabelNote("px", "", "")
    assert note_of("radius_px", {"radius_px": LabelNote("m", "", "x")}).unit == "m"
