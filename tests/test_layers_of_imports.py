"""Imports point downwards, `import twins` stays light, and no name stands for two things. Read from the source."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import twins

ROOT = Path(twins.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# From the bottom up: a package or module imports from the lines above its own, and within itself.
LAYERS = (
    ("deprecated", "errors", "shown_text"),
    ("ops", "optional_dependencies"),
    ("atomic_write", "class_names", "client", "model", "model_names", "preprocessing", "progress", "quiet"),
    ("checkpoints", "cuda_graphs", "distributed", "flops", "ray_connection", "run_lock", "timing", "timm"),
    ("zoo",),
    ("heads", "recipes"),
    ("data", "native", "runtimes"),
    ("networks",),
    ("metrics", "plots"),
    ("report", "tasks"),
    ("predict", "training"),
    ("bench", "explain", "export", "hub", "planning"),
    ("serve",),
    ("commands",),
    ("cli",),
    ("__init__",),
)
LAYER = {unit: height for height, units in enumerate(LAYERS) for unit in units}
BACKENDS = {"eager", "reference", "triton"}


class Import(NamedTuple):
    """One imported name: `from .data.loading import Batch` in tasks/classify.py."""

    importer: str  # "tasks.classify"
    target: str  # "data.loading" inside the package, "" for the package itself, "torch.nn" outside it
    ours: bool
    name: str  # "Batch", or "" for `import x`


def dotted(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {dotted(file) for file in FILES}


def unit(module: str) -> str:
    """The first part of a dotted name: what belongs to a layer."""
    return module.split(".")[0]


def read(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def imports(file: Path) -> Iterator[Import]:
    """Everything a file imports, inside functions too."""
    importer = dotted(file)
    package = file.relative_to(ROOT).parts[:-1]
    for node in ast.walk(read(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, *inside(alias.name), "")
        elif isinstance(node, ast.ImportFrom):
            around = ("twins", *package[: len(package) - node.level + 1]) if node.level else ()
            target, ours = inside(".".join(filter(None, (*around, node.module))))
            for alias in node.names:
                submodule = f"{target}.{alias.name}".lstrip(".")
                if ours and submodule in MODULES:  # `from . import ops` names a module
                    yield Import(importer, submodule, ours, "")
                else:
                    yield Import(importer, target, ours, alias.name)


def inside(module: str) -> tuple[str, bool]:
    """A module's name within the package, if it is ours, and whether it is."""
    ours = unit(module) == "twins"
    return module.removeprefix("twins").lstrip(".") if ours else module, ours


IMPORTS = [found for file in FILES for found in imports(file)]
INSIDE = [found for found in IMPORTS if found.ours and found.name != "__version__"]


def test_every_module_has_a_layer():
    assert {unit(module) for module in MODULES} <= LAYER.keys()


def test_imports_point_downwards():
    """Strictly, so that no two packages import each other."""
    between = [(i.importer, i.target) for i in INSIDE if unit(i.target) != unit(i.importer)]
    assert [(a, b) for a, b in between if LAYER[unit(b) or "__init__"] >= LAYER[unit(a)]] == []


def test_no_two_modules_need_one_another():
    """Inside a package as well; what a package's `__init__` gathers for its users is not asked of its own modules."""
    graph: dict[str, set[str]] = {}
    for found in INSIDE:
        target = found.target if f"{found.target}.{found.name}" not in MODULES else f"{found.target}.{found.name}"
        if target != found.importer:
            graph.setdefault(found.importer, set()).add(target)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_tasks_do_not_import_each_other():
    """But for the base that segmentation and detection share."""
    tasks = [i for i in INSIDE if i.importer.startswith("tasks.") and i.target.startswith("tasks")]
    assert {i.target for i in tasks if i.target != i.importer} == {"tasks.dense_prediction"}


def test_nobody_outside_ops_names_a_backend():
    named = [i for i in INSIDE if unit(i.importer) != "ops" and BACKENDS & {*i.target.split(".")[1:2], i.name}]
    assert named == []
    for file in FILES:
        for node in ast.walk(read(file)):
            is_choice = isinstance(node, ast.Call) and ast.unparse(node.func) in ("use", "ops.use")
            if is_choice and unit(dotted(file)) != "ops":
                assert not any(isinstance(argument, ast.Constant) for argument in node.args), f"{file}:{node.lineno}"


def test_model_and_ops_need_torch_alone():
    """Kernels need Triton, and are imported on a GPU that has it."""
    plain = [i for i in IMPORTS if unit(i.importer) in ("model", "ops") and not i.importer.startswith("ops.triton")]
    needed = {unit(i.target) for i in plain if not i.ours}
    assert needed - sys.stdlib_module_names == {"torch"}
    assert {unit(i.target) for i in INSIDE if unit(i.importer) == "ops"} == {"ops"}
    assert {unit(i.target) for i in INSIDE if i.importer == "model"} == {"ops"}


@pytest.mark.parametrize("file", FILES, ids=dotted)
def test_no_public_name_is_a_module_beside_it(file: Path):
    package = dotted(file.parent / "__init__.py")
    prefix = "" if package == "__init__" else f"{package}."
    beside = {m.removeprefix(prefix) for m in MODULES if m.startswith(prefix)}
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = {node.name for node in read(file).body if isinstance(node, definitions)}
    assert defined & beside == set()


def test_public_names_are_not_modules():
    assert set(twins.__all__) & MODULES == set()
    assert all(hasattr(twins, name) for name in twins.__all__)


def packages_loaded_by(script: str, after: str = "pass") -> set[str]:
    """What a script imports beyond the standard library, in a fresh process that did something else before."""
    script = f"import sys; {after}; before = set(sys.modules); {script}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {unit(module) for module in done.stdout.split()} - sys.stdlib_module_names


def test_importing_twins_and_its_command_line_loads_the_standard_library_alone():
    script = "import twins, twins.cli; dir(twins); twins.TwinsError, twins.__version__"
    assert packages_loaded_by(script) == {"twins"}


def test_public_names_load_torch_and_nothing_else():
    """Whatever way they are asked for."""
    script = f"import twins; from twins import *; [getattr(twins, name) for name in {twins.__all__}]"
    assert packages_loaded_by(script, after="import torch") - {"torch"} == {"twins"}


@pytest.mark.parametrize("name", ["ops", "native", "model", "zoo", "errors", "heads", "checkpoints", "cuda_graphs"])
def test_modules_are_attributes(name: str):
    assert getattr(twins, name).__name__ == f"twins.{name}"
    assert {name, *twins.__all__} <= set(dir(twins))


def test_unknown_attributes_are_refused():
    with pytest.raises(AttributeError, match="module 'twins' has no attribute 'creat_model'"):
        twins.creat_model  # noqa: B018


def test_public_names_pickle():
    for name in twins.__all__:
        value = getattr(twins, name)
        assert pickle.loads(pickle.dumps(value)) is value  # noqa: S301


def test_type_checkers_see_what_is_loaded_on_first_use():
    """The names under `if TYPE_CHECKING` in `twins/__init__.py`, its table of modules, and `__all__` are the same."""
    checked = {i.name: i.target for i in INSIDE if i.importer == "__init__" and i.name}
    assert checked == twins._MODULE_OF
    assert sorted(checked) == sorted([*twins.__all__, "export_model", "load"])
