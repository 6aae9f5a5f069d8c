"""python -m runner.tflib.server: TensorFlow's server for the TPU chips of this host of a slice.

It ends when its standard input does, and so with the process that has started it, however that
ends: chips that a server holds are lost to whoever comes next.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from threading import Thread


def end_with_input() -> None:
    """Ends this process once its standard input is at its end."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> int:
    """Serves until it is ended. What grpc_tpu_worker needs to know it asks Google's metadata."""
    Thread(target=end_with_input, daemon=True).start()
    worker = import_module("tensorflow.python.tools.grpc_tpu_worker")
    worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
