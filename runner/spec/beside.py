"""What a spec names beside itself: data files, model artifacts, the user's functions.

Looked up before anything runs, and never run: a module is parsed, not imported.
"""

from __future__ import annotations

import ast
from pathlib import Path as File
from typing import Any

from runner.errors import Fault
from runner.kinds import find
from runner.spec.document import Document, Path, shown
from runner.spec.shape import TaskSpec
from runner.spec.suggest import did_you_mean


def resolve(
    document: Document, name: str, spec: TaskSpec, params: dict[str, Any], folder: File,
    workdir: File, faults: list[Fault],
) -> None:  # fmt: skip
    """Make the relative paths in ``params`` absolute; a fault for what isn't where it should be."""
    path: Path = ("tasks", name)
    data = params.get("data")
    if isinstance(data, dict) and data.get("path") and not data["path"].startswith("${"):
        data["path"] = _existing(document, (*path, "data", "path"), data["path"], folder, faults)
    for field, info in find(spec.kind).params.model_fields.items():
        extra = info.json_schema_extra
        value = params.get(field)
        if not isinstance(extra, dict) or "artifact" not in extra or not isinstance(value, str):
            continue
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


def existing_folder(folder: File, text: str) -> File | str:
    """The folder ``text`` below ``folder``, or what is wrong with it."""
    try:
        target = (folder / text).resolve()
        return target if target.is_dir() else f"no folder lies at {target}"
    except (OSError, ValueError) as error:  # too long, a NUL in it, or not allowed to look
        return f"{shown(text)} can't be looked up: {_reason(error)}"


def _existing(document: Document, path: Path, text: str, folder: File, faults: list[Fault]) -> str:
    """``text`` as an absolute path; relative ones must be there, as they can't be elsewhere."""
    target = folder / text
    if File(text).is_absolute():
        return text
    try:
        target.lstat()
        return str(target)
    except FileNotFoundError:
        message = f"nothing lies at {target}{_near(target)}"
    except (OSError, ValueError) as error:  # too long, a NUL in it, or not allowed to look
        message = f"{shown(text)} can't be looked up: {_reason(error)}"
    faults.append(document.place(path).fault(message))
    return text


def _near(target: File) -> str:
    """``; did you mean`` a file that lies where ``target`` should, if one is called almost so."""
    try:
        beside = [file.name for file in target.parent.iterdir()]
    except OSError:
        return ""  # nothing can be suggested; that the target is missing is said anyway
    hint = did_you_mean(target.name, beside)
    return hint if hint.startswith("; did") else ""


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def missing_function(workdir: File, factory: str) -> tuple[str, list[str]] | None:
    """What is wrong with ``pkg.mod:fn`` as far as the folder tells, and the names there are.

    The module is parsed, never run. None where it is right, or is not a file of this folder (then
    it must be installed on the workers, which is not known here).
    """
    module, _, function = factory.partition(":")
    base = workdir.joinpath(*module.split("."))
    try:
        alone = base.with_suffix(".py")
        file = alone if alone.is_file() else base / "__init__.py"
        if not file.is_file():
            return None
        named = file.relative_to(workdir)
        tree = ast.parse(file.read_bytes(), filename=str(named))
    except OSError as error:
        return f"{shown(module)} can't be read: {_reason(error)}", []
    except SyntaxError as error:
        return f"{named}:{error.lineno} is not valid Python: {error.msg}", []
    names = _names(tree)
    if names is None or function in names or "*" in names:
        return None
    known = [name for name in names if not name.startswith("_")]
    return f"{named} has no '{shown(function)}'", known


def _names(tree: ast.Module) -> list[str] | None:
    """The names at the top of a module; None if they come about in ways that only running tells."""
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [
                each.id for target in targets for each in ast.walk(target)
                if isinstance(each, ast.Name)
            ]  # fmt: skip
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names += [alias.asname or alias.name.split(".")[0] for alias in node.names]
        elif not isinstance(node, ast.Expr | ast.Pass):
            return None
    return names
