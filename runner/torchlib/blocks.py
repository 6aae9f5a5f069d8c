"""The blocks of a model: the layers that repeat, and are handled one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn


class Around(nn.Module):
    """A module around a ``model`` that is trained with what else it holds."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def state_inside(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the state of an ``Around``, that of the model in it."""
    inside = "model."
    return {key.removeprefix(inside): v for key, v in state.items() if key.startswith(inside)}


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The children, with parameters, of every Sequential or ModuleList that is not in another.

    What stands around a model changes nothing in it: its own children are found as without.
    """
    children = dict(model.named_children())
    if isinstance(model, Around):
        yield from blocks(children.pop("model"))
    for child in children.values():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from (block for block in child if any(True for _ in block.parameters()))
        else:
            yield from blocks(child)
