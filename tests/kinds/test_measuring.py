"""What evaluate measures, what distill refuses, and what no kind begins to train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.data.models import ModelSpec
from runner.errors import TaskError
from runner.kinds import find
from runner.model import Context, Metric
from runner.torchlib import data
from runner.torchlib.artifact import save
from runner.torchlib.models import build

pytestmark = pytest.mark.usefixtures("one_thread")

DIGITS = {"name": "digits"}
MLP = {"name": "mlp", "args": {"hidden": [8]}}


def run(kind: str, folder: Path, **params: Any) -> dict[str, float]:
    """What a task of that kind measures in all."""
    found = find(kind)
    context = Context(params=found.params.model_validate(params), folder=folder)
    return {
        item.name: item.value
        for item in found.run(context)
        if isinstance(item, Metric) and item.step is None
    }


def model_of(folder: Path, **source: Any) -> str:
    """The folder of a model that says it was trained on that data."""
    dataset = data.load(**source)
    name = "gpt" if dataset.task == "language" else "mlp"
    args: dict[str, Any] = {"dim": 8, "depth": 1, "heads": 1} if name == "gpt" else {"hidden": [4]}
    model = build(
        name=name, args=args, input_shape=dataset.input_shape, num_classes=len(dataset.classes)
    )
    save(folder / "kept", model, spec=ModelSpec(name=name, args=args), dataset=dataset)
    return str(folder / "kept")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    random = np.random.RandomState(0)
    rows = [f"{a:.3f},{b:.3f},{'abc'[i % 3]}" for i, (a, b) in enumerate(random.rand(60, 2))]
    (tmp_path / "old.csv").write_text("\n".join(["x,y,kind", *rows]))
    return tmp_path / "old.csv"


def test_the_models_own_held_out_part_is_measured_whatever_share_that_was(tmp_path: Path) -> None:
    model = model_of(tmp_path, name="digits", test_fraction=0.4)
    found = run("evaluate", tmp_path, model=model, data=DIGITS)
    assert (found["data/train_samples"], found["data/test_samples"]) == (1078, 719)
    with pytest.raises(TaskError, match=r"with test_fraction: 0\.2, some of these") as caught:
        run("evaluate", tmp_path, model=model, data=DIGITS | {"test_fraction": 0.2})
    assert caught.value.hint == "write test_fraction: 0.4"


def test_every_row_of_a_new_file_is_measured_with_the_models_classes(
    tmp_path: Path, table: Path
) -> None:
    model = model_of(tmp_path, path=str(table))
    new = tmp_path / "new.csv"
    new.write_text("kind,y,x\nc,0.1,0.2\nb,0.3,0.4\nc,0.5,0.6\n")
    found = run("evaluate", tmp_path, model=model, data={"path": str(new)})
    assert (found["data/train_samples"], found["data/test_samples"]) == (48, 3)
    # The very same rows with the columns and classes as at training.
    new.write_text("x,y,kind\n0.2,0.1,c\n0.4,0.3,b\n0.6,0.5,c\n")
    again = run("evaluate", tmp_path, model=model, data={"path": str(new)})
    assert again["test/loss"] == found["test/loss"]
    half = run("evaluate", tmp_path, model=model, data={"path": str(new), "test_fraction": 0.5})
    assert half["data/test_samples"] == 2


def test_a_text_model_is_measured_in_blocks_of_its_own_length(tmp_path: Path) -> None:
    model = model_of(tmp_path, name="stdlib", args={"bytes": 20_000}, block_size=50)
    found = run(
        "evaluate", tmp_path, model=model, data={"name": "stdlib", "args": {"bytes": 20000}}
    )
    assert found["data/test_samples"] == 79


def test_distilling_is_refused_where_the_teacher_has_seen_what_is_held_out(tmp_path: Path) -> None:
    teacher = model_of(tmp_path, name="digits", test_fraction=0.4)
    with pytest.raises(TaskError, match=r"with test_fraction: 0\.2, some of these"):
        run("distill", tmp_path, teacher=teacher, model=MLP, data=DIGITS, max_steps=10**9)


def test_a_student_of_another_block_size_than_its_teachers(tmp_path: Path) -> None:
    source = {"name": "stdlib", "args": {"bytes": 20_000}}
    teacher = model_of(tmp_path, block_size=50, **source)
    student = {"name": "gpt", "args": {"dim": 8, "depth": 1, "heads": 1}}
    with pytest.raises(TaskError, match=r"input shape \(50,\), this data .* \(128,\)") as caught:
        run("distill", tmp_path, teacher=teacher, model=student, data=source, max_steps=10**9)
    assert caught.value.hint == "write block_size: 50 in the new model's args"


@pytest.mark.parametrize(
    ("body", "got"),
    [("return x.flatten(1)[:, :10], x", "tuple"), ("return x.flatten(1)[:, :9]", r"\(2, 9\)")],
)
def test_a_model_that_gives_no_logits_is_refused_before_it_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, got: str
) -> None:
    name = f"own_{len(got)}"
    (tmp_path / f"{name}.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(2, 2)\n"
        f"    def forward(self, x): {body}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TaskError, match=rf"gave .*{got}.* must have shape \(2, 10\)"):
        run("train", tmp_path, model={"factory": f"{name}:Net"}, data=DIGITS, max_steps=10**9)


def test_a_model_that_can_not_take_what_a_folder_turns_out_to_hold(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"some text " * 400)
    source = {"path": str(tmp_path)}
    with pytest.raises(TaskError, match="mlp takes images or a table, and the data is text") as e:
        run("train", tmp_path, model=MLP, data=source, max_steps=10**9)
    assert e.value.hint == "take gpt, or other data"
