"""Which layers go back to float: the fewest that suffice, after few measurements."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest

from runner.kinds.backing_off import MOST_GROUPS, back_off, grouped
from runner.model import Progress


class Model:
    """Layers of which some spoil the answers, each by so much, while they are quantized."""

    def __init__(self, spoilt: dict[str, float], layers: int = 16) -> None:
        self.layers = [f"layer{index}" for index in range(layers)]
        self.spoilt = spoilt
        self.measured = 0
        self.told: list[Progress] = []

    def damage(self, group: tuple[str, ...]) -> float:
        self.measured += 1
        return sum(self.spoilt.get(name, 0.001) for name in group)

    def is_enough(self, floats: tuple[str, ...]) -> bool:
        self.measured += 1
        return sum(value for name, value in self.spoilt.items() if name not in floats) < 1.0

    def back_off(self, **limits: Any) -> tuple[str, ...] | None:
        looking = back_off(self.layers, damage=self.damage, is_enough=self.is_enough, **limits)
        while True:
            try:
                self.told.append(next(looking))
            except StopIteration as end:
                return cast("tuple[str, ...] | None", end.value)


@pytest.mark.parametrize(
    ("spoilt", "expected"),
    [
        ({"layer3": 5.0}, {"layer3"}),
        ({"layer3": 5.0, "layer9": 2.0, "layer1": 0.4}, {"layer3", "layer9"}),
        ({f"layer{index}": 2.0 for index in range(2, 9)}, {f"layer{i}" for i in range(2, 9)}),
    ],
)
def test_the_most_sensitive_layers_go_first_and_no_more_than_it_takes(
    spoilt: dict[str, float], expected: set[str]
) -> None:
    model = Model(spoilt)
    found = model.back_off()
    assert found is not None
    assert set(found) == expected
    assert list(found) == [name for name in model.layers if name in expected]
    assert model.measured <= 16 + 2 * math.log2(16)


def test_nothing_is_left_where_all_layers_would_have_to_be_in_float() -> None:
    assert Model({f"layer{index}": 2.0 for index in range(16)}).back_off() is None
    assert Model({"layer0": 2.0}, layers=1).back_off() is None


def test_a_deep_model_is_measured_in_groups_of_neighbours_and_then_these_one_by_one() -> None:
    model = Model({"layer100": 5.0}, layers=240)
    assert model.back_off() == ("layer100",)
    assert model.measured <= MOST_GROUPS + 240 // MOST_GROUPS + 2


def test_a_group_that_is_needed_as_a_whole_stays_whole() -> None:
    model = Model({f"layer{index}": 2.0 for index in range(10, 20)}, layers=240)
    assert set(model.back_off() or ()) == {f"layer{index}" for index in range(10, 20)}


def test_no_more_than_a_share_of_the_groups_goes_back_but_one_at_least() -> None:
    spoilt = {"layer0": 5.0, "layer30": 4.0, "layer60": 3.0}
    found = Model(spoilt, layers=80).back_off(most_groups=8, most_share=0.4)
    assert found == tuple(spoilt)
    model = Model(spoilt, layers=80)
    assert model.back_off(most_groups=8, most_share=0.3) is None
    assert model.measured == 8 + 2  # no layer of theirs is looked at alone
    one = Model({"layer0": 5.0}, layers=80)
    assert one.back_off(most_groups=8, most_share=0.01) == ("layer0",)


def test_groups_of_many_layers_stay_whole_where_few_may_be_looked_at_alone() -> None:
    spoilt = {"layer0": 5.0, "layer30": 4.0}
    model = Model(spoilt, layers=80)
    found = model.back_off(most_groups=8, most_alone=16)
    assert found == (*(f"layer{i}" for i in range(10)), *(f"layer{i}" for i in range(30, 40)))
    assert model.measured == 8 + 2
    assert Model({"layer0": 5.0}, layers=80).back_off(most_groups=8, most_alone=16) == ("layer0",)


def test_it_tells_how_far_it_is() -> None:
    model = Model({"layer0": 5.0}, layers=16)
    model.back_off(most_groups=8)
    told = [(each.step, each.total_steps) for each in model.told]
    assert told == [*((step, 8) for step in range(8)), (0, 2), (1, 2)]


def test_groups_hold_every_layer_once() -> None:
    layers = [f"{index}" for index in range(25)]
    groups = grouped(layers, 4)
    assert [name for group in groups for name in group] == layers
    assert {len(group) for group in groups} <= {6, 7}
    assert grouped([], 4) == []
    assert grouped(["one"], 4) == [("one",)]
