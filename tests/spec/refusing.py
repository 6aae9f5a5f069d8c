"""A spec's faults as short lines, and the smallest spec that is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner.errors import Fault, SpecError
from runner.spec import load

# Ends in the task's map, so that a test can add lines to it; the first free line is 7.
TASK = """\
name: job
tasks:
  a:
    kind: train
    model: {name: mlp}
    data: {name: digits}
    max_epochs: 1
"""

A_REFERENCE = "${tasks.a.outputs.model}"
# A second task, to follow that one; takes the teacher.
STUDENT = """\
  b:
    kind: distill
    teacher: {teacher}
    model: {{name: mlp}}
    data: {{name: digits}}
    max_epochs: 1
"""


def faults(
    text: str | bytes,
    *,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> tuple[Fault, ...]:
    """What is wrong with the spec; empty where nothing is."""
    source = text.encode() if isinstance(text, str) else text
    try:
        load(source, file="job.yaml", overrides=overrides, environment=environment or {})
    except SpecError as error:
        return error.faults
    return ()


def refused(
    text: str | bytes,
    *,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """The faults as ``line:column: message``."""
    found = faults(text, overrides=overrides, environment=environment)
    return [str(fault).removeprefix("job.yaml:") for fault in found]
