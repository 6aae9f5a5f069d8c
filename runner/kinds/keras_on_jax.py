"""kind: keras with backend: jax."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from runner.kinds import Yield
from runner.kinds.keras_fitting import by_labels, fit_and_keep, told
from runner.kinds.keras_training import KerasParams
from runner.model import Context, Fact

if TYPE_CHECKING:
    from runner.tflib.strategy import Decision


def run(context: Context) -> Iterator[Yield]:
    """Trains on the devices that are decided on here; yields what kind keras does."""
    params: KerasParams = context.params
    decision = yield from _ready(context, params)
    from runner.tflib.on_jax.strategy import data_parallel

    strategy = data_parallel(decision)
    yield from fit_and_keep(context, params, decision, strategy, by_labels(params))


def _ready(context: Context, params: KerasParams) -> Generator[Yield, None, Decision]:
    """Loads JAX for the devices that it decides on, and yields which these are.

    Raises TaskError where JAX is not installed, or a TPU is wanted and there is none.
    """
    from runner.tflib.on_jax.installed import need_jax, prepare
    from runner.tflib.on_jax.probe import probe
    from runner.tflib.probe import without_asking
    from runner.tflib.strategy import decide, wants_tpu

    yield Fact(name="jax", text=need_jax())
    on_tpu_node = context.device == "tpu"
    found = None
    if wants_tpu(params.strategy, on_tpu_node=on_tpu_node):
        found = probe() if on_tpu_node else without_asking()
    decision = decide(
        params.strategy,
        fallback=params.fallback,
        replicas=params.replicas,
        on_tpu_node=on_tpu_node,
        found=found,
    )
    yield from told(decision)
    prepare(
        threads=context.threads,
        replicas=decision.replicas if decision.strategy == "mirrored" else 1,
        on_tpu=decision.strategy == "tpu",
    )
    return decision
