"""Distillation of a Keras teacher: a student learns from its softened outputs and from the targets.

Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", section 2. The loss
is that of ``runner.torchlib.distillation``, to the letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from runner.data.channels import for_keras
from runner.data.classes import Array
from runner.data.dataset import Dataset
from runner.errors import TaskError
from runner.tflib.artifact import check_data, load
from runner.tflib.objectives import cross_entropy, over_targets

CacheTeacher = Literal["auto", "always", "never"]

CACHE_LIMIT_BYTES = 1_000_000_000
"""The largest cache of a teacher's logits that ``auto`` makes: float32, one a target and class."""

_TEACHER_BATCH = 256


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Distillation:
    """alpha T^2 KL(teacher_T || student_T) + (1 - alpha) CE, the mean over each sample's targets.

    The distributions with index T are softmax(logits / T). The factor T^2 makes up for the soft
    term's gradient shrinking with 1 / T^2 (end of section 2 of the paper). The teacher's logits are
    the one array in ``columns``; where there is none, ``teacher`` is run on the inputs.
    """

    temperature: float
    alpha: float
    label_smoothing: float = 0.0
    teacher: Any = None
    columns: tuple[Array, ...] = ()

    def __call__(self, logits: Any, inputs: Any, targets: Any, columns: tuple[Any, ...]) -> Any:
        """The losses, of shape (samples,), in nats."""
        ops = keras.ops
        if self.teacher is None:
            teacher_logits = columns[0]
        else:
            teacher_logits = ops.stop_gradient(self.teacher(inputs, training=False))
        student = ops.log_softmax(ops.cast(logits, "float32") / self.temperature)
        teacher = ops.log_softmax(ops.cast(teacher_logits, "float32") / self.temperature)
        soft = over_targets(ops.sum(ops.exp(teacher) * (teacher - student), -1))
        hard = cross_entropy(logits, targets, self.label_smoothing)
        return self.alpha * self.temperature**2 * soft + (1.0 - self.alpha) * hard


def make_objective(
    folder: Path,
    data: Dataset,
    *,
    strategy: Any,
    device: str,
    temperature: float,
    alpha: float,
    cache: CacheTeacher = "auto",
    label_smoothing: float = 0.0,
) -> Distillation:
    """The objective of a student that learns from the teacher in ``folder``, under ``strategy``.

    ``alpha`` is the weight of the soft term, in [0, 1]. The teacher can run once over each sample,
    on ``device``, and its logits be reused; ``auto`` does so where they take no more than
    ``CACHE_LIMIT_BYTES`` (a language model has 256 of them a byte of text). Else it runs in every
    step, on each replica.

    Raises TaskError if there is no teacher, or it was made for other data.
    """
    cache_bytes = data.train_targets.size * len(data.classes) * 4
    is_cached = cache == "always" or (cache == "auto" and cache_bytes <= CACHE_LIMIT_BYTES)
    with tf.device(device) if is_cached else strategy.scope():
        teacher = load(folder)
    check_data(teacher, data)
    if data.standardised_as(teacher.preprocessing) is not data:
        raise TaskError(
            "the teacher was trained on data that was standardised differently",
            hint="give the teacher and the student the same `data`",
        )
    return Distillation(
        temperature=temperature,
        alpha=alpha,
        label_smoothing=label_smoothing,
        teacher=None if is_cached else teacher.model,
        columns=(teacher_logits(teacher.model, data.train_inputs, device=device),)
        if is_cached
        else (),
    )


def teacher_logits(teacher: Any, inputs: Array, *, device: str) -> Array:
    """The logits of ``teacher``, as for inference, for each row of ``inputs``, in fp32."""
    graph = tf.function(lambda rows: teacher(rows, training=False), reduce_retracing=True)
    with tf.device(device):
        parts = [
            graph(tf.constant(for_keras(inputs[first : first + _TEACHER_BATCH]))).numpy()
            for first in range(0, len(inputs), _TEACHER_BATCH)
        ]
    return np.concatenate(parts).astype(np.float32)
