"""The user's functions that a spec names as ``package.module:function``, looked up in their folder.

A module is parsed, never run. What the folder does not hold may be installed on the workers, which
is not known here: it is a fault only where it can't be meant so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.machinery import all_suffixes
from importlib.util import find_spec
from pathlib import Path as File
from warnings import catch_warnings

from runner.spec.document import shown
from runner.spec.suggest import did_you_mean, nearest

# Names that let a module define others as it runs, which parsing does not show.
_DYNAMIC = {"globals", "locals", "vars", "exec", "eval", "setattr", "__getattr__", "__dict__"}


def wrong_with(factory: str, workdir: File) -> str | None:
    """What is wrong with ``pkg.mod:fn`` as far as ``workdir`` tells; None where nothing is."""
    module, _, function = factory.partition(":")
    try:
        file = _find(workdir, module.split("."))
        if file is None:
            return _missing(workdir, module, function)
        named = file.relative_to(workdir)
        with catch_warnings(action="ignore"):  # of its style, which is not asked about
            tree = ast.parse(file.read_bytes(), filename=str(named))
        return _wrong_in(named, tree, function)
    except OSError as error:
        return f"{shown(module)} can't be read: {error.strerror}"
    except SyntaxError as error:
        return f"{named}:{error.lineno or 1} is not valid Python: {error.msg}"
    except (RecursionError, MemoryError):  # what the parser says of nesting without end
        return f"{named} is nested too deep to be read"


def _find(folder: File, parts: list[str]) -> File | None:
    """The file that is imported as the dotted name: a package goes before a module."""
    base = folder.joinpath(*parts)
    places = (base / "__init__.py", base.with_name(f"{base.name}.py"))
    return next((file for file in places if file.is_file()), None)


def _missing(workdir: File, module: str, function: str) -> str | None:
    """What is wrong with a module that is no Python file of the folder."""
    parts = module.split(".")
    folder, depth = workdir, 0
    while depth < len(parts):
        if _compiled(folder, parts[depth]):
            return None
        file = _find(folder, [parts[depth]])
        if file is not None and file.name != "__init__.py":
            return _beyond(file.relative_to(workdir), parts, depth, function)
        if not (folder / parts[depth]).is_dir():
            break
        folder, depth = folder / parts[depth], depth + 1
    # A folder that is no package counts as one too, but gives way to one that is installed.
    ours = depth > 0 and (workdir / parts[0] / "__init__.py").is_file()
    if not ours and _installed(parts[0], workdir):
        return None
    known = _modules(folder)
    if depth == len(parts):
        names = ", ".join(f"'{module}.{name}:{function}'" for name in known[:3])
        said = f"{module} is a folder without __init__.py; expected such as {names}"
        return said if known else None
    close = nearest(parts[depth], known)
    if close is not None:
        better = ".".join([*parts[:depth], close, *parts[depth + 1 :]])
        return f"no module '{shown(module)}' is in {workdir}; did you mean '{better}:{function}'?"
    if not ours:
        return None
    where = "/".join(parts[:depth])
    return f"{where} has no module '{shown(parts[depth])}'{did_you_mean(parts[depth], known)}"


def _beyond(named: File, parts: list[str], depth: int, function: str) -> str:
    """What is wrong with a dotted name that goes on after a module."""
    module = ".".join(parts[: depth + 1])
    if parts[depth + 1 :] == ["py"]:
        return f"a module is named without '.py'; did you mean '{module}:{function}'?"
    return (
        f"{named} is a module, not a package; expected a function of it, such as "
        f"'{module}:{function}'"
    )


def _compiled(folder: File, part: str) -> bool:
    """Whether the folder holds the module in a form that can't be parsed."""
    suffixes = [suffix for suffix in all_suffixes() if suffix != ".py"]
    return any((folder / f"{part}{suffix}").is_file() for suffix in suffixes)


def _modules(folder: File) -> list[str]:
    """What can be imported from a folder."""
    found = [file.stem for file in folder.glob("*.py") if file.stem != "__init__"]
    found += [file.parent.name for file in folder.glob("*/*.py")]
    return sorted({name for name in found if name.isidentifier()})


def _installed(name: str, workdir: File) -> bool:
    """Whether Python here can import the package from elsewhere than the folder.

    Nothing is imported, as the name has no dots. An installation for the workers alone is not seen.
    """
    try:
        found = find_spec(name)
    except (ImportError, ValueError):  # a module that this process made has no spec
        return True
    if found is None:
        return False
    places = [*(found.submodule_search_locations or []), found.origin]
    return any(place and not File(place).is_relative_to(workdir) for place in places)


def _wrong_in(named: File, tree: ast.Module, function: str) -> str | None:
    """What keeps ``function`` from being one of the module's."""
    if any(_is_dynamic(node) for node in ast.walk(tree)):
        return None
    own = {node.name for node in tree.body if isinstance(node, _DEFINITIONS)}
    imported = {name for node in _statements(tree.body) for name in _imported(node)}
    bound = {name for node in _statements(tree.body) for name in _bound(node)}
    for node in ast.walk(tree):
        bound |= set(node.names) if isinstance(node, ast.Global) else set()
    if function in bound or "*" in bound:
        return None
    known = sorted(name for name in own if not name.startswith("_"))
    if function in imported:
        hint = "; expected one of " + ", ".join(known) if 0 < len(known) <= 12 else ""
        return f"{named}: '{shown(function)}' is a module, which can't be called{hint}"
    close = nearest(function, [name for name in bound if not name.startswith("_")])
    hint = f"; did you mean '{close}'?" if close else did_you_mean(function, known)
    return f"{named} has no '{shown(function)}'{hint}"


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _statements(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """What runs when the module is imported: all of it but the insides of functions and classes."""
    waiting: list[ast.AST] = [*body]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*_DEFINITIONS, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a piece of a module binds, but for modules that it imports."""
    if isinstance(node, _DEFINITIONS):
        yield node.name
    elif isinstance(node, ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)


def _is_dynamic(node: ast.AST) -> bool:
    if isinstance(node, _DEFINITIONS):
        return node.name == "__getattr__"
    if isinstance(node, ast.Attribute):
        return node.attr in ("__dict__", "modules")
    return isinstance(node, ast.Name) and node.id in _DYNAMIC
