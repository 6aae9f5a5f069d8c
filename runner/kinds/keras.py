"""kind: keras."""

from __future__ import annotations

from collections.abc import Iterator

from runner.kinds import Kind, Yield, keras_on_jax
from runner.kinds.keras_exports import OUTPUTS, made
from runner.kinds.keras_fitting import (
    by_labels,
    fit_and_keep,
    gang_of,
    on_slice,
    ready,
    takes_part,
)
from runner.kinds.keras_training import KerasParams, framework, resources
from runner.model import Context

STARTER = """\
# Train a Keras model, on a TPU where there is one. Run this file with:  runner submit FILE
name: keras-digits
tasks:
  model:
    kind: keras
    strategy: tpu
    fallback: [one_device]         # where no TPU is; [] to have one or nothing
    model: {name: mlp, args: {hidden: [256, 128], dropout: 0.3}}
    data: {name: digits}
    max_epochs: 10
    global_batch_size: 64
    optimizer: {name: adamw, learning_rate: 2.0e-3}
    resources: {cpus: 1, accelerators: tpu:1}
"""


def run(context: Context) -> Iterator[Yield]:
    """Trains under the strategy that is decided here; yields the model and its measurements."""
    params: KerasParams = context.params
    if params.backend == "jax":
        yield from keras_on_jax.run(context)
        return
    from runner.tflib.strategy import running

    with on_slice(context) as tpu_slice:
        decision, address = yield from ready(context, params, tpu_slice)
        if not takes_part(context, decision):
            if tpu_slice is not None and decision.strategy == "tpu":
                tpu_slice.attend()
            return
        with running(decision, address=address, gang=gang_of(context)) as strategy:
            yield from fit_and_keep(context, params, decision, strategy, by_labels(params))


KIND = Kind(
    name="keras",
    summary=str(KerasParams.__doc__),
    params=KerasParams,
    outputs=OUTPUTS,
    made=made,
    starter=STARTER,
    devices=("cpu", "tpu"),
    run=run,
    is_gang=True,
    framework=framework,
    resources=resources,
)
