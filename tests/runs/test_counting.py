"""A model out of a run by name, and what is counted of it by a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import RunNotFoundError, TaskError
from runner.runs.counting import model_named, workload
from runner.runs.folder import RunFolder
from runner.storage import Remote
from tests.runs.plans import finished_run, record

CUSTOM = """\
from torch import nn

def make(input_shape, num_classes):
    print("a factory may talk")
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes, bias=False))
"""


def save_model(folder: Path, *, factory: str | None = None) -> None:
    from runner.data.models import ModelSpec
    from runner.torchlib.artifact import save
    from runner.torchlib.data import load
    from runner.torchlib.models import build

    data = load(name="digits")
    name = None if factory else "mlp"
    args = {} if factory else {"hidden": [8]}
    made = build(
        name=name, factory=factory, args=args, input_shape=data.input_shape, num_classes=10
    )
    save(folder, made, spec=ModelSpec(name=name, factory=factory, args=args), dataset=data)


def with_models(storage: Path, run: str, *tasks: str, models: tuple[str, ...]) -> RunFolder:
    folder = finished_run(storage, run, *tasks)
    for task in models:
        path = storage / run / task / "1" / "model"
        path.mkdir(parents=True)
        (path / "model.json").write_text("{}")
        folder.append(record("artifact", task, after_s=9, name="model", path=str(path),
                             bytes=2, sha256="0"))  # fmt: skip
    return folder


def test_a_run_means_its_one_model(tmp_path: Path) -> None:
    with_models(tmp_path, "job-1", "model", "check", models=("model",))
    found = tmp_path / "job-1" / "model" / "1" / "model"
    for text in ("job-1", "latest", "job-1:model", "latest:model", "j", str(found)):
        assert model_named(text, tmp_path) == found
    assert model_named(f"file://{found}", tmp_path) == Remote(f"file://{found}")


def test_of_several_one_must_be_named(tmp_path: Path) -> None:
    with_models(tmp_path, "job-1", "teacher", "student", models=("teacher", "student"))
    assert model_named("latest:student", tmp_path).parts[-3:] == ("student", "1", "model")  # type: ignore[union-attr]
    with pytest.raises(RunNotFoundError, match="has 2 models, of teacher, student") as caught:
        model_named("latest", tmp_path)
    assert "job-1:teacher or job-1:student" in caught.value.hint
    with pytest.raises(RunNotFoundError, match="did you mean 'student'"):
        model_named("latest:studnet", tmp_path)


def test_a_run_without_a_model_and_no_run_are_told(tmp_path: Path) -> None:
    with_models(tmp_path, "job-1", "check", models=())
    with pytest.raises(RunNotFoundError, match="job-1 has left no model"):
        model_named("latest", tmp_path)
    with pytest.raises(RunNotFoundError, match="begins with 'other'"):
        model_named("other:check", tmp_path)


def test_it_is_counted_where_it_lies_and_at_a_uri(tmp_path: Path) -> None:
    save_model(tmp_path / "model")
    counted = workload(tmp_path / "model")
    assert counted.operations == 2 * (64 * 8 + 8 * 10)
    assert counted.operators["addmm"] == 2
    (tmp_path / "model" / "model.safetensors").unlink()  # shapes are enough
    assert workload(Remote(f"file://{tmp_path}/model")) == counted


def test_a_factory_is_taken_from_the_current_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "own_model.py").write_text(CUSTOM)
    with monkeypatch.context() as inside:
        inside.syspath_prepend(str(tmp_path / "here"))
        save_model(tmp_path / "model", factory="own_model:make")
    monkeypatch.chdir(tmp_path / "here")
    assert workload(tmp_path / "model").parameters == 640
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TaskError, match="own_model"):
        workload(tmp_path / "model")
