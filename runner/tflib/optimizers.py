"""Keras's optimizers under the names and with the meaning that they have for PyTorch's tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np

from runner.schedules import Shape

OptimizerName = Literal["adamw", "adam", "sgd"]


class Rates(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """The learning rate of each step, from a table of all of them: a function of the step alone."""

    def __init__(self, rates: Sequence[float]) -> None:
        super().__init__()
        self.rates = np.asarray(rates, dtype=np.float32)

    def __call__(self, step: Any) -> Any:
        """The rate of ``step``, counted from 0."""
        last = len(self.rates) - 1
        return keras.ops.take(self.rates, keras.ops.minimum(keras.ops.cast(step, "int32"), last))


def make_optimizer(
    variables: Sequence[Any],
    *,
    name: OptimizerName = "adamw",
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
    schedule: Shape,
) -> Any:
    """An optimizer over ``variables``; to be made within a strategy's scope.

    Weight decay is decoupled for adamw and acts on what ``decayed`` says; for adam and sgd it is a
    term of the gradient, which the step adds. Adam's epsilon is PyTorch's 1e-8.
    """
    if schedule.name == "constant" and not schedule.warmup_steps:
        rate: Any = learning_rate
    else:
        rate = Rates([learning_rate * schedule.factor(n) for n in range(schedule.total_steps)])
    if name == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=momentum)
    elif name == "adam":
        optimizer = keras.optimizers.Adam(rate, beta_1=betas[0], beta_2=betas[1], epsilon=1e-8)
    else:
        optimizer = keras.optimizers.AdamW(
            rate, weight_decay=weight_decay, beta_1=betas[0], beta_2=betas[1], epsilon=1e-8
        )
        kept = {id(variable) for variable in decayed(variables)}
        optimizer.exclude_from_weight_decay(
            var_list=[variable for variable in variables if id(variable) not in kept]
        )
    optimizer.build(variables)
    return optimizer


def decayed(variables: Sequence[Any]) -> list[Any]:
    """Of the variables those that weight decay acts on: matrices and kernels, no biases or scales.

    Keras's attention has biases of two dimensions, so that their names count as well.
    """
    return [
        variable
        for variable in variables
        if len(variable.shape) >= 2 and not variable.path.endswith("bias")
    ]
