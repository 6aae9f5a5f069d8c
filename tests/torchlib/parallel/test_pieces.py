"""Which places a model can be cut at, and that its pieces in a row are the model."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from skipping import Skipping
from torch import Tensor, nn
from torch.nn import functional

from runner.errors import TaskError
from runner.model import Widths
from runner.torchlib.models.resnet import make as resnet
from runner.torchlib.parallel import pp
from runner.torchlib.parallel.chain import Chain, chain_of
from runner.torchlib.parallel.options import Options

SAMPLE = torch.rand(4, 1, 8, 8)
BLOCKS = [f"blocks.{index}" for index in range(9)]


def small_resnet() -> nn.Module:
    return resnet(input_shape=(1, 8, 8), num_classes=10, depth=20, width=4)


def sequence() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(64, 8), nn.ReLU()), nn.Linear(8, 10))


class Asking(nn.Module):
    """Its inner module's path depends on a value, so that it can only be called as it is."""

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1)
            return self.linear(x + 1 if bool(x.sum() > 0) else x)  # type: ignore[no-any-return]

    def __init__(self) -> None:
        super().__init__()
        self.inner = Asking.Inner()
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (sequence, ["0", "1.0", "1.1", "2"]),
        (small_resnet, ["conv", "norm", *BLOCKS, "head"]),
        (Skipping, ["first", "layers.0", *(f"layers.{i}" for i in (1, 2, 3)), "second",
                    "dropout", "head"]),
        (Asking, ["inner", "head"]),
    ],
)  # fmt: skip
def test_the_pieces_in_a_row_are_the_model(make: Callable[[], nn.Module], names: list[str]) -> None:
    model = make().eval()
    chain = chain_of(model, SAMPLE)
    pieces = chain.pieces(model)
    assert [name for name, _ in pieces] == _first(chain, names)
    value = torch.rand(4, 1, 8, 8)
    expected = model(value)
    for _, piece in pieces:
        value = piece(value)
    assert torch.equal(value, expected)
    held = {name: tensor for each in pieces for name, tensor in chain.names(*each)}
    state = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith("auxiliary.")  # which forward does not run
    }
    assert {name: held[name].data_ptr() for name in state} == {
        name: tensor.data_ptr() for name, tensor in state.items()
    }


def _first(chain: Chain, names: list[str]) -> list[str]:
    return [
        next((link.names[0] for link in chain.links if name in link.names), name) for name in names
    ]


def test_a_module_that_writes_into_what_it_gets_is_not_parted_from_it() -> None:
    class Writing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.act, self.two = nn.Linear(64, 8), nn.ReLU(inplace=True), nn.Linear(8, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.act(self.one(x.flatten(1))))  # type: ignore[no-any-return]

    links = chain_of(Writing(), SAMPLE).links
    assert [link.names for link in links] == [("one", "act"), ("two",)]


def test_what_is_no_tensor_does_not_travel() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three = nn.Linear(64, 8), nn.Linear(8, 8), nn.Linear(8, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x.flatten(1))
            largest = x.argmax(1, keepdim=True)  # whole numbers, which have no gradient
            x = self.two(x)
            return self.three(x.gather(1, largest) + x)  # type: ignore[no-any-return]

    assert [link.names for link in chain_of(Counting(), SAMPLE).links] == [("one", "two"),
                                                                          ("three",)]  # fmt: skip


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (
            lambda self, x: self.head(x.flatten(1) if x.sum() > 0 else -x.flatten(1)),
            "torch.fx can't trace it",
        ),
        (
            lambda self, x: functional.dropout(self.head(x.flatten(1)), 0.5, self.training),
            "its forward method asks whether it is training",
        ),
    ],
)
def test_what_can_not_be_cut_says_why(
    forward: Callable[[nn.Module, Tensor], Tensor], message: str
) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(64, 10)

    Model.forward = forward  # type: ignore[method-assign, assignment]
    with pytest.raises(TaskError, match=f"Model can't be cut into stages: {message}") as raised:
        chain_of(Model(), SAMPLE)
    assert "nn.Sequential" in raised.value.hint


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (("layer.1",), "the model can't be cut before 'layer.1', which pp_split names"),
        (("first",), "the model can't be cut before 'first', which pp_split names"),
        (("layers.1", "layers.2"), "pp_split names 2 cuts, and 2 stages have 1"),
    ],
)
def test_cuts_that_are_named_wrong(split: tuple[str, ...], message: str) -> None:
    model = Skipping()
    with pytest.raises(TaskError, match=re.escape(message)) as raised:
        pp.check(model, chain_of(model, SAMPLE), Widths(pp=2), Options(pp_split=split))
    assert "layers.1" in raised.value.hint or "makes 2 stages" in raised.value.hint


class Sharing(nn.Module):
    """Uses one weight twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(64, 64), nn.Linear(64, 64)
        self.three = nn.Linear(64, 64)
        self.weight = nn.Parameter(torch.rand(64))

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x.flatten(1)) * self.weight
        return self.three(self.two(x) * self.weight)  # type: ignore[no-any-return]


def test_a_weight_may_not_lie_in_two_stages() -> None:
    model = Sharing()
    chain = chain_of(model, SAMPLE)
    message = "'weight' would lie in two stages: one and two use it"
    with pytest.raises(TaskError, match=message) as raised:
        pp.check(model, chain, Widths(pp=2), Options(pp_split=("two",)))
    assert "pp_split" in raised.value.hint
    pp.check(model, chain, Widths(pp=2), Options(pp_split=("three",)))


def test_two_names_of_one_weight() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    model[3].weight = model[1].weight
    message = "'1.weight' and '3.weight', one weight, would lie in two stages: 1 and 3 use it"
    with pytest.raises(TaskError, match=message):
        pp.check(model, chain_of(model, SAMPLE), Widths(pp=2), Options(pp_split=("3",)))
