"""The user's functions: found, or what is wrong, without running any of their code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runner.spec.factory import wrong_with

MINE = r"""
import torch
import os.path as path
from torch import nn
raise SystemExit("this module must not run")
def good(): return "\d"
class Net: ...
def _private(): ...
def late():
    global made_later
    made_later = 1
    inner = 2
if __name__ == "__main__":
    in_if = 1
try:
    import numpy
    def in_try(): ...
except ImportError as error:
    def in_except(): ...
for each, (other, *rest) in []: ...
with open("x") as handle: ...
short = lambda: 1
"""
FILES = {
    "mine.py": MINE,
    "pkg/__init__.py": "from .model import f\n",
    "pkg/model.py": "def f(): ...\n",
    "shadowed/__init__.py": "def f(): ...\n",
    "shadowed.py": "def g(): ...\n",
    "plain/a.py": "def f(): ...\n",
    "notes/readme.txt": "",
    "torch/notes.txt": "",
    "dynamic.py": "def __getattr__(name): ...\n",
    "assigning.py": "globals()['f'] = 1\n",
    "star.py": "from elsewhere import *\n",
    "compiled.cpython-311-x86_64-linux-gnu.so": "",
    "compiled.abi3.so": "",
    "torn.py": "def f(:\n",
    "nul.py": "x = 1\0",
    "deep.py": "-" * 100_000 + "1",
}

HAS = "mine.py has no '{}'"
CASES = {
    **dict.fromkeys(
        ["mine:good", "mine:Net", "mine:_private", "mine:nn", "mine:made_later", "mine:in_if",
         "mine:in_try", "mine:in_except", "mine:other", "mine:rest", "mine:handle", "mine:short",
         "pkg:f", "pkg.model:f", "plain.a:f", "shadowed:f", "dynamic:x", "assigning:f", "star:x",
         "compiled:f", "elsewhere:f", "numpy.random:x", "torch:nn", "torch.nn:Linear",
         "notes:f", "notes.x:f", "__main__:f"]
    ),
    "mine:goood": "mine.py has no 'goood'; did you mean 'good'?",
    "mine:inner": "mine.py has no 'inner'; expected one of Net, good, late",
    "mine:toch": "mine.py has no 'toch'; expected one of Net, good, late",
    "mine:shot": "mine.py has no 'shot'; did you mean 'short'?",
    "mine:torch": "mine.py: 'torch' is a module, which can't be called; expected one of Net, good, "
                  "late",
    "mine:path": "mine.py: 'path' is a module, which can't be called; expected one of Net, good, "
                 "late",
    "mnie:good": "no module 'mnie' is in {folder}; did you mean 'mine:good'?",
    "Mine:good": "no module 'Mine' is in {folder}; did you mean 'mine:good'?",
    "mine.py:good": "a module is named without '.py'; did you mean 'mine:good'?",
    "pkg.model.py:f": "a module is named without '.py'; did you mean 'pkg.model:f'?",
    "mine.x:good": "mine.py is a module, not a package; expected a function of it, such as "
                   "'mine:good'",
    "pkg.modle:f": "no module 'pkg.modle' is in {folder}; did you mean 'pkg.model:f'?",
    "pgk.model:f": "no module 'pgk.model' is in {folder}; did you mean 'pkg.model:f'?",
    "pkg.other:f": "pkg has no module 'other'; expected one of model",
    "pkg:x": "pkg/__init__.py has no 'x'",
    "shadowed:g": "shadowed/__init__.py has no 'g'; expected one of f",
    "plain:f": "plain is a folder without __init__.py; expected such as 'plain.a:f'",
    "torn:f": "torn.py:1 is not valid Python: invalid syntax",
    "nul:f": "nul.py:1 is not valid Python: source code string cannot contain null bytes",
    "deep:f": "deep.py is nested too deep to be read",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("work")
    for name, text in FILES.items():
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).write_text(text)
    return made


@pytest.mark.parametrize("factory", CASES)
def test_what_is_wrong_is_said(factory: str, folder: Path) -> None:
    wanted = CASES[factory]
    found = wrong_with(factory, folder)
    assert found == (wanted.format(folder=folder) if wanted else None)
    assert "mine" not in sys.modules and "pkg" not in sys.modules


def test_it_is_the_same_from_within_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Python finds there because it was started there is not installed."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    for factory, wanted in CASES.items():
        assert wrong_with(factory, folder) == (wanted.format(folder=folder) if wanted else None)


def test_a_module_that_is_installed_is_no_slip_for_one_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "nunpy.py").write_text("")
    assert wrong_with("numpy:zeros", tmp_path) is None
    assert "did you mean 'nunpy:zeros'?" in str(wrong_with("nunpi:zeros", tmp_path))
