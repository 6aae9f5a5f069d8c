"""The batch arithmetic of a task, as far as it is known before its data is read."""

from __future__ import annotations

import math

from runner.kinds.training import TrainingParams, batch_sizes
from runner.model import Batches


def batches(params: TrainingParams, dp: int) -> Batches:
    """Batches and steps of a training, each batch divided among ``dp`` workers.

    Steps stay None where the number of samples is only known once the data is read.
    """
    whole, micro, windows = batch_sizes(params, dp)
    samples = params.data.known_samples
    per_epoch = math.ceil(samples / whole) if samples else None
    total = params.max_steps
    if total is None and per_epoch is not None and params.max_epochs is not None:
        total = per_epoch * params.max_epochs
    return Batches(
        global_batch_size=whole,
        per_device_batch_size=micro,
        gradient_accumulation_steps=windows,
        num_workers=dp,
        train_samples=samples,
        steps_per_epoch=per_epoch,
        total_steps=total,
        is_auto=params.per_device_batch_size == "auto",
    )
