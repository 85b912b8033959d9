import ast
import json
import resource
import struct
from pathlib import Path

import pytest
import torch

import factory
from factory.networks.refiner import Refiner
from factory.networks.refiner_files import load_refiner, save_refiner, weights_bytes
from schemas.base import FormatError
from schemas.dataset import ImageSpec
from schemas.refiner import RefinerConfig, RefinerDescription

CONFIG = RefinerConfig(maps=4, blocks=1)


def description(**changes) -> RefinerDescription:
    fields = {
        "domain": "eye",
        "image": ImageSpec(height=35, width=55),
        "architecture": CONFIG,
        "weights": "last",
        "sha256": "0" * 64,
        "step": 12,
        "train": {"seed": 0},
        "config": "1" * 64,
        "lineage": {"synthetic": "abc"},
    }
    return RefinerDescription.model_validate(fields | changes)


@pytest.fixture
def run(tmp_path) -> Path:
    save_refiner(tmp_path / "run", Refiner(CONFIG, seed=3), description())
    return tmp_path / "run"


@pytest.mark.parametrize("name", [".", "refiner.safetensors", "refiner.json"])
def test_a_refiner_comes_back(run, name):
    refiner, read = load_refiner(run / name)
    images = torch.rand(2, 1, 35, 55) * 2 - 1
    assert torch.equal(refiner(images), Refiner(CONFIG, seed=3)(images))
    assert not refiner.training
    assert read.architecture == CONFIG and read.lineage == {"synthetic": "abc"}


def test_the_description_names_the_file_by_its_digest(run):
    read = json.loads((run / "refiner.json").read_text())
    again = weights_bytes(Refiner(CONFIG, seed=3).to(memory_format=torch.channels_last))
    assert (run / "refiner.safetensors").read_bytes() == again
    assert read["format_version"] == 1 and len(read["sha256"]) == 64
    assert read["image"] == {"height": 35, "width": 55, "channels": 1, "bits": 8}


def test_the_file_is_a_json_header_and_raw_numbers(run):
    content = (run / "refiner.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    assert header["first.weight"]["dtype"] == "F32"
    assert len(content) == 8 + size + max(t["data_offsets"][1] for t in header.values())


def loads_of(path: Path) -> list[bool]:
    """Of every call of torch.load in a module, whether it lets in nothing but tensors."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [
        any(k.arg == "weights_only" and getattr(k.value, "value", 0) is True for k in call.keywords)
        for call in calls
        if ast.unparse(call.func) == "torch.load"
    ]


@pytest.mark.slow
def test_nothing_of_ours_unpickles():
    """No module of the core imports pickle, lets torch read anything but tensors from one, or lets
    numpy do it. One writes a pickle, of the tensors that it has read so, and to memory."""
    for path in Path(factory.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"pickle", "cloudpickle", "dill", "joblib"}, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called = node.value.id, node.attr
                assert called != ("torch", "save") or path.name == "inception.py", path
                assert called != ("torch", "load") or loads_of(path) == [True], path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, path


def test_tampering_is_detected(run):
    path = run / "refiner.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"refiner\.safetensors: sha256 .* damaged"):
        load_refiner(run)


def test_a_cut_file_is_detected(run):
    path = run / "refiner.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FormatError, match="damaged"):
        load_refiner(run)


def test_another_architecture_is_detected(run):
    text = (run / "refiner.json").read_text().replace('"maps": 4', '"maps": 8')
    (run / "refiner.json").write_text(text)
    with pytest.raises(FormatError, match=r"blocks\.0\.conv1\.bias: \(4,\) instead of \(8,\)"):
        load_refiner(run)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("maps", 16384, r"bias: \(4,\) instead of \(16384,\)"),
        ("maps", 10**11, "architecture that is impossible"),
        ("maps", 10**30, "architecture that is impossible"),
        ("kernel", 100_001, r"instead of \(4, 4, 100001, 100001\)"),
        ("noise_channels", 2**62, "architecture that is impossible"),
        ("blocks", 10**9, "8 tensors for 1000000000 blocks"),
    ],
)
def test_an_enormous_architecture_is_refused_without_memory(run, field, value, reason):
    """16,384 maps would take 9.7 GB."""
    description = json.loads((run / "refiner.json").read_text())
    description["architecture"][field] = value
    (run / "refiner.json").write_text(json.dumps(description))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FormatError, match=reason):
        load_refiner(run)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before_kb + 200_000


def test_weights_that_are_not_finite_are_refused(tmp_path):
    refiner = Refiner(CONFIG)
    with torch.no_grad():
        refiner.last.bias.fill_(float("nan"))
    save_refiner(tmp_path, refiner, description())
    with pytest.raises(FormatError, match=r"last\.bias"):
        load_refiner(tmp_path)


def test_what_is_missing_is_named_with_the_fix(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a training run"):
        load_refiner(tmp_path / "nowhere")
    (run / "refiner.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"refiner\.json is missing: .* to resume it"):
        load_refiner(run)


def test_a_newer_format_is_refused(run):
    text = (run / "refiner.json").read_text()
    (run / "refiner.json").write_text(text.replace('"format_version": 1', '"format_version": 99'))
    with pytest.raises(FormatError, match="newer"):
        load_refiner(run)
