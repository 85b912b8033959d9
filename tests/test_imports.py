"""What is loaded at run time; `make check` sees which way imports point."""

import pkgutil
import sys

import pytest

import factory
import schemas
from support.interpreters import passes_in_a_fresh_interpreter
from support.places import ROOT

pytestmark = pytest.mark.slow

CORE = [
    info.name
    for package in (schemas, factory)
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


@pytest.mark.long
def test_no_core_module_brings_ray_along() -> None:
    """In a fresh interpreter, whatever their imports import; `make check` looks at ours alone."""
    assert len(CORE) > 30
    script = (
        "import importlib, sys\n"
        f"for name in {CORE!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'ray' not in sys.modules, name\n"
    )
    passes_in_a_fresh_interpreter(script)


def test_a_job_file_shadows_no_standard_module() -> None:
    """`python jobs/x.py` puts jobs/ first on the path; what is built in is found before that."""
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"__init__", "__main__"}
    assert jobs and jobs & set(sys.stdlib_module_names) <= set(sys.builtin_module_names)


def test_workers_that_only_read_and_write_need_no_torch() -> None:
    """It takes seconds to import, in each of them."""
    modules = ("factory.refinement.shards", "factory.ingestion.shards", "cluster.on_ray.pipeline")
    script = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    passes_in_a_fresh_interpreter(script)


def test_runs_that_find_nothing_to_do_import_neither_ray_nor_torch() -> None:
    """They take longer to import than such a run takes to look."""
    runs = ("cluster.on_ray.session", "factory.ingestion.run", "factory.refinement.run",
            "factory.refinement.card", "factory.release.run")  # fmt: skip
    script = (
        f"import sys, {', '.join(runs)}\n"
        "loaded = {'torch', 'ray', 'cv2', 'scipy'} & sys.modules.keys()\n"
        "assert not loaded, loaded"
    )
    passes_in_a_fresh_interpreter(script)


FACES = (
    "schemas.eye.kind",
    "schemas.hand.kind",
    "factory.domains.eye.domain",
    "factory.domains.hand.domain",
    "factory.dataset.dataset",
)
"""what a reader of datasets imports, whatever their domain"""


def test_kinds_and_the_faces_of_domains_are_quick_to_import() -> None:
    """Sources, renderers and validators, and with them the large libraries, load on first use."""
    script = (
        "import importlib, sys\n"
        f"for name in {FACES!r}:\n"
        "    importlib.import_module(name)\n"
        "    loaded = {'torch', 'cv2', 'scipy'} & sys.modules.keys()\n"
        "    assert not loaded, f'{name} loads {loaded}'\n"
    )
    passes_in_a_fresh_interpreter(script)


def test_the_reader_needs_neither_torch_nor_ray_nor_opencv() -> None:
    """Whoever reads a release need not load what makes one."""
    script = (
        "import sys\n"
        "import factory.reading.blend, factory.reading.release, factory.reading.streaming\n"
        "large = {'torch', 'ray', 'cv2', 'scipy', 'matplotlib', 'pandas', 'duckdb', 'boto3'}\n"
        "loaded = large & sys.modules.keys()\n"
        "assert not loaded, loaded\n"
    )
    passes_in_a_fresh_interpreter(script)


LARGE = {"torch", "ray", "cv2", "scipy", "matplotlib", "pandas", "duckdb", "ncnn", "boto3"}
"""libraries that take a tenth of a second to seconds to import"""


def test_help_and_wrong_options_are_answered_without_large_libraries() -> None:
    script = (
        "import contextlib, io, runpy, sys\n"
        "sys.path.insert(0, '.')\n"
        "def run(*argv):\n"
        "    sys.argv = list(argv)\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "        runpy.run_path(argv[0], run_name='__main__')\n"
        f"    loaded = {LARGE!r} & sys.modules.keys()\n"
        "    assert not loaded, f'{argv} loads {loaded}'\n"
        f"for job in {sorted(path.name for path in (ROOT / 'jobs').glob('[a-z]*.py'))!r}:\n"
        "    run(f'jobs/{job}', '--help')\n"
        "    run(f'jobs/{job}', '--no-such-option')\n"
        "run('jobs/estimator.py', 'joints', '--help')\n"
        "run('jobs/ingest.py', *'--source x --input y --output z'.split())\n"
        "run('jobs/simulate.py', *'--domain x --count 3 --output z'.split())\n"
    )
    passes_in_a_fresh_interpreter(script)


def test_the_list_of_commands_is_there_without_the_libraries_of_any() -> None:
    script = (
        "import contextlib, io, sys\n"
        "from simgan_factory.__main__ import main\n"
        "for argument in ('--help', '--version', 'injest'):\n"
        "    sys.argv = ['simgan-factory', argument]\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "        main()\n"
        f"loaded = ({LARGE!r} | {{'tyro', 'pydantic', 'numpy'}}) & sys.modules.keys()\n"
        "assert not loaded, loaded\n"
    )
    passes_in_a_fresh_interpreter(script)


def test_engines_and_training_take_images_from_memory_with_few_packages() -> None:
    """`benchmarks/gpu_session.sh` brings these along to machines that have PyTorch and numpy."""
    brought = {"pydantic", "pydantic_core", "annotated_types", "typing_inspection"}
    brought |= {"typing_extensions", "orjson", "safetensors"}
    script = (
        "import sys, torch\n"
        "before = set(sys.modules)\n"
        "import factory.refinement.engines.cuda, factory.refinement.engines.eager\n"
        "import factory.refinement.engines.parity, factory.training.simgan\n"
        "of_others = {\n"
        "    name.partition('.')[0]\n"
        "    for name in sys.modules.keys() - before\n"
        "    if 'site-packages' in (getattr(sys.modules[name], '__file__', None) or '')\n"
        "}\n"
        f"more = of_others - {brought!r} - {{'torch', 'torchgen', 'numpy'}}\n"
        "assert not more, more\n"
    )
    passes_in_a_fresh_interpreter(script)
