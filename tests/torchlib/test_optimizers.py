"""The fused optimizers beside PyTorch's own loops, and the schedules beside their formulas."""

from __future__ import annotations

import copy
import math
import subprocess
import sys

import pytest
import torch
from torch import nn
from training import make_model, series, train

from runner.errors import TaskError
from runner.torchlib.data import Dataset
from runner.torchlib.optimizers import make_optimizer
from runner.torchlib.precision import Precision
from runner.torchlib.schedules import make_schedule


def model_and_batches() -> tuple[nn.Module, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 4))
    return model, [torch.randn(5, 3, 6, 6, generator=generator) for _ in range(12)]


def run(model: nn.Module, optimizer: torch.optim.Optimizer, batches: list[torch.Tensor]) -> None:
    for batch in batches:
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_as_pytorchs_own_loop(name: str, weight_decay: float) -> None:
    model, batches = model_and_batches()
    reference = copy.deepcopy(model)
    ours = make_optimizer(
        model.parameters(),
        name=name,  # type: ignore[arg-type]
        learning_rate=0.01,
        weight_decay=weight_decay,
        momentum=0.8,
        betas=(0.8, 0.95),
    )
    groups = [
        {"params": [p for p in reference.parameters() if p.ndim >= 2]},
        {"params": [p for p in reference.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    theirs: torch.optim.Optimizer
    if name == "sgd":
        theirs = torch.optim.SGD(groups, lr=0.01, momentum=0.8, weight_decay=weight_decay)
    else:
        make = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
        theirs = make(groups, lr=0.01, betas=(0.8, 0.95), weight_decay=weight_decay)
    run(model, ours, batches)
    run(reference, theirs, batches)
    for one, two in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_grad_scaler_changes_nothing(name: str) -> None:
    model, batches = model_and_batches()
    reference = copy.deepcopy(model)
    scaled, plain = (
        make_optimizer(each.parameters(), name=name)  # type: ignore[arg-type]
        for each in (model, reference)
    )
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    for batch in batches:
        scaled.zero_grad()
        scaler.scale(model(batch).square().mean()).backward()
        scaler.step(scaled)
        scaler.update()
    run(reference, plain, batches)
    for one, two in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "adafactor", "muon"])
def test_a_step_that_overflowed_is_left_out(name: str) -> None:
    """As if its batch had not been: weights, moments, and the number of steps in them."""
    model, batches = model_and_batches()
    reference = copy.deepcopy(model)
    made, plain = (
        make_optimizer(each.parameters(), name=name, learning_rate=1e-2)  # type: ignore[arg-type]
        for each in (model, reference)
    )
    precision = Precision("fp16-mixed", "cpu")
    assert precision.scaler is not None
    for index, batch in enumerate(batches):
        loss = model(batch).square().mean() * (math.inf if index in (0, 5) else 1.0)
        made.zero_grad()
        precision.scale(loss).backward()  # type: ignore[no-untyped-call]
        precision.scaler.unscale_(made)
        precision.step(made)
    assert precision.skipped_steps == precision.state()["skipped_steps"] == 2
    run(reference, plain, [batch for index, batch in enumerate(batches) if index not in (0, 5)])
    for one, two in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_fused_step_under_a_scaler_asks_the_device_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batches = model_and_batches()
    optimizer = make_optimizer(model.parameters(), name=name)  # type: ignore[arg-type]
    precision = Precision("fp16-mixed", "cpu")
    assert precision.scaler is not None
    precision.scale(model(batches[0]).square().mean()).backward()  # type: ignore[no-untyped-call]

    def refuse(tensor: torch.Tensor) -> None:
        raise AssertionError("someone asked for a number")

    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "item", refuse)
        precision.scaler.unscale_(optimizer)
        precision.step(optimizer)
    assert precision.skipped_steps == 0


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adafactor_as_pytorchs_own(weight_decay: float) -> None:
    model, batches = model_and_batches()
    reference = copy.deepcopy(model)
    ours = make_optimizer(
        model.parameters(), name="adafactor", learning_rate=0.05, weight_decay=weight_decay
    )
    groups = [
        {"params": [p for p in reference.parameters() if p.ndim >= 2]},
        {"params": [p for p in reference.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    theirs = torch.optim.Adafactor(groups, lr=0.05, weight_decay=weight_decay)
    run(model, ours, batches)
    run(reference, theirs, batches)
    for one, two in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)


def test_sgd_without_momentum_is_gradient_descent() -> None:
    weight = nn.Parameter(torch.tensor([[1.0, 2.0]]))
    optimizer = make_optimizer([weight], name="sgd", learning_rate=0.5, momentum=0.0)
    weight.grad = torch.tensor([[0.2, -0.4]])
    optimizer.step()
    assert torch.allclose(weight, torch.tensor([[0.9, 2.2]]))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_parameter_without_gradient_is_left_alone(name: str) -> None:
    used, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = make_optimizer([used, unused], name=name, weight_decay=0.1)  # type: ignore[arg-type]
    for _ in range(2):
        used.grad = torch.ones(2, 2)
        optimizer.step()
    assert torch.equal(unused, torch.ones(2, 2)) and not torch.equal(used, torch.ones(2, 2))
    unused.grad = torch.ones(2, 2)
    optimizer.step()
    assert not torch.equal(unused, torch.ones(2, 2))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_state_goes_on_where_it_was_saved(name: str) -> None:
    model, batches = model_and_batches()
    optimizer = make_optimizer(model.parameters(), name=name)  # type: ignore[arg-type]
    run(model, optimizer, batches[:6])
    resumed = copy.deepcopy(model)
    second = make_optimizer(resumed.parameters(), name=name)  # type: ignore[arg-type]
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(model, optimizer, batches[6:])
    run(resumed, second, batches[6:])
    for one, two in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_state_restored_in_another_layout_still_belongs_to_its_weights(name: str) -> None:
    """PyTorch's fused kernels walk raw memory: unequal layouts pair weights with others' state."""
    model, batches = model_and_batches()
    optimizer = make_optimizer(model.parameters(), name=name)  # type: ignore[arg-type]
    run(model, optimizer, batches[:6])
    resumed = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    second = make_optimizer(resumed.parameters(), name=name)  # type: ignore[arg-type]
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(model, optimizer, batches[6:])
    run(resumed, second, [b.contiguous(memory_format=torch.channels_last) for b in batches[6:]])
    for one, two in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_no_second_is_spent_on_dynamo_nor_sympy() -> None:
    code = (
        "import sys, torch; from runner.torchlib.optimizers import make_optimizer\n"
        "import runner.torchlib.checkpoint, runner.torchlib.loop, runner.torchlib.measure\n"
        "layer = torch.nn.Linear(2, 2)\n"
        "for name in ('adamw', 'adam', 'sgd'):\n"
        "    optimizer = make_optimizer(layer.parameters(), name=name)\n"
        "    layer(torch.ones(1, 2)).sum().backward()\n"
        "    optimizer.step()\n"
        "heavy = {'torch._dynamo', 'sympy', 'torch.distributed.checkpoint', 'fsspec'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_nothing_to_train() -> None:
    layer = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(TaskError, match="no parameters to train"):
        make_optimizer(layer.parameters())


def rates(name: str, warmup: int, total: int) -> list[float]:
    optimizer = make_optimizer([nn.Parameter(torch.ones(1))], learning_rate=2.0)
    schedule = make_schedule(
        optimizer,
        name=name,  # type: ignore[arg-type]
        warmup_steps=warmup,
        total_steps=total,
    )
    seen = []
    for step in range(total):
        schedule.apply(step)
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def test_schedules() -> None:
    assert rates("constant", 0, 3) == [2.0, 2.0, 2.0]
    assert rates("constant", 2, 4) == [1.0, 2.0, 2.0, 2.0]
    assert rates("linear", 0, 4) == [2.0, 1.5, 1.0, 0.5]
    assert rates("linear", 1, 5) == [2.0, 2.0, 1.5, 1.0, 0.5]
    cosine = rates("cosine", 2, 6)
    expected = [1.0, 2.0, *(1 + math.cos(math.pi * done / 4) for done in range(4))]
    assert cosine == pytest.approx(expected)


def test_warmup_longer_than_the_training() -> None:
    with pytest.raises(TaskError, match="a warm-up of 9 steps does not fit into 5"):
        rates("linear", 9, 5)


def test_one_cycle_is_torchs() -> None:
    parameter = nn.Parameter(torch.zeros(2, 2))
    ours = make_schedule(make_optimizer([parameter], learning_rate=0.1), name="one-cycle",
                         total_steps=40)  # fmt: skip
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.1, total_steps=40, cycle_momentum=False
    )
    for step in range(40):
        assert 0.1 * ours.factor(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("name", ["adafactor", "muon"])
def test_other_optimizers_learn(digits: Dataset, name: str) -> None:
    model = make_model(digits, "vit", dim=16, depth=1, heads=2)
    before = {key: value.clone() for key, value in model.named_parameters()}
    events = train(model, digits, epochs=3, optimizer=name, learning_rate=3e-3, weight_decay=0.01)
    losses = [value for _, value in series(events, "train/loss")]
    assert losses[-1] < 0.7 * losses[0]
    assert all(not torch.equal(before[key], value) for key, value in model.named_parameters())


def test_muon_leaves_embeddings_and_vectors_to_adamw() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 8), nn.Conv1d(3, 2, 2))
    made = make_optimizer(model.parameters(), name="muon", embeddings=[model[0].weight])
    muon, adamw = made.parts  # type: ignore[attr-defined]
    assert [p is model[1].weight for g in muon.param_groups for p in g["params"]] == [True]
    assert sum(len(g["params"]) for g in adamw.param_groups) == 4
