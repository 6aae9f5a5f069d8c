"""exports of kind keras, as a spec says them: what is refused, and what others may refer to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.data import load as load_data
from runner.data.channels import input_shape
from runner.data.dataset import origin_of
from runner.data.described import Described, Form, write
from runner.data.models import ModelSpec
from runner.errors import SpecError, TaskError
from runner.kinds import find
from runner.model import Context
from runner.spec import load

TASK = """\
name: forms
tasks:
  model:
    kind: keras
    model: {name: MODEL}
    data: {name: DATA}
    max_steps: 2
    exports: [EXPORTS]
  check: {kind: evaluate, model: "${tasks.model.outputs.OUTPUT}", data: {name: DATA}}
"""


def faults(exports: str, *, model: str = "mlp", data: str = "digits", output: str = "model") -> Any:
    text = TASK.replace("MODEL", model).replace("EXPORTS", exports).replace("OUTPUT", output)
    try:
        load(text.replace("DATA", data).encode(), file="job.yaml", environment={})
    except SpecError as error:
        return [str(fault) for fault in error.faults]
    return []


def test_each_form_is_an_output_where_it_is_asked_for() -> None:
    everything = "saved-model, litert, litert-int8"
    for output in ("model", *everything.split(", ")):
        assert faults(everything, output=output) == []
    (fault,) = faults("saved-model", output="litert-int8")
    assert "the task 'model' (kind keras) has no output 'litert-int8'" in fault
    (fault,) = faults("", output="saved-model")
    assert "has no output 'saved-model'" in fault


def test_what_can_not_be_is_found_in_the_spec() -> None:
    (fault,) = faults("litert, litert")
    assert ":8:5: " in fault and "'exports' names litert twice" in fault
    (fault,) = faults("tflite")
    assert "item 1 of exports" in fault and "did you mean 'litert'?" in fault
    for model in ("vit", "gpt"):
        data = "stdlib" if model == "gpt" else "digits"
        (fault,) = faults("litert-int8", model=model, data=data)
        assert ":8:5: " in fault and "'exports' names litert-int8" in fault and model in fault
    assert faults("litert", model="vit") == []


def test_a_student_of_keras_has_them_too_and_one_of_pytorch_does_not() -> None:
    distill = find("distill")
    shared = {
        "model": {"name": "mlp"}, "data": {"name": "digits"}, "teacher": "runs/teacher",
        "max_steps": 2, "exports": ["litert-int8"],
    }  # fmt: skip
    distill.params.model_validate({**shared, "framework": "keras"}, strict=False)
    assert distill.outputs_of({**shared, "framework": "keras"}) == ("model", "litert-int8")
    with pytest.raises(ValueError, match="'exports' is for Keras"):
        distill.params.model_validate(shared, strict=False)
    vit = {**shared, "framework": "keras", "model": {"name": "vit"}}
    with pytest.raises(ValueError, match="computes in integers alone"):
        distill.params.model_validate(vit, strict=False)


def test_a_saved_model_is_measured_where_tensorflow_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_data(name="digits")
    described = Described(
        spec=ModelSpec(name="mlp", args={"hidden": [8]}),
        task=data.task,
        input_shape=input_shape(data),
        input_dtype="float32",
        classes=data.classes,
        preprocessing=data.preprocessing,
        trained_on=origin_of(data),
        form=Form(format="saved-model", file="saved_model"),
    )
    folder = tmp_path / "saved-model"
    write(folder, described, framework="keras", put=lambda to: (to / "saved_model").mkdir())
    monkeypatch.setattr("runner.tflib.installed.installed_build", lambda: None)
    evaluate = find("evaluate")
    params = {"model": str(folder), "data": {"name": "digits"}}
    context = Context(params=evaluate.params.model_validate(params), folder=tmp_path)
    with pytest.raises(TaskError, match="needs TensorFlow, which is not installed"):
        list(evaluate.run(context))
