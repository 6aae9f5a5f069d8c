"""A spec from its file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner.errors import UsageError
from runner.model import Job
from runner.spec.check import load
from runner.spec.parse import MAX_BYTES


def has_changed(job: Job) -> bool:
    """Whether the job's file holds something else by now; one that can't be read says nothing."""
    if job.path is None:
        return False
    try:
        source = Path(job.path).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(source).hexdigest() != job.digest


def read(path: Path, *, overrides: Sequence[str] = (), environment: Mapping[str, str]) -> Job:
    """The job that the file at ``path`` describes, with what lies beside it looked up.

    Raises UsageError if the file can't be read, SpecError if it has faults.
    """
    try:
        with path.open("rb") as file:
            source = file.read(MAX_BYTES + 1)
    except OSError as error:
        hint = "expected the path of a spec; 'runner init train' prints one to begin with"
        if "=" in path.name:
            hint = f"a value to override needs a --set of its own: --set {path}"
        raise UsageError(f"{path} can't be read: {error.strerror}", hint=hint) from None
    return load(
        source,
        file=str(path),
        overrides=overrides,
        environment=environment,
        folder=path.absolute().parent,
    )
