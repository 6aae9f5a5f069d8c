"""Names that come near: by case, by what other tools say, by letters; and names that do not."""

from __future__ import annotations

import pytest

from runner.accelerators import FAMILIES
from runner.cli import COMMANDS
from runner.kinds import KINDS
from runner.kinds.distill import DistillParams
from runner.kinds.stepping import OptimizerParams
from runner.spec.resources import TYPES
from runner.spec.shape import ResourcesSpec
from runner.spec.suggest import SYNONYMS, did_you_mean, nearest

DEVICES = [*FAMILIES, "cpu", *TYPES]


@pytest.mark.parametrize(
    ("wrong", "known", "meant"),
    [
        ("MLP", ["mlp", "mlp2"], "mlp"),
        ("GPU", DEVICES, "gpu"),
        ("gpus", DEVICES, "gpu"),
        ("cuda", DEVICES, "gpu"),
        ("h1000", DEVICES, "H100"),
        ("a100-80", DEVICES, "A100-80G"),
        ("mi300x", DEVICES, "AMD-Instinct-MI300X-OAM"),
        ("gpus", ResourcesSpec.model_fields, "accelerators"),
        ("mem", ResourcesSpec.model_fields, "memory"),
        ("nproc_per_node", ResourcesSpec.model_fields, "num_workers"),
        ("nnodes", ResourcesSpec.model_fields, "num_nodes"),
        ("lr", OptimizerParams.model_fields, "learning_rate"),
        ("wd", OptimizerParams.model_fields, "weight_decay"),
        ("epochs", DistillParams.model_fields, "max_epochs"),
        ("batch_size", DistillParams.model_fields, "global_batch_size"),
        ("mixed_precision", DistillParams.model_fields, "precision"),
        ("temp", DistillParams.model_fields, "temperature"),
        ("mpl", ["mlp", "gpt"], "mlp"),
        ("distillation", KINDS, "distill"),
        ("eval", KINDS, "evaluate"),
        ("vaildate", COMMANDS, "validate"),
        ("log", COMMANDS, "logs"),
    ],
)
def test_what_was_meant(wrong: str, known: list[str], meant: str) -> None:
    assert nearest(wrong, known) == meant
    assert did_you_mean(wrong, known) == f"; did you mean '{meant}'?"


@pytest.mark.parametrize("wrong", ["bogus", "ls", "st", "train", "", "x" * 200])
def test_what_is_near_no_command(wrong: str) -> None:
    assert nearest(wrong, COMMANDS) is None
    assert did_you_mean(wrong, COMMANDS) == ""


def test_where_nothing_is_near_a_short_list_is_told() -> None:
    assert did_you_mean("x", ["one", "two"]) == "; expected one of one, two"
    assert did_you_mean("x", [f"name{i}" for i in range(13)]) == ""
    assert did_you_mean("x", []) == ""


def test_no_right_name_is_taken_for_another_tools() -> None:
    for name, meant in SYNONYMS.items():
        assert nearest(name, [*meant, name]) == name
        assert nearest(name, meant) == meant[0]
