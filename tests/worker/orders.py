"""Orders for attempts that need no Ray, and a user's module to carry out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from runner import kinds
from runner.kinds import Kind, Yield
from runner.model import Context, Order

DIGITS = {"name": "digits"}
MLP = {"name": "mlp", "args": {"hidden": [8]}}


def order(folder: Path, kind: str, params: dict[str, Any], **more: Any) -> Order:
    about: dict[str, Any] = {
        "run": "r",
        "task": "t",
        "attempt": 1,
        "seed": 0,
        "device": "cpu",
        "threads": 1,
        "ready_at_s": 0.0,
    }
    return Order(kind=kind, params=params, folder=str(folder), **(about | more))


class AnyParams(BaseModel):
    model_config = ConfigDict(extra="allow")


def use_kind(monkeypatch: pytest.MonkeyPatch, run: Callable[[Context], Iterator[Yield]]) -> None:
    """Makes ``run`` what the kind ``scripted`` does: attempts are tested, not what they train."""
    import types

    module = types.ModuleType("scripted_kind")
    kind = Kind(
        name="scripted",
        summary="",
        params=AnyParams,
        outputs=(),
        starter="",
        devices=("cpu",),
        run=run,
    )
    module.KIND = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "scripted_kind", module)
    monkeypatch.setitem(kinds.KINDS, "scripted", "scripted_kind")
