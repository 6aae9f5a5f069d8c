"""The calls that need a TPU, which no test has: their order, how often, and that they are undone.

The fake stands for TensorFlow's own functions, the one edge that nobody here owns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from runner.tflib.strategy import Decision, running
from runner.tflib.tpu import Tpu, TpuAddress


class FakeEdge:
    """Notes what is called; ``fails`` names the call that raises."""

    def __init__(self, fails: str = "") -> None:
        self.calls: list[str] = []
        self.fails = fails

    def _note(self, name: str, *about: Any) -> None:
        self.calls.append(" ".join([name, *map(str, about)]))
        if name == self.fails:
            raise OSError(f"{name} does not work")

    def resolve(self, address: TpuAddress) -> str:
        self._note("resolve", address.name)
        return "resolver"

    def connect(self, resolver: Any) -> None:
        self._note("connect", resolver)

    def initialise(self, resolver: Any) -> None:
        self._note("initialise", resolver)

    def strategy(self, resolver: Any) -> str:
        self._note("strategy", resolver)
        return "TPUStrategy"

    def cores(self, resolver: Any) -> int:
        self._note("cores", resolver)
        return 8

    def shut_down(self, resolver: Any) -> None:
        self._note("shut_down", resolver)


ON_TPU = Decision(strategy="tpu", replicas=8, reason="")
WHOLE = ["resolve local", "initialise resolver", "strategy resolver", "shut_down resolver"]


def test_a_local_tpu_is_initialised_before_its_strategy_and_not_connected_to() -> None:
    edge = FakeEdge()
    with running(ON_TPU, edge=edge) as strategy:
        assert strategy == "TPUStrategy"
        assert edge.calls == WHOLE[:-1]
    assert edge.calls == WHOLE


def test_a_tpu_elsewhere_is_connected_to_before_it_is_initialised() -> None:
    edge = FakeEdge()
    address = TpuAddress(name="grpc://10.0.0.2:8470")
    with running(ON_TPU, address=address, edge=edge):
        assert edge.calls == [
            "resolve grpc://10.0.0.2:8470",
            "connect resolver",
            "initialise resolver",
            "strategy resolver",
        ]


@pytest.mark.parametrize("left_by", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_it_is_shut_down_whatever_ends_the_task(left_by: type[BaseException]) -> None:
    edge = FakeEdge()
    with pytest.raises(left_by), running(ON_TPU, edge=edge):
        raise left_by
    assert edge.calls == WHOLE


def test_it_is_shut_down_when_the_attempt_is_cancelled_between_two_records() -> None:
    edge = FakeEdge()

    def run() -> Iterator[int]:
        with running(ON_TPU, edge=edge):
            yield 1
            yield 2

    attempt = run()
    next(attempt)
    attempt.close()  # type: ignore[attr-defined]
    assert edge.calls == WHOLE


def test_what_was_not_initialised_is_not_shut_down() -> None:
    edge = FakeEdge(fails="initialise")
    with pytest.raises(OSError, match="initialise does not work"), running(ON_TPU, edge=edge):
        pytest.fail("it was entered")
    assert edge.calls == WHOLE[:2]


def test_what_fails_after_initialisation_is_shut_down() -> None:
    edge = FakeEdge(fails="strategy")
    with pytest.raises(OSError), running(ON_TPU, edge=edge):
        pytest.fail("it was entered")
    assert edge.calls == WHOLE


def test_it_is_initialised_once_and_never_again_when_it_is_over() -> None:
    edge = FakeEdge()
    tpu = Tpu(TpuAddress(), edge)
    tpu.start()
    tpu.strategy()
    assert tpu.cores() == 8
    assert [call for call in edge.calls if call.startswith("initialise")] == ["initialise resolver"]
    tpu.stop()
    tpu.stop()
    assert [call for call in edge.calls if call.startswith("shut_down")] == ["shut_down resolver"]
    with pytest.raises(RuntimeError, match="once in a process"):
        tpu.start()
