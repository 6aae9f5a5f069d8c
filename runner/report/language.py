"""Which tasks are about a language model: their accuracy is that of the next byte."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from runner.report.summary import Report, TaskReport

ACCURACY, NEXT_BYTE_ACCURACY = "test accuracy", "next-byte accuracy"
TEXT_SUFFIXES = (".txt", ".md", ".py")
REFERENCE = re.compile(r"\$\{tasks\.([^.}]+)\.")


def accuracy_name(report: Report, tasks: Sequence[TaskReport]) -> str:
    """What the accuracy of these tasks is called, together: the next byte's if all read text."""
    text = bool(tasks) and all(_reads_text(report, task) for task in tasks)
    return NEXT_BYTE_ACCURACY if text else ACCURACY


def _reads_text(report: Report, task: TaskReport) -> bool:
    """Whether parameters say so: the task's own, or those of one whose model it takes."""
    params = task.planned["params"]
    taken = {
        found[1]
        for value in params.values()
        if isinstance(value, str) and (found := REFERENCE.match(value))
    }
    about = [params, *(other.planned["params"] for other in report.tasks if other.name in taken)]
    return any(_is_text(each) for each in about)


def _is_text(params: Mapping[str, Any]) -> bool:
    """A byte-level model, or data that holds nothing but text."""
    model, data = params.get("model"), params.get("data")
    if isinstance(model, Mapping) and model.get("name") == "gpt":
        return True
    if not isinstance(data, Mapping):
        return False
    if data.get("name") == "stdlib" or data.get("format") == "text":
        return True
    suffix = PurePath(str(data.get("path") or "")).suffix.lower()
    return data.get("format") is None and suffix in TEXT_SUFFIXES
