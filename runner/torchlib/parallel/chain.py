"""A model as a chain of pieces, each of which takes what the one before it gives.

An nn.Sequential is one as it is. The forward method of any other model is traced by torch.fx, and
cut wherever nothing but tensors is under way: where a value is made before a cut and used behind
one that follows, the pieces between hand it on.
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx, nn

from runner.errors import TaskError
from runner.torchlib.blocks import Around, blocks

Named = tuple[str, nn.Module]

_SHAPE_METHODS = {"size", "dim", "numel"}
_SHAPE_ATTRIBUTES = {"shape", "ndim"}
_SEQUENTIAL = "return an nn.Sequential of the model's parts from the factory"


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A place where a traced model can be cut: before a node, which begins the modules named."""

    node: int
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """How a model is taken apart: at ``links`` of its graph, or as the Sequential that it is.

    ``leaves`` are the modules that the graph calls as they are; ``sizes`` what its nodes gave that
    is no tensor, but follows from the shape of a micro-batch, by their place.
    """

    links: tuple[Link, ...] = ()
    leaves: frozenset[str] = frozenset()
    sizes: dict[int, Any] = field(default_factory=dict)

    def pieces(self, model: nn.Module) -> list[Named]:
        """The pieces in order, each by a name that it begins with; they share the model's tensors.

        Their state has the model's own names, below the piece's where it is of a Sequential.
        """
        if not self.links:
            return _sequence(model)
        graph = _trace(model, self.leaves)
        ends = [*(link.node for link in self.links), len(graph.nodes) - 1]
        return [
            (link.names[0], _piece(model, graph, start, end, self.sizes))
            for link, (start, end) in zip(self.links, pairwise(ends), strict=True)
        ]

    def find(self, name: str, pieces: list[Named]) -> int | None:
        """Which piece begins with the module of that name."""
        if not self.links:
            names = [each for each, _ in pieces]
            return names.index(name) if name in names else None
        return next((i for i, link in enumerate(self.links) if name in link.names), None)

    def names(self, name: str, piece: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """The piece's tensors by the names that the model's state has for them."""
        yield from ((self.name(name, key), value) for key, value in piece.state_dict().items())

    def name(self, piece: str, key: str) -> str:
        """The model's own name of what is called ``key`` in a piece."""
        return key if self.links else f"{piece}.{key}"

    def share(self, model: nn.Module, piece: nn.Module) -> None:
        """Gives the model the parameters that the piece has by now: a strategy may replace them.

        Those of modules that both hold are the same anyway.
        """
        if not self.links:
            return
        for name, parameter in piece.named_parameters():
            path, _, own = name.rpartition(".")
            setattr(model.get_submodule(path), own, parameter)


def chain_of(model: nn.Module, sample: Tensor) -> Chain:
    """How the model can be taken apart. ``sample`` is a micro-batch of its inputs, on its device.

    Raises TaskError if it can't be.
    """
    if isinstance(model, nn.Sequential) and type(model).forward is nn.Sequential.forward:
        return Chain()
    leaves = _leaves(model)
    graph = _trace(model, leaves)
    values = _values(model, graph, sample)
    nodes = list(graph.nodes)
    sizes = {i: values[node] for i, node in enumerate(nodes) if _is_size(node, values)}
    return Chain(links=tuple(_links(nodes, values, sizes)), leaves=leaves, sizes=sizes)


def _sequence(model: nn.Module) -> list[Named]:
    """What a Sequential and the Sequentials inside it run, in order."""
    found: list[Named] = []
    for name, child in model.named_children():
        if type(child) is nn.Sequential:
            found += [(f"{name}.{inner}", piece) for inner, piece in _sequence(child)]
        else:
            found.append((name, child))
    return found


class _Tracer(fx.Tracer):
    """Calls the leaves and torch.nn's own modules, and looks into all others."""

    def __init__(self, leaves: frozenset[str]) -> None:
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.leaves or super().is_leaf_module(
            m, module_qualified_name
        )


def _trace(model: nn.Module, leaves: frozenset[str]) -> fx.Graph:
    return _Tracer(leaves).trace(model)


def _leaves(model: nn.Module) -> frozenset[str]:
    """The modules to leave whole: the blocks that repeat, and what torch.fx can't look into."""
    if isinstance(model, Around):
        raise TaskError("a model that is trained with what stands around it can't be cut")
    whole = set(map(id, blocks(model)))
    leaves = frozenset(name for name, module in model.named_modules() if id(module) in whole)
    while True:
        tracer = _Tracer(leaves)
        try:
            graph = tracer.trace(model)
        except Exception as error:  # whatever the model's own code raises of a value not known yet
            inside = [path for path, _ in tracer.module_stack.values()]
            if not inside or inside[-1] in leaves:
                raise _cannot(model, f"torch.fx can't trace it: {error}") from error
            leaves |= {inside[-1]}
            continue
        _check_mode(model, graph, leaves)
        return leaves


def _check_mode(model: nn.Module, graph: fx.Graph, leaves: frozenset[str]) -> None:
    """Raises TaskError if what the forward method runs depends on whether it is trained."""
    was_training = model.training
    model.train(not was_training)
    try:
        other = _trace(model, leaves)
    finally:
        model.train(was_training)
    if str(graph) != str(other):
        raise _cannot(model, "its forward method asks whether it is training",
                      hint=f"take modules such as nn.Dropout in place of functions; or "
                      f"{_SEQUENTIAL}")  # fmt: skip


def _cannot(model: nn.Module, why: str, hint: str = _SEQUENTIAL) -> TaskError:
    return TaskError(f"{type(model).__name__} can't be cut into stages: {why}", hint=hint)


class _Noting(fx.Interpreter):
    """Runs a graph and keeps what each node gave."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)

    def noted(self, sample: Tensor) -> dict[fx.Node, Any]:
        self.run(sample)
        return dict(self.env)


def _values(model: nn.Module, graph: fx.Graph, sample: Tensor) -> dict[fx.Node, Any]:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return _Noting(fx.GraphModule(model, graph)).noted(sample)
    finally:
        model.train(was_training)


def _is_size(node: fx.Node, values: dict[fx.Node, Any]) -> bool:
    """Whether a node's value is a number, or several, that the shapes of tensors alone decide."""
    value = values.get(node)
    if not isinstance(value, int | tuple) or not all(
        isinstance(each, int) for each in (value if isinstance(value, tuple) else (value,))
    ):
        return False
    if node.op == "call_method" and node.target in _SHAPE_METHODS:
        return True
    if node.target is getattr:
        return node.args[1] in _SHAPE_ATTRIBUTES
    is_arithmetic = getattr(node.target, "__module__", "") in ("_operator", "builtins")
    return is_arithmetic and all(_is_size(each, values) for each in node.all_input_nodes)


def _links(
    nodes: list[fx.Node], values: dict[fx.Node, Any], sizes: dict[int, Any]
) -> Iterator[Link]:
    """The beginning, and every place further on where the model can be cut."""
    begun: set[str] = set()
    pending: list[str] = []
    first = next(i for i, node in enumerate(nodes) if node.op != "placeholder")
    start: int | None = first
    for index, node in enumerate(nodes):
        stack: OrderedDict[str, tuple[str, Any]] = node.meta.get("nn_module_stack", OrderedDict())
        new = [path for path, _ in stack.values() if path and path not in begun]
        begun.update(new)
        is_place = index > first and new and _is_open(nodes, index, values, sizes)
        if is_place and start is not None and pending:
            yield Link(node=start, names=tuple(pending))
            start, pending = index, []
        pending += new
    if start is not None and pending:
        yield Link(node=start, names=tuple(pending))


def _under_way(nodes: list[fx.Node], index: int, sizes: dict[int, Any]) -> list[fx.Node]:
    """What was made before a place, is used from there on, and does not follow from shapes."""
    later = set(nodes[index:])
    return [
        node
        for i, node in enumerate(nodes[:index])
        if i not in sizes and any(user in later for user in node.users) and node.op != "get_attr"
    ]


def _is_open(
    nodes: list[fx.Node], index: int, values: dict[fx.Node, Any], sizes: dict[int, Any]
) -> bool:
    """Whether what is under way can travel: tensors with gradients that nothing writes into."""
    later = set(nodes[index:])
    return all(
        isinstance(values[node], Tensor)
        and values[node].is_floating_point()
        and not any(_writes(user, node) for user in node.users if user in later)
        for node in _under_way(nodes, index, sizes)
    )


def _writes(user: fx.Node, node: fx.Node) -> bool:
    """Whether an operation may change what it is given."""
    if user.op == "call_module":
        module = user.graph.owning_module
        assert module is not None
        return bool(getattr(module.get_submodule(str(user.target)), "inplace", False))
    if user.op == "call_method":
        name = str(user.target)
        return name.endswith("_") and not name.endswith("__") and user.args[0] is node
    if user.op == "call_function":
        name = getattr(user.target, "__name__", "")
        is_operator = getattr(user.target, "__module__", "") == "_operator"
        is_in_place = name.endswith("_") or (is_operator and name.startswith("i") and
                                             hasattr(operator, f"__{name}__"))  # fmt: skip
        return bool(user.kwargs.get("inplace")) or (is_in_place and user.args[0] is node)
    return False


def _piece(
    model: nn.Module, graph: fx.Graph, start: int, end: int, sizes: dict[int, Any]
) -> nn.Module:
    """The nodes from one place to the next, as a module of a tensor or a tuple of them."""
    nodes = list(graph.nodes)
    is_first = all(node.op == "placeholder" for node in nodes[:start])
    given = nodes[:start] if is_first else _under_way(nodes, start, sizes)
    piece = fx.Graph()
    values: dict[fx.Node, Any] = {nodes[i]: size for i, size in sizes.items() if i < start}
    given_values = piece.placeholder("values")
    if len(given) == 1:
        values[given[0]] = given_values
    else:
        for index, node in enumerate(given):
            values[node] = piece.call_function(operator.getitem, (given_values, index))
    for node in nodes[:start]:  # weights that the forward method itself takes
        if node.op == "get_attr":
            values[node] = piece.node_copy(node)
    for node in nodes[start:end]:
        values[node] = piece.node_copy(node, lambda each: values[each])
    last = nodes[-1]
    if end == len(nodes) - 1:
        result = fx.map_arg(last.args[0], lambda each: values[each])
    else:
        made = tuple(values[node] for node in _under_way(nodes, end, sizes))
        result = made[0] if len(made) == 1 else made
    piece.output(result)
    piece.eliminate_dead_code(lambda node: node.op != "get_attr")
    return fx.GraphModule(model, piece)
