"""Which build of TensorFlow is installed, told without loading it, and how it is loaded."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

from runner.errors import TaskError

# The distributions that bring the module ``tensorflow``; the one for TPUs brings all of them.
BUILDS = ("tensorflow-tpu", "tensorflow-cpu", "tensorflow")
TPU_BUILD = "tensorflow-tpu"


def installed_build() -> str | None:
    """Name and version of the installed build, such as ``tensorflow-cpu 2.21.0``; None if none."""
    for name in BUILDS:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return None


def need_tensorflow() -> str:
    """The installed build. Raises TaskError, with what to install, if there is none."""
    found = installed_build()
    if found is None:
        raise TaskError(
            "this task needs TensorFlow, which is not installed where it runs",
            hint="pip install 'runner[tf]', or 'runner[tpu]' on a TPU VM",
        )
    return found


def prepare(
    *, threads: int, replicas: int = 1, skip_metadata: bool = True, leave_chips: bool = False
) -> None:
    """Loads TensorFlow for this process, with ``threads`` threads for each operation.

    With several ``replicas`` the CPU is divided into as many logical devices. ``skip_metadata``
    keeps libtpu, where it is installed, from asking Google's metadata server, which off Google's
    machines it does for minutes. ``leave_chips`` leaves this machine's TPU to who serves it.
    Raises TaskError if TensorFlow is not there, or has started with other settings.
    """
    need_tensorflow()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if skip_metadata:
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    if leave_chips:
        os.environ.setdefault("TPU_LOAD_LIBRARY", "0")
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))
        if replicas > 1:
            tf.config.set_logical_device_configuration(
                tf.config.list_physical_devices("CPU")[0],
                [tf.config.LogicalDeviceConfiguration() for _ in range(replicas)],
            )
    except RuntimeError as error:
        raise TaskError(
            f"TensorFlow has started in this process already: {error}",
            hint="run each task in a process of its own",
        ) from error
