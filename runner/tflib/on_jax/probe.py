"""What JAX finds of a TPU on this machine, asked in a child process that has a limited time."""

from __future__ import annotations

import json
import os
import sys

from runner.tflib.on_jax.installed import need_jax
from runner.tflib.probe import Finding, Library
from runner.tflib.probe import probe as probe_by
from runner.tflib.tpu import TpuAddress

JAX = Library(
    name="JAX",
    looks="jax.devices('tpu')",
    when_ended="libtpu may be of another version than JAX was made for: pip install "
    "'runner[jax-tpu]'",
    build=need_jax,
)


def probe(*, limit_s: float | None = None) -> Finding:
    """Whether JAX can use the TPU of this machine. As ``runner.tflib.probe.probe``."""
    return probe_by(
        TpuAddress(),
        limit_s=limit_s,
        command=(sys.executable, "-m", "runner.tflib.on_jax.probe"),
        library=JAX,
    )


def look() -> tuple[int, str]:
    """The devices of this machine's TPU, and what they are, in a process that may die of it."""
    os.environ["JAX_PLATFORMS"] = "tpu"
    import jax

    try:
        devices = jax.devices("tpu")
    except Exception as error:  # whatever a library says of what is not there is the answer
        return 0, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return len(devices), str(devices[0].device_kind)


def main() -> int:
    """The child process: a finding as a line of JSON out."""
    cores, said = look()
    print(json.dumps({"cores": cores, "said": said}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
