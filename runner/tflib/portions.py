"""How batches are divided, whatever divides them: numbers only, and no framework."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Portions:
    """How a batch of ``samples`` is divided: ``passes`` one after another on ``replicas`` at once.

    Each portion has ``rows`` rows; where the product is more than ``samples``, the rest of the last
    is filled up with rows that count nothing.
    """

    samples: int
    passes: int
    replicas: int

    @property
    def rows(self) -> int:
        """Rows that one forward pass on one replica sees."""
        return math.ceil(self.samples / (self.passes * self.replicas))

    @property
    def size(self) -> int:
        """Rows of a whole batch, with those that fill it up."""
        return self.passes * self.replicas * self.rows


def derive_seed(seed: int, purpose: str) -> int:
    """A seed below 2**31 for one use of randomness, apart from that of every other."""
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


def evaluation_rows(samples: int, targets: int, replicas: int) -> int:
    """Rows of a forward pass of an evaluation on one replica, of samples with so many targets."""
    return min(256, most_at_once(targets), -(-samples // replicas))


def most_at_once(targets: int) -> int:
    """How many samples are scored at once, of which each has so many targets.

    Of a text every byte is a target with logits of its own, and memory has to hold them all.
    """
    return max(1, 4096 // targets)
