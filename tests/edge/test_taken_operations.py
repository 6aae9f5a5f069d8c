"""How many of a LiteRT file's operations its delegate has taken, by what the interpreter lists."""

from __future__ import annotations

from typing import Any

from runner.edge.runtimes.litert import _operations


def listed(index: int, name: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
    return {"index": index, "op_name": name, "inputs": inputs, "outputs": outputs}


OWN = [
    listed(0, "CONV_2D", [0, 10, 11], [1]),
    listed(1, "RESHAPE", [1, 12], [2]),
    listed(2, "TOPK_V2", [2, 13], [3]),
    listed(3, "MUL", [3, 1], [4]),
]


def test_what_lies_between_a_delegates_tensors_was_taken() -> None:
    first = listed(4, "DELEGATE", [0, 10, 11, 12], [1, 2])
    last = listed(5, "DELEGATE", [3, 1], [4])
    assert _operations([*OWN, first, last]) == {"xnnpack": 3, "litert": 1}


def test_all_of_them_or_none() -> None:
    everything = listed(4, "DELEGATE", [0, 10, 11, 12, 13], [4])
    assert _operations([*OWN, everything]) == {"xnnpack": 4}
    assert _operations(OWN) == {"litert": 4}
