"""What one inference of a model takes, counted on shapes: operations, memory, and of what made.

    python -m runner.torchlib.costs FOLDER [FOLDER ...]

counts those of the models in these folders and prints a line of JSON for each, for processes that
hold no PyTorch: what ``Costs`` has, or ``error`` and ``hint``.
"""

from __future__ import annotations

import copy
import json
import sys
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from runner.data.described import read_any
from runner.errors import RunnerError, TaskError, Unmeasured
from runner.torchlib.artifact import as_described
from runner.torchlib.measure import count_parameters


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What an inference at batch 1 takes.

    ``operations`` are those of products, convolutions and attention, a multiplication and an
    addition being two. ``parameters`` and buffers of floats are weights. ``peak_values`` is the
    most numbers that lie between layers at once, input and output among them. ``moved_values`` are
    those that products, convolutions and attention read and write, as a runtime fuses what lies
    between these with them, and ``end_values`` those of the input and the output. ``operators``
    counts PyTorch's own operators by their ATen names.
    """

    operations: float
    parameters: int
    peak_values: int
    moved_values: int
    end_values: int
    operators: Mapping[str, int]


def of_folder(folder: Path) -> Costs:
    """The costs of the model that ``folder`` describes, whatever its form; weights are not read.

    Those of a form it was made into are those of the model it was made from, and those of a Keras
    model by name are its twin's in PyTorch. Raises TaskError if the folder can't be read or holds
    another Keras model, and Unmeasured as ``count`` does.
    """
    framework, described = read_any(folder)
    if framework == "keras":
        if described.spec.name is None:
            raise TaskError(
                f"{folder} describes a Keras model by a factory, and of Keras only the "
                "architectures by name are counted",
                hint="name a model of PyTorch, or one of Keras by name",
            )
        shape = described.input_shape
        # Keras has the channels of images last.
        first = (shape[-1], *shape[:-1]) if len(shape) == 3 else shape
        described = replace(described, input_shape=first)
    return count(as_described(described), described.input_shape, described.input_dtype)


def count(model: nn.Module, input_shape: tuple[int, ...], input_dtype: str) -> Costs:
    """The costs of ``model`` on one sample (input_shape) of ``input_dtype``, such as float32.

    It runs in eval mode on shapes without values, and is left as it is. Raises Unmeasured for a
    model whose own code asks for values.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    shapes = _on_meta(model).eval()
    inputs = torch.empty((1, *input_shape), dtype=getattr(torch, input_dtype), device="meta")
    inputs = inputs if inputs.is_floating_point() else inputs.long()
    weights = [*shapes.parameters(), *shapes.buffers()]
    watch = _Watch(weights)
    watch.hold(inputs)
    try:
        # No fused attention: what it consists of is what an edge runtime is given.
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            torch.random.fork_rng(devices=[]),
            watch,
        ):
            output = shapes(inputs)
    except Exception as error:  # code of the user's, which has run on values before
        said = str(error).partition("\n")[0]
        raise Unmeasured(
            f"the costs of {type(model).__name__} can't be counted on shapes alone "
            f"({type(error).__name__}: {said})"
        ) from error
    return Costs(
        operations=float(watch.operations),
        parameters=count_parameters(model),
        peak_values=watch.peak,
        moved_values=watch.moved,
        end_values=sum(tensor.numel() for tensor in (inputs, *_tensors(output))),
        operators=dict(sorted(watch.operators.items())),
    )


def _on_meta(model: nn.Module) -> nn.Module:
    """The model with shapes for weights; what it shares stays shared."""
    memo: dict[int, object] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        shape: Tensor = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(shape, False) if isinstance(tensor, nn.Parameter) else shape
    return copy.deepcopy(model, memo)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what runs inside the ``with``: operations, numbers moved, and the most alive."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        from torch.utils.flop_counter import flop_registry

        self._flops: Mapping[Any, Any] = flop_registry
        self._weights = {_storage(weight) for weight in weights}
        self._live: dict[int, int] = {}
        self.operators: Counter[str] = Counter()
        self.operations = self.moved = self.peak = 0

    def hold(self, tensor: Tensor) -> None:
        """Counts the tensor's memory for as long as anything refers to it."""
        key, storage = _storage(tensor), tensor.untyped_storage()
        if key in self._live or key in self._weights:
            return
        self._live[key] = storage.nbytes() // tensor.element_size()
        weakref.finalize(storage, self._live.pop, key, None)
        self.peak = max(self.peak, sum(self._live.values()))

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        taken, made = list(_tensors((args, kwargs))), list(_tensors(output))
        self.operators[func.overloadpacket.__name__] += 1
        for tensor in made:
            self.hold(tensor)
        if func.overloadpacket in self._flops:
            self.operations += self._flops[func.overloadpacket](*args, **kwargs, out_val=output)
            self.moved += sum(
                tensor.numel()
                for tensor in (*taken, *made)
                if _storage(tensor) not in self._weights
            )
        return output


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def main(folders: list[str]) -> None:
    """Prints the costs of the model in each folder."""
    for folder in folders:
        try:
            told: dict[str, Any] = asdict(of_folder(Path(folder)))
        except RunnerError as error:
            told = {"error": error.message, "hint": error.hint}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
