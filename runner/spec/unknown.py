"""What to say of a key that nothing here is called: the nearest name, or where that key belongs."""

from __future__ import annotations

from pydantic import BaseModel

from runner.kinds import KINDS, find
from runner.spec.shape import EXTENSION, JobSpec, TaskSpec
from runner.spec.suggest import did_you_mean, nearest


def instead_of(key: str, model: type[BaseModel] | None) -> str:
    """What follows ``unknown key 'key'``, where ``model`` describes the map that it stands in."""
    if model is None:
        return "; see 'runner kinds'"
    close = nearest(key, model.model_fields) or _further_in(key, model)
    if close is not None:
        return f"; did you mean '{close}'?"
    if model is not JobSpec:
        return did_you_mean(key, model.model_fields) or "; see 'runner kinds'"
    if key in _of_tasks():
        return "; expected it in a task"
    known = ", ".join(JobSpec.model_fields)
    return f"; expected one of {known}, or {EXTENSION}... for what only anchors use"


def _further_in(key: str, model: type[BaseModel]) -> str | None:
    """The dotted name of what ``key`` most likely means in a map inside, if just one is near."""
    holders: dict[str, list[str]] = {}
    for field, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            for name in info.annotation.model_fields:
                holders.setdefault(name, []).append(f"{field}.{name}")
    found = nearest(key, holders)
    return holders[found][0] if found is not None and len(holders[found]) == 1 else None


def _of_tasks() -> set[str]:
    """Every key that a task of some kind takes."""
    return {*TaskSpec.model_fields}.union(*(find(kind).params.model_fields for kind in KINDS))
