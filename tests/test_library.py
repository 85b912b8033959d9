"""What `from factory import …` gives: which names, in which order they may be asked for, and what
they load; and that jobs call the same functions."""

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap

import pytest

import factory
from cluster.job.completion import job_class
from factory import MODULES
from support.interpreters import passes_in_a_fresh_interpreter
from support.places import ROOT

FUNCTIONS = [name for name in MODULES if name.islower()]
every_name = pytest.mark.parametrize("name", MODULES)
every_function = pytest.mark.parametrize("name", FUNCTIONS)


def definition_of(name: str) -> object:
    return getattr(importlib.import_module(MODULES[name]), name)


@pytest.mark.slow
def test_names_may_be_asked_for_in_any_order() -> None:
    """Each first, then the others, forwards and backwards, in a process of its own that has loaded
    nothing of the project; the large libraries are loaded once for all."""
    script = (
        "import importlib, os, sys\n"
        "import cv2, numpy, pyarrow.parquet, pydantic, scipy.stats, torch\n"
        f"modules = {MODULES!r}\n"
        "assert not any(name.partition('.')[0] in ('factory', 'schemas') for name in sys.modules)\n"
        "def ask(names):\n"
        "    import factory\n"
        "    for name in names:\n"
        "        found = getattr(factory, name)\n"
        "        named = getattr(importlib.import_module(modules[name]), name)\n"
        "        assert found is named is getattr(factory, name), name\n"
        "for first in modules:\n"
        "    others = [name for name in modules if name != first]\n"
        "    for order in ([first, *others], [first, *reversed(others)]):\n"
        "        child = os.fork()\n"
        "        if child == 0:\n"
        "            code = 1\n"
        "            try:\n"
        "                ask(order)\n"
        "                code = 0\n"
        "            finally:\n"
        "                sys.stderr.flush()\n"
        "                os._exit(code)\n"
        "        assert os.waitpid(child, 0)[1] == 0, order\n"
        "from factory import *\n"
        "assert modules.keys() <= globals().keys()\n"
    )
    passes_in_a_fresh_interpreter(script)


@pytest.mark.slow
def test_importing_the_library_loads_nothing_and_a_dataset_no_large_library() -> None:
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import factory\n"
        "dir(factory)\n"
        "assert {m for m in sys.modules.keys() - before if 'factory' in m} == {'factory'}\n"
        "from factory import Dataset\n"
        "loaded = {'ray', 'torch', 'cv2', 'scipy', 'pandas', 'boto3'} & sys.modules.keys()\n"
        "assert not loaded, loaded\n"
    )
    passes_in_a_fresh_interpreter(script)


@every_name
def test_a_name_is_listed_and_is_what_its_module_defines(name) -> None:
    assert name in dir(factory) and name in factory.__all__
    assert getattr(factory, name) is definition_of(name)


@every_name
def test_a_name_is_none_of_a_package_or_module_beside_it(name) -> None:
    """Importing that module would put it in the place of the name."""
    beside = {info.name for info in pkgutil.iter_modules(factory.__path__)}
    assert len(beside) > 10 and name not in beside


def test_type_checkers_are_told_of_each_name_where_it_is() -> None:
    """`MODULES` and the imports below `TYPE_CHECKING` say the same."""
    tree = ast.parse((ROOT / "factory" / "__init__.py").read_text())
    (block,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    declared = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == MODULES


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'factory' has no attribute 'polish'"):
        _ = factory.polish


def taken_calls(code: str) -> list[str]:
    """The functions of the library that a piece of code calls, with arguments that they take."""
    called = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in FUNCTIONS:
            name = ast.unparse(node.func)
            given = {word.arg: None for word in node.keywords}
            inspect.signature(definition_of(name)).bind(*node.args, **given)
            called.append(name)
    return called


@every_function
def test_the_example_in_a_docstring_is_a_call_that_the_function_takes(name) -> None:
    said, _, _ = inspect.getdoc(definition_of(name)).partition("\nArgs:")
    indented = [line for line in said.splitlines() if line.startswith("    ")]
    assert name in taken_calls(textwrap.dedent("\n".join(indented)))


def test_the_snippet_of_the_steps_is_of_calls_that_the_functions_take() -> None:
    page = (ROOT / "docs" / "steps.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert sorted(taken_calls(code)) == sorted(FUNCTIONS)
    with pytest.raises(TypeError):
        taken_calls('refine("SYNTH", refiners="RUN", output="REFINED")')


@every_function
def test_the_job_of_that_name_calls_it(name) -> None:
    imported = {
        (node.module, alias.name)
        for node in ast.walk(ast.parse((ROOT / "jobs" / f"{name}.py").read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert (MODULES[name], name) in imported


OF_CALLS_ALONE = {"on", "trainer", "config", "texts", "settings", "measuring", "options"}
"""arguments that stand for where a job runs, or for a whole model of its options"""


@every_function
def test_arguments_have_the_names_of_the_options_of_the_job(name) -> None:
    job = job_class(name)
    arguments = set(inspect.signature(definition_of(name)).parameters) - OF_CALLS_ALONE
    assert len(arguments) > 4 and arguments <= job.model_fields.keys()
