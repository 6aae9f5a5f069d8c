"""Whether JAX is installed, told without loading it, and how it is loaded."""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, version

from runner.errors import TaskError


def need_jax() -> str:
    """JAX's name and version. Raises TaskError, with what to install, if it or Keras is missing."""
    try:
        version("keras")
        return f"jax {version('jax')}"
    except PackageNotFoundError as error:
        raise TaskError(
            f"this task needs {error.name} for backend: jax, and it is not installed where it runs",
            hint="pip install 'runner[jax]', or 'runner[jax-tpu]' on a TPU VM",
        ) from None


def prepare(*, threads: int, replicas: int = 1, on_tpu: bool = False) -> None:
    """Loads Keras on JAX for this process, which computes with ``threads`` threads on a CPU.

    With several ``replicas`` the CPU is divided into as many devices. Raises TaskError if JAX is
    not there, or Keras or JAX has been loaded with other settings.
    """
    need_jax()
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ["JAX_PLATFORMS"] = "tpu,cpu" if on_tpu else "cpu"
    os.environ["NPROC"] = str(threads)  # the size of XLA's pools on a CPU
    if replicas > 1:
        count = f"--xla_force_host_platform_device_count={replicas}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {count}".strip()
    if not on_tpu:
        # Keeps libtpu, where it is installed, from asking Google's metadata server for minutes.
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    is_early = "keras" in sys.modules or "jax" in sys.modules
    if "tensorflow" not in sys.modules:
        # Keras would import it, where it is installed, only to seed its random generators.
        sys.modules["tensorflow"] = None  # type: ignore[assignment]
    import jax
    import keras

    found = len(jax.devices("cpu"))
    if keras.backend.backend() != "jax" or (replicas > 1 and found != replicas):
        when = "before" if is_early else "although"
        raise TaskError(
            f"Keras has started on {keras.backend.backend()} with {found} devices of the CPU, "
            f"{when} it was told to use jax with {replicas}",
            hint="run each task in a process of its own",
        )
