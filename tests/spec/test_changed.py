"""Whether a spec's file still holds what was submitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from refusing import TASK

from runner.plan import place
from runner.plan.saved import from_json, to_json
from runner.spec.read import has_changed, read
from tests.plan.placing import inventory, node


def test_a_file_has_changed_if_it_holds_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "job.yaml"
    file.write_text(TASK)
    job = read(Path("job.yaml"), environment={})
    monkeypatch.chdir("/")  # its path does not depend on where one is
    assert (job.file, job.path) == ("job.yaml", str(file))
    saved = from_json(to_json(place(job, inventory(node("here")))), file="plan.json").job
    assert not has_changed(saved)
    file.write_text(TASK + "# a word\n")
    assert has_changed(saved)
    file.write_text(TASK)
    assert not has_changed(saved)


def test_what_is_not_known_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(TASK)
    job = read(file, environment={})
    file.unlink()
    assert not has_changed(job)
    assert not has_changed(replace(job, path=None, digest=None))  # of a plan saved before
