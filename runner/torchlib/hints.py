"""Layers of a student that are to give what layers of its teacher give, or look where they look.

Features: Romero et al. 2015, "FitNets". Attention: Zagoruyko and Komodakis 2017, "Paying more
attention to attention".
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from runner.errors import TaskError
from runner.torchlib.batches import derive_seed
from runner.torchlib.blocks import Around

_SHOWN = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two layers by their modules' names, and the weight of what they differ by."""

    student: str
    teacher: str
    by: Literal["features", "attention"] = "features"
    weight: float = 1.0


class Watched(Around):
    """A student together with what its layers are compared through, which it is trained with.

    After a forward pass in training mode, ``seen`` is what its layers gave, one tensor a pair, with
    a width as the teacher's. Give its ``model`` away afterwards: the projections are of no more
    use.
    """

    def __init__(
        self, model: nn.Module, names: Sequence[str], projections: Sequence[nn.Module]
    ) -> None:
        super().__init__(model)
        self.projections = nn.ModuleList(projections)
        self._layers = _Layers(model, names, "student")
        self.seen: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        """The model's logits."""
        logits: Tensor = self.model(inputs)
        outputs = self._layers.take()
        if not self.training:
            return logits
        self.seen = [
            projection(output) for projection, output in zip(self.projections, outputs, strict=True)
        ]
        # Of a gang every rank must have a gradient for each projection, of zero where it has no
        # samples of its own.
        for each in self.seen:
            logits = logits + 0.0 * each.flatten()[0]
        return logits


@dataclass(frozen=True, kw_only=True, eq=False)
class Hints:
    """The losses of pairs of layers, for the student ``watched`` and its ``teacher``."""

    pairs: Sequence[Pair]
    watched: Watched
    teacher: nn.Module
    layers: _Layers

    def answers(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The teacher's logits, and what its layers gave."""
        with torch.no_grad():
            logits: Tensor = self.teacher(inputs)
        return logits, self.layers.take()

    def loss(self, theirs: Sequence[Tensor], samples: int) -> Tensor:
        """The weighted sum over pairs and the first ``samples`` samples.

        Of a sample it is a mean over what its layer gives, so that weights don't depend on sizes.
        """
        # What is last seen comes from the forward pass that this is the loss of.
        ours, self.watched.seen = self.watched.seen, []
        total = torch.zeros((), device=theirs[0].device)
        for pair, student, teacher in zip(self.pairs, ours, theirs, strict=True):
            function = feature_loss if pair.by == "features" else attention_loss
            part = function(student[:samples].float(), teacher[:samples].float())
            total = total + pair.weight * part
        return total


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the squared difference, a mean over the values of each sample, summed over samples.

    Romero et al. 2015, equation 3, by value instead of in sum. Both are (samples, width), (samples,
    tokens, width) or (samples, channels, height, width); larger maps are averaged to the smaller.
    """
    student, teacher = alike(student, teacher)
    return 0.5 * (student - teacher).square().flatten(1).mean(1).sum()


def attention_map(output: Tensor) -> Tensor:
    """Where a layer looks: the sum of squares over channels, or over a token's values.

    Zagoruyko and Komodakis 2017, section 3.1, F with p = 2. (samples, channels, height, width)
    give (samples, 1, height, width), (samples, tokens, width) give (samples, tokens).
    """
    squares = output.square()
    return squares.sum(1, keepdim=True) if output.ndim == 4 else squares.sum(2)


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the squared distance of attention maps of length one, summed over samples.

    Zagoruyko and Komodakis 2017, equation 2, with the square of the norm, as in its authors' code.
    Larger maps are averaged to the smaller.
    """
    maps = alike(attention_map(student), attention_map(teacher))
    ours, theirs = (functional.normalize(each.flatten(1), dim=1) for each in maps)
    return 0.5 * (ours - theirs).square().sum()


def alike(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both with as many pixels: the larger of two maps is averaged to the other's size."""
    if student.ndim != 4 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    height, width = (min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:], strict=True))
    pooled = [functional.adaptive_avg_pool2d(each, (height, width)) for each in (student, teacher)]
    return pooled[0], pooled[1]


def watch(
    student: nn.Module, teacher: nn.Module, pairs: Sequence[Pair], inputs: Tensor, *, seed: int
) -> Hints:
    """The student with projections to the teacher's widths, and the losses of the pairs.

    ``inputs`` are a few samples to learn shapes from; both models are on the CPU. A projection is a
    linear map of channels (a 1x1 convolution) or of a token's values, made where widths differ,
    from ``seed``. Raises TaskError if a model has no such layer, or two can't be compared.
    """
    ours, theirs = (
        _outputs(model, [getattr(pair, whose) for pair in pairs], whose, inputs)
        for model, whose in ((student, "student"), (teacher, "teacher"))
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "projections") >> 1)
        projections = [
            _projection(pair, one, other)
            for pair, one, other in zip(pairs, ours, theirs, strict=True)
        ]
    return Hints(
        pairs=pairs,
        watched=Watched(student, [pair.student for pair in pairs], projections),
        teacher=teacher,
        layers=_Layers(teacher, [pair.teacher for pair in pairs], "teacher"),
    )


class _Layers:
    """What the layers of a model gave in its last forward pass."""

    def __init__(self, model: nn.Module, names: Sequence[str], whose: str) -> None:
        self._names, self._whose = names, whose
        self._given: dict[str, Tensor] = {}
        for name in dict.fromkeys(names):
            _find(model, name, whose).register_forward_hook(self._hook(name))

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                raise TaskError(
                    f"the {self._whose}'s layer {name} gives a {type(output).__name__}",
                    hint="name a layer that gives one tensor",
                )
            # A copy, as the next layer may work in place.
            self._given[name] = output.clone()

        return hook

    def take(self) -> list[Tensor]:
        """The outputs by the order of the names; they are then forgotten."""
        given, self._given = self._given, {}
        lacking = [name for name in self._names if name not in given]
        if lacking:
            raise TaskError(
                f"the {self._whose}'s layer {lacking[0]} took no part in its forward pass",
                hint="name a layer that does",
            )
        return [given[name] for name in self._names]


def _outputs(model: nn.Module, names: Sequence[str], whose: str, inputs: Tensor) -> list[Tensor]:
    """What layers give for a few samples. The model is left as it was."""
    found: dict[str, Any] = {}
    handles = [
        _find(model, name, whose).register_forward_hook(
            lambda module, given, output, name=name: found.update({name: output})
        )
        for name in dict.fromkeys(names)
    ]
    was_training = model.training
    model.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        model(inputs.long() if inputs.dtype == torch.uint8 else inputs)
    model.train(was_training)
    for handle in handles:
        handle.remove()
    for name in names:
        if not isinstance(found.get(name), Tensor):
            what = "nothing" if name not in found else f"a {type(found[name]).__name__}"
            raise TaskError(
                f"the {whose}'s layer {name} gives {what} in its forward pass",
                hint="name a layer that gives one tensor",
            )
    return [found[name] for name in names]


def _find(model: nn.Module, name: str, whose: str) -> nn.Module:
    modules: dict[str, nn.Module] = {key: each for key, each in model.named_modules() if key}
    if name in modules:
        return modules[name]
    near = difflib.get_close_matches(name, modules, n=3)
    known = [f"{key} ({type(module).__name__})" for key, module in modules.items()]
    raise TaskError(
        f"the {whose} has no layer '{name}'"
        + (f"; names near that: {', '.join(near)}" if near else ""),
        hint=f"it has {', '.join(known[:_SHOWN])}{', ...' if len(known) > _SHOWN else ''}",
    )


def _projection(pair: Pair, student: Tensor, teacher: Tensor) -> nn.Module:
    words = f"the student's {pair.student} gives {_shape(student)} for a sample, the teacher's "
    words += f"{pair.teacher} {_shape(teacher)}"
    if student.ndim != teacher.ndim or student.ndim not in (2, 3, 4):
        raise TaskError(
            f"{words}: these can't be compared",
            hint="pair maps (channels, height, width), tokens (tokens, width) or vectors with each "
            "other",
        )
    if student.ndim == 3 and student.shape[1] != teacher.shape[1]:
        raise TaskError(
            f"{words}: as many tokens are needed", hint="give both models the same patch"
        )
    if pair.by == "attention":
        if student.ndim == 2:
            raise TaskError(
                f"{words}: a vector has no places to look at",
                hint="name layers that give maps or tokens, or pair these by features",
            )
        return nn.Identity()
    axis = 1 if student.ndim == 4 else -1
    width, wanted = student.shape[axis], teacher.shape[axis]
    if width == wanted:
        return nn.Identity()
    return nn.Conv2d(width, wanted, 1) if student.ndim == 4 else _Linear(width, wanted)


class _Linear(nn.Linear):
    """A linear layer whose output is no view of another tensor, which FSDP warns of."""

    def forward(self, values: Tensor) -> Tensor:
        """(..., width) to (..., wanted)."""
        return values @ self.weight.T + self.bias


def _shape(output: Tensor) -> str:
    return "x".join(str(size) for size in output.shape[1:])
