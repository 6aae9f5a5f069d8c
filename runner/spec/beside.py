"""What a spec names beside itself: data files, model artifacts, the user's functions.

Looked up before anything runs, and never run: a module is parsed, not imported.
"""

from __future__ import annotations

import ast
from pathlib import Path as File
from typing import Any

from runner.errors import Fault
from runner.kinds import find
from runner.spec.document import Document, Path
from runner.spec.shape import TaskSpec
from runner.spec.suggest import did_you_mean


def resolve(
    document: Document, name: str, spec: TaskSpec, params: dict[str, Any], folder: File,
    workdir: File, faults: list[Fault],
) -> None:  # fmt: skip
    """Make the relative paths in ``params`` absolute; a fault for what isn't where it should be."""
    path: Path = ("tasks", name)
    data = params.get("data")
    if isinstance(data, dict) and data.get("path"):
        data["path"] = _existing(document, (*path, "data", "path"), data["path"], folder, faults)
    for field, info in find(spec.kind).params.model_fields.items():
        extra = info.json_schema_extra
        value = params.get(field)
        if isinstance(extra, dict) and "artifact" in extra and isinstance(value, str):
            if not value.startswith("${"):
                params[field] = _existing(document, (*path, field), value, folder, faults)
    for part in ("model", "data"):
        inside = params.get(part)
        if isinstance(inside, dict) and inside.get("factory"):
            wrong = missing_function(workdir, inside["factory"])
            if wrong is not None:
                message, known = wrong
                hint = did_you_mean(inside["factory"].partition(":")[2], known) if known else ""
                faults.append(document.place((*path, part, "factory")).fault(message + hint))


def _existing(
    document: Document, path: Path, text: str, folder: File, faults: list[Fault]
) -> str:
    """``text`` as an absolute path; relative ones must be there, as they can't be elsewhere."""
    target = folder / text
    if not File(text).is_absolute() and not target.exists():
        beside = [file.name for file in target.parent.iterdir()] if target.parent.is_dir() else []
        hint = did_you_mean(target.name, beside) if beside else ""
        hint = hint if hint.startswith("; did") else ""
        faults.append(document.place(path).fault(f"nothing lies at {target}{hint}"))
    return str(target)


def missing_function(workdir: Path, factory: str) -> tuple[str, list[str]] | None:
    """What is wrong with ``pkg.mod:fn`` as far as the folder tells, and the names there are.

    The module is parsed, never run. None where it is right, or is not a file of this folder (then
    it must be installed on the workers, which is not known here).
    """
    module, _, function = factory.partition(":")
    parts = module.split(".")
    base = workdir.joinpath(*parts)
    file = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
    if not file.is_file():
        return None
    shown = file.relative_to(workdir)
    try:
        tree = ast.parse(file.read_bytes(), filename=str(shown))
    except SyntaxError as error:
        return f"{shown}:{error.lineno} is not valid Python: {error.msg}", []
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.If | ast.Try):
            return None  # names may come about in ways that only running tells
    if function in names or "*" in names:
        return None
    return f"{shown} has no '{function}'", [name for name in names if not name.startswith("_")]
