"""What passes between whoever submits a job and the process that drives its run.

One line of JSON goes there, the request. Two come back: at once the run's folder, or why there is
none; and when the run has ended and its reports are written, its status. A driver that breaks says
so instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from runner import errors
from runner.errors import Misfit, PlanError, RunnerError
from runner.model import Inventory, Job, Plan
from runner.runs.folder import RunFolder
from runner.storage import at


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A job to carry out: where its run folder goes, and the values of the secrets it asks for.

    ``node_types`` are those that the cluster can still start, where whoever asks knows of any.
    ``plan`` is the job's, where it is made already.
    ``resumes`` is the folder of the run that is to go on, instead of a new one.
    """

    job: Job
    storage: str
    submitted_at_s: float
    secrets: Mapping[str, str]
    node_types: Inventory | None = None
    resumes: str | None = None
    plan: Plan | None = None


@cache
def _adapter() -> TypeAdapter[Request]:
    return TypeAdapter(Request)


def request_to_json(request: Request) -> bytes:
    """One line."""
    return _adapter().dump_json(request) + b"\n"


def request_from_json(line: bytes) -> Request:
    """The request that ``request_to_json`` wrote."""
    return _adapter().validate_json(line)


def secrets_of(job: Job, environment: Mapping[str, str]) -> dict[str, str]:
    """Those of the job's secrets that ``environment`` has."""
    wanted = {name for task in job.tasks for name in task.secrets}
    return {name: environment[name] for name in sorted(wanted) if name in environment}


def accepted(folder: RunFolder) -> bytes:
    """The answer that the run's folder is laid out, and how much is in its records already."""
    answer = {"folder": str(folder.path), "recorded": str(folder.recorded_bytes())}
    return json.dumps(answer).encode() + b"\n"


def refused(error: RunnerError) -> bytes:
    """The answer that there is no run, or that it could not go on, and why."""
    data: dict[str, Any] = {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
    }
    if isinstance(error, PlanError):
        data |= {"misfits": [asdict(misfit) for misfit in error.misfits]}
    return json.dumps({"error": data}).encode() + b"\n"


def ended(status: str) -> bytes:
    """The answer that the run has ended."""
    return json.dumps({"status": status}).encode() + b"\n"


def broken(trace: str) -> bytes:
    """The answer that the driver met a bug of ours."""
    return json.dumps({"bug": trace}).encode() + b"\n"


def read_answer(line: bytes) -> dict[str, str]:
    """An answer as data: ``folder`` or ``status``.

    Raises what the driver raised on purpose, and RuntimeError for a bug or if there is no answer.
    """
    if not line:
        raise RuntimeError("the driver ended without an answer")
    answer: dict[str, Any] = json.loads(line)
    if "bug" in answer:
        raise RuntimeError(f"the driver met a bug:\n{answer['bug']}")
    if "error" in answer:
        raise _error(answer["error"])
    return answer


def folder_of(answer: Mapping[str, str]) -> RunFolder:
    """The run folder that an answer names."""
    return RunFolder(at(answer["folder"]))


def _error(data: dict[str, Any]) -> RunnerError:
    if data["type"] == PlanError.__name__:
        return PlanError(
            [Misfit(**{**misfit, "lacks": tuple(misfit["lacks"])}) for misfit in data["misfits"]],
            hint=data["hint"],
        )
    kind: type[RunnerError] = getattr(errors, data["type"])
    return kind(data["message"], hint=data["hint"])
