"""Whether a file is still the model that it was made from."""

from __future__ import annotations

import numpy as np

from runner.errors import TaskError
from runner.serving.measuring import Agreement, Measured

# Other kernels add in another order: single precision has 24 bits, sums of thousands lose some.
FLOAT_TOLERANCE = 1e-3


def check_equal(ours: Measured, baseline: Measured, *, name: str) -> None:
    """Raises TaskError unless both give the same outputs for all held-out samples, up to rounding.

    No two may be further apart than a thousandth of the largest output, or of 1 where that is
    less. ``name`` is what the message calls ours.
    """
    found = Agreement.of(ours.outputs, baseline.outputs)
    most = max(1.0, float(np.abs(baseline.outputs).max()))
    # Written so that a difference that is no number is not equal, either.
    if not found.largest_difference <= FLOAT_TOLERANCE * most:
        raise TaskError(
            f"the model as {name} is not the model it was made from: {ours.runtime} gives outputs "
            f"for the held-out samples that are up to {found.largest_difference:.3g} apart from "
            f"those of {baseline.runtime} (at most {FLOAT_TOLERANCE * most:.3g} is rounding), and "
            f"the same class for {found.agreement:.1%} of them",
            hint=f"don't use this file; another format than {name}, or another version of what "
            "made it, may do better",
        )
