"""Keras models by name or by factory, the same networks under the same names as PyTorch's.

They are made of Keras's own layers alone, so that a saved one opens with plain Keras.
"""

from __future__ import annotations

from typing import Any

import keras

from runner.data.channels import input_shape
from runner.data.dataset import Dataset
from runner.data.models import ModelSpec, check_form, maker
from runner.errors import TaskError
from runner.tflib.portions import derive_seed

MODELS = {
    "mlp": "runner.tflib.models.mlp",
    "convnet": "runner.tflib.models.convnet",
    "vit": "runner.tflib.models.vit",
    "gpt": "runner.tflib.models.gpt",
}


def build(spec: ModelSpec, data: Dataset, *, seed: int = 0, precision: str = "fp32") -> Any:
    """A fresh model for ``data``, whose initial weights depend on ``seed``; logits come out of it.

    A factory is called with its arguments and, where its parameters have these names,
    ``input_shape`` (images with channels last) and ``num_classes``; it returns a keras.Model.
    ``precision`` is fp32 or bf16-mixed, a policy of Keras. Raises TaskError if there is no such
    model, it does not take these arguments, or does not fit the data.
    """
    check_form(spec, task=data.task, input_shape=data.input_shape)
    make = maker(spec, MODELS, input_shape=input_shape(data), num_classes=len(data.classes))
    before = keras.config.dtype_policy()
    keras.utils.set_random_seed(derive_seed(seed, "model"))
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bf16-mixed" else "float32")
    try:
        model = make()
    finally:
        keras.config.set_dtype_policy(before)
    if not isinstance(model, keras.Model):
        raise TaskError(f"{spec.factory} returned a {type(model).__name__}, not a keras.Model")
    _check_shapes(spec, model, data)
    return model


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
