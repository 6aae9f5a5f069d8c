"""Imports point down (DESIGN.md, section 1), heavy packages keep to their places, files are short.

Two finer points of the arrows in DESIGN.md:

* ``spec``, ``plan``, ``report`` and ``runs`` stand on one level there, and are ordered here:
  ``plan`` reads cluster files with ``spec``'s parser and offers in its words; ``runs`` uses all
  three. None of them uses ``runs``, and ``report`` knows records only.
* Arrows may be skipped downwards: ``spec`` and ``plan`` reach ``kinds`` for parameter models, past
  ``cluster`` and ``worker``, which they must not import: they are pure.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "runner"
MODULES = sorted(PACKAGE.rglob("*.py"))

BELOW_ALL = {
    "accelerators", "builtin", "errors", "meeting", "model", "parameters", "schedules", "storage",
}  # fmt: skip
MAY_IMPORT = {
    "__main__": {"cli"},
    "__init__": {"runs"},
    "cli": {"spec", "plan", "runs", "report", "cluster", "kinds", "edge"},
    "runs": {"spec", "plan", "report", "cluster", "worker", "kinds", "edge"},
    "plan": {"spec", "kinds"},
    "spec": {"kinds", "edge"},
    "report": set(),
    "cluster": {"worker"},
    "worker": {"kinds"},
    "kinds": {"serving", "torchlib", "tflib", "edge", "data"},
    "torchlib": {"data"},
    "tflib": {"data"},
    "data": set(),
    "edge": {"data"},
    "serving": {"torchlib", "tflib", "edge", "data"},
    "model": set(),
    "errors": set(),
    "storage": set(),
    "parameters": set(),
    "builtin": set(),
    "schedules": set(),
    "meeting": set(),
    "accelerators": set(),
}  # fmt: skip
ONLY_IN = {
    "ray": {"cluster"},
    "torch": {"torchlib"},
    "tensorflow": {"tflib"},
    "keras": {"tflib"},
    "jax": {"tflib"},
    "click": {"cli"},
    "matplotlib": {"report"},
}


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """The dotted names that a module imports, in functions and for type checking too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports relatively"
            # ``from runner import kinds`` names a package as ``from runner.kinds import x`` does.
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def package_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_imports_point_down() -> None:
    wrong = []
    for file in MODULES:
        package = package_of(file)
        allowed = {package, *BELOW_ALL, *MAY_IMPORT[package]}
        for name, line in imports(file):
            parts = name.split(".")
            if parts[0] == "runner" and "".join(parts[1:2]) not in allowed:
                wrong.append(f"{file.relative_to(REPOSITORY)}:{line} imports {name}")
    assert wrong == []


def test_the_arrows_themselves_have_no_cycle() -> None:
    seen: set[str] = set()
    order = list(MAY_IMPORT)
    while ready := [name for name in order if name not in seen and MAY_IMPORT[name] <= seen]:
        seen.update(ready)
    assert seen == set(MAY_IMPORT)


def test_heavy_packages_are_imported_only_where_they_belong() -> None:
    wrong = [
        f"{file.relative_to(REPOSITORY)}:{line} imports {name}"
        for file in MODULES
        for name, line in imports(file)
        if package_of(file) not in ONLY_IN.get(name.split(".")[0], {package_of(file)})
    ]
    assert wrong == []


def loaded_with(module: str) -> set[str]:
    """What importing a module of ours imports, through others of ours too; not what calls do."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        path = REPOSITORY / waiting.pop().replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.parse(file.read_text()).body if file.is_file() else []:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            waiting += [name for name in names if name.startswith("runner") and name not in seen]
            seen.update(names)
    return seen


def test_jax_and_tensorflow_are_never_loaded_together() -> None:
    assert "tensorflow" in loaded_with("runner.tflib.steps")
    for file in (PACKAGE / "tflib").rglob("*.py"):
        module = ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)
        names = {name.split(".")[0] for name in loaded_with(module)}
        assert not {"jax", "tensorflow"} <= names, module
        wrong = "tensorflow" if file.parent.name == "on_jax" else "jax"
        assert wrong not in names, module
        assert wrong not in {name.split(".")[0] for name, _ in imports(file)}, module


LIBRARIES = tuple(f"runner.{name}" for name in MAY_IMPORT["kinds"])


def test_kinds_reach_a_framework_only_when_they_run() -> None:
    wrong = []
    for file in (PACKAGE / "kinds").glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                wrong += [f"{file.name}:{node.lineno}"] * (
                    node.module.startswith(
                        (
                            "runner.torchlib",
                            "runner.tflib",
                            "runner.edge",
                            "runner.serving",
                            "runner.data",
                        )
                    )
                )
    assert wrong == []


JOB = str(REPOSITORY / "jobs" / "distill.yaml")
FRAMEWORKS = ["ray", "torch", "numpy", "matplotlib", "tensorflow"]
STARTS = {
    "import runner": ["click", "pydantic", "yaml", *FRAMEWORKS],
    "from runner.cli import run; run(['--help'])": ["pydantic", "yaml", "asyncio", *FRAMEWORKS],
    "from runner.cli import run; run(['--version'])": ["pydantic", "yaml", *FRAMEWORKS],
    f"from runner.cli import run; run(['validate', {JOB!r}])": [
        "runner.cluster", "runner.runs", "runner.report", *FRAMEWORKS,
    ],
    "from runner.cli import run; run(['kinds', 'train'])": FRAMEWORKS,
    "from runner.cli import run; run(['schema'])": FRAMEWORKS,
    "from runner.cli import run; run(['init', 'train'])": FRAMEWORKS,
    "from runner.cli import run; run(['platforms'])": FRAMEWORKS,
    "import runner.worker.attempt": ["ray", "click", "matplotlib", "tensorflow"],
    "import runner.report.summary": ["ray", "torch", "click", "pydantic"],
}  # fmt: skip


@pytest.mark.parametrize(
    "start", STARTS, ids=lambda start: start.split("'")[-2] if "'" in start else start
)
def test_a_start_imports_no_more_than_it_needs(start: str) -> None:
    code = (
        f"{start}\nimport sys\n"
        f"found = [name for name in {STARTS[start]!r} if name in sys.modules]\n"
        "print(';'.join(found), file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == "\n"


def test_files_are_short_and_say_what_they_are() -> None:
    lengths = {
        str(file.relative_to(REPOSITORY)): len(file.read_text().splitlines())
        for root in ("runner", "tests", "benchmarks")
        for file in (REPOSITORY / root).rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 400} == {}
    undescribed = [
        str(file.relative_to(REPOSITORY))
        for file in MODULES
        if not ast.get_docstring(ast.parse(file.read_text()))
    ]
    assert undescribed == []


def test_no_file_is_named_for_nothing() -> None:
    names = {"utils", "util", "common", "helpers", "helper", "base", "misc", "manager", "handler"}
    assert [file for file in MODULES if file.stem in names or file.parent.name in names] == []
