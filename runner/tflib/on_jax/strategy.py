"""The devices that a training is shared among: the model on each, of every batch a part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import keras
from jax.sharding import NamedSharding, PartitionSpec

from runner.tflib.strategy import Decision


@dataclass(frozen=True, slots=True, eq=False)
class DataParallel:
    """Keras's own distribution of that name, over ``devices``, in the way of tf.distribute's."""

    distribution: Any

    @property
    def num_replicas_in_sync(self) -> int:
        """On how many devices there is a copy of the model."""
        return int(self.distribution.num_model_replicas)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """While variables that are made get a copy on each device."""
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(self.distribution)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)

    def everywhere(self) -> NamedSharding:
        """The layout of what each device has whole."""
        return self._layout(())

    def dealt(self, *, axis: int = 0) -> NamedSharding:
        """The layout of what has on each device a part, along ``axis``."""
        return self._layout((*[None] * axis, self.distribution.batch_dim_name))

    def _layout(self, axes: tuple[str | None, ...]) -> NamedSharding:
        mesh = self.distribution.device_mesh.backend_mesh
        return NamedSharding(mesh, PartitionSpec(*axes))


def data_parallel(decision: Decision) -> DataParallel:
    """Over what was decided for, in a process that ``prepare`` has made ready."""
    platform = "tpu" if decision.strategy == "tpu" else "cpu"
    devices = keras.distribution.list_devices(platform)[: decision.replicas]
    return DataParallel(keras.distribution.DataParallel(devices=devices))


def alone(platform: str) -> DataParallel:
    """Over the first device of ``platform``, cpu or tpu."""
    first = jax.devices(platform)[0]
    return DataParallel(keras.distribution.DataParallel(devices=[f"{platform}:{first.id}"]))
