"""The batch arithmetic of a task, as far as it is known before its data is read."""

from __future__ import annotations

import math

from runner.kinds import find
from runner.kinds.training import BUILT_IN_TRAIN_SAMPLES, TrainingParams, batch_sizes
from runner.model import Batches, Task


def batches(task: Task) -> Batches | None:
    """Batches and steps of a task that trains; None for one that does not.

    Steps stay None where the number of samples is only known once the data is read.
    """
    model = find(task.kind).params
    if not issubclass(model, TrainingParams):
        return None
    params = model.model_validate(dict(task.params), strict=False)
    whole, micro, windows = batch_sizes(params)
    samples = BUILT_IN_TRAIN_SAMPLES.get(params.data.name or "")
    per_epoch = math.ceil(samples / whole) if samples else None
    total = params.max_steps
    if total is None and per_epoch is not None and params.max_epochs is not None:
        total = per_epoch * params.max_epochs
    return Batches(
        global_batch_size=whole,
        per_device_batch_size=micro,
        gradient_accumulation_steps=windows,
        num_workers=1,
        train_samples=samples,
        steps_per_epoch=per_epoch,
        total_steps=total,
    )
