"""What ``auto`` keeps of all that kind quantize tried, and when it looks further."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from runner.edge.quantizers.recipe import Recipe
from runner.errors import TaskError
from runner.kinds import quantization
from runner.kinds.quantization import Tried
from runner.model import Fact
from runner.serving.measuring import Score


def tried(name: str, *, ms: float, right: float) -> Tried:
    """A candidate that takes so long, and is right so often, of a hundred answers."""
    outputs = np.eye(2)[(np.arange(100) >= right * 100).astype(int)]

    def measured(ms: float, outputs: Any) -> Any:
        speed = SimpleNamespace(latency_p50_ms=ms, samples_per_s=1000.0 / ms)
        score = Score.of(outputs, DATA.test_targets)
        return SimpleNamespace(speed=speed, outputs=outputs, score=score, runtime="its runtime")

    candidate: Any = SimpleNamespace(choice=name, recipe=Recipe(scheme="int8-static"))
    baseline = measured(10.0, np.eye(2)[np.zeros(100, dtype=int)])
    return Tried(candidate=candidate, measured=measured(ms, outputs), baseline=baseline)


DATA: Any = SimpleNamespace(task="classification", test_targets=np.zeros(100, dtype=int))


BOUNDS = {"most_groups": 8, "most_share": 0.5, "most_alone": 16}


@pytest.mark.parametrize(
    ("lossy_ms", "restored_ms", "kept", "asked"),
    [
        # Half again as fast as what holds: worth it, for up to half of its layers in float.
        (2.0, 2.2, "partly in float", [BOUNDS]),
        # No more so, once it is partly in float.
        (2.0, 4.5, "slower", [BOUNDS]),
        (2.9, 2.9, "slower", []),  # not much faster: not even looked at
    ],
)
def test_auto_looks_at_the_fastest_partly_in_float_where_that_pays(
    monkeypatch: pytest.MonkeyPatch,
    lossy_ms: float,
    restored_ms: float,
    kept: str,
    asked: list[dict[str, Any]],
) -> None:
    looked = []

    def restored(*_: Any, **limits: Any) -> Any:
        looked.append(limits)
        yield from ()
        return tried("partly in float", ms=restored_ms, right=1.0)

    monkeypatch.setattr(quantization, "_restored", restored)
    monkeypatch.setattr(quantization, "_made_for", lambda choice, **_: "")
    found = [tried("slower", ms=3.0, right=1.0), tried("fastest", ms=lossy_ms, right=0.9)]
    params: Any = SimpleNamespace(max_accuracy_drop=0.01, min_cosine=None)
    items = list(quantization._best(params, cast(Any, SimpleNamespace(data=DATA)), found))
    assert items[0] == Fact(name="kept", text=f"{kept}, by its runtime")
    assert looked == asked


def test_what_can_not_be_had_partly_in_float_does_not_spoil_what_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: Any, **limits: Any) -> Any:
        yield from ()
        raise TaskError("the model can't be written as ONNX")

    monkeypatch.setattr(quantization, "_restored", refused)
    monkeypatch.setattr(quantization, "_made_for", lambda choice, **_: "")
    found = [tried("slower", ms=4.0, right=1.0), tried("fastest", ms=2.0, right=0.9)]
    params: Any = SimpleNamespace(max_accuracy_drop=0.01, min_cosine=None)
    source = cast(Any, SimpleNamespace(data=DATA))
    assert [(item.name, item.text) for item in quantization._best(params, source, found)] == [
        ("not tried partly in float: fastest", "the model can't be written as ONNX"),
        ("kept", "slower, by its runtime"),
    ]
    with pytest.raises(TaskError, match="can't be written as ONNX"):
        list(quantization._best(params, source, found[1:]))
