"""Keras models by name or by factory, the same networks under the same names as PyTorch's.

They are made of Keras's own layers alone, so that a saved one opens with plain Keras.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import keras

from runner.builtin import MODEL_ARGUMENTS, Form, unfit
from runner.data.arguments import check
from runner.data.dataset import Dataset
from runner.data.factories import call, resolve
from runner.errors import TaskError
from runner.tflib.feeding import derive_seed, input_shape

MODELS = {
    "mlp": "runner.tflib.models.mlp",
    "convnet": "runner.tflib.models.convnet",
    "vit": "runner.tflib.models.vit",
    "gpt": "runner.tflib.models.gpt",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """Which model: a name of ``MODELS`` or a factory ``pkg.mod:fn``, and its arguments."""

    name: str | None = None
    factory: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"model {self.name or self.factory}"


def build(spec: ModelSpec, data: Dataset, *, seed: int = 0, precision: str = "fp32") -> Any:
    """A fresh model for ``data``, whose initial weights depend on ``seed``; logits come out of it.

    A factory is called with its arguments and, where its parameters have these names,
    ``input_shape`` (images with channels last) and ``num_classes``; it returns a keras.Model.
    ``precision`` is fp32 or bf16-mixed, a policy of Keras. Raises TaskError if there is no such
    model, it does not take these arguments, or does not fit the data.
    """
    check_form(spec, data)
    offered = {"input_shape": input_shape(data), "num_classes": len(data.classes)}
    if spec.name is not None:
        if spec.name not in MODELS:
            raise TaskError(
                f"there is no Keras model '{spec.name}'; there are: {', '.join(MODELS)}",
                hint="take one of these, or name a factory, pkg.mod:fn",
            )
        make, from_data = import_module(MODELS[spec.name]).make, offered
    else:
        make = resolve(str(spec.factory))
        taken = inspect.signature(make).parameters
        from_data = {key: value for key, value in offered.items() if key in taken}
    for key in from_data:
        if key in spec.args:
            raise TaskError(f"{spec}: {key} is given by the data", hint=f"take {key} out of args")
    given = spec.args
    if spec.name is not None:
        given = check(str(spec), MODEL_ARGUMENTS[spec.name], spec.args)
    before = keras.config.dtype_policy()
    keras.utils.set_random_seed(derive_seed(seed, "model"))
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bf16-mixed" else "float32")
    try:
        model = call(str(spec), make, {**given, **from_data})
    finally:
        keras.config.set_dtype_policy(before)
    if not isinstance(model, keras.Model):
        raise TaskError(f"{spec.factory} returned a {type(model).__name__}, not a keras.Model")
    _check_shapes(spec, model, data)
    return model


def check_form(spec: ModelSpec, data: Dataset) -> None:
    """Raises TaskError if a built-in model can't take samples of this form."""
    if spec.name is None:
        return
    is_image = len(data.input_shape) == 3
    form: Form = "text" if data.task == "language" else "images" if is_image else "a table"
    wrong = unfit(spec.name, (form,))
    if wrong is not None:
        raise TaskError(wrong[0], hint=f"take {wrong[1]}")


def _check_shapes(spec: ModelSpec, model: Any, data: Dataset) -> None:
    """Builds a model that is not built yet. Raises TaskError unless it gives logits for the data.

    What the model's own code raises is passed on.
    """
    shape = input_shape(data)
    dtype = "int32" if data.task == "language" else "float32"
    logits = model(keras.ops.zeros((2, *shape), dtype=dtype))
    expected = (2, *data.test_targets.shape[1:], len(data.classes))
    found = tuple(getattr(logits, "shape", ()))
    if found != expected:
        raise TaskError(
            f"{spec} gives outputs of shape {found} for 2 samples; logits must have shape "
            f"{expected}",
            hint=f"end it with a layer of {len(data.classes)} outputs, one for each class, and no "
            "softmax",
        )
