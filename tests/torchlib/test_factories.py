"""References to a user's functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.data.factories import call, resolve
from runner.errors import TaskError


def test_resolve() -> None:
    assert resolve("math:sqrt")(9) == 3
    assert resolve("pathlib:Path.cwd")() == Path.cwd()


@pytest.mark.parametrize(
    ("reference", "message", "hint"),
    [
        ("math.sqrt", "does not name a function", "package.module:function"),
        ("math:", "does not name a function", ""),
        ("no_such_module:make", "no module 'no_such_module'", "beside the spec"),
        ("math.deeper:make", "no module 'math.deeper'", ""),
        ("math:sqr", "'math' has no 'sqr'", "did you mean 'sqrt'?"),
        ("math:pi", "is a float, which can't be called", ""),
    ],
)
def test_references_that_lead_nowhere(reference: str, message: str, hint: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        resolve(reference)
    assert hint in caught.value.hint


def test_fault_inside_the_users_module_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_broken.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        resolve("own_broken:make")


def test_call_checks_names_before_it_calls() -> None:
    def make(width: int, *, depth: int = 2) -> int:
        return width * depth

    assert call("it", make, {"width": 3}) == 6
    with pytest.raises(
        TaskError, match="it has no argument 'widht'; it accepts: width, depth"
    ) as e:
        call("it", make, {"widht": 3})
    assert e.value.hint == "did you mean 'width'?"
    with pytest.raises(TaskError, match="needs the argument 'width'"):
        call("it", make, {"depth": 3})
