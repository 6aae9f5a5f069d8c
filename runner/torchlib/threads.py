"""How many threads PyTorch computes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def use_threads(count: int) -> None:
    """Makes every operation of this process use ``count`` threads: as many as it was granted."""
    torch.set_num_threads(count)


@contextmanager
def use_only(count: int) -> Iterator[None]:
    """Uses ``count`` threads inside the ``with``, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
