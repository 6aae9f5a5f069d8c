"""Artifacts at a URI that a task is given: got to the worker's node, each of a list, too."""

from __future__ import annotations

from pathlib import Path

from runner.kinds import find
from runner.worker.scratch import fetch, forget_inputs
from tests.worker.orders import order


def test_each_of_several_artifacts_is_got(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.json").write_text(name)
    given = [f"file://{tmp_path}/one", f"file://{tmp_path}/two", str(tmp_path / "one")]
    asked = order(tmp_path / "folder", "distill", {"teacher": given, "alpha": 0.5})
    found = fetch(asked, find("distill").params)
    read = [(Path(folder) / "model.json").read_text() for folder in found["teacher"]]
    assert read == ["one", "two", "one"]
    assert found["teacher"][2] == given[2]
    assert found["alpha"] == 0.5
    assert (tmp_path / "folder").is_dir()
    forget_inputs(asked)
    assert not any((tmp_path / "folder").iterdir())
