"""Energy by a processor's own counters, here by files as Linux has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.data import energy


def package(root: Path, number: int, *, name: str, counted: int) -> Path:
    zone = root / f"intel-rapl:{number}"
    zone.mkdir()
    (zone / "name").write_text(f"{name}\n")
    (zone / "energy_uj").write_text(f"{counted}\n")
    (zone / "max_energy_range_uj").write_text("1000000000\n")
    return zone / "energy_uj"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(energy, "ROOT", tmp_path)
    return tmp_path


def test_what_all_packages_count_is_shared_by_the_calls(root: Path) -> None:
    one = package(root, 0, name="package-0", counted=999_000_000)
    other = package(root, 1, name="package-1", counted=5)
    package(root, 2, name="psys", counted=77)  # the whole machine, of which these are a part
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        full = 999_000_000 + calls * 500_000
        one.write_text(str(full if full < 1_000_000_000 else full - 1_000_000_000))
        other.write_text(str(5 + calls * 250_000))

    assert energy.joules_a_call(call, 0.25) == pytest.approx(0.75)  # over the counter's end, too
    assert calls == 4


def test_without_counters_nothing_is_called_and_nothing_claimed(root: Path) -> None:
    def call() -> None:
        raise AssertionError

    assert energy.joules_a_call(call, 0.25) is None
    package(root, 0, name="package-0", counted=1).unlink()  # as one that may not be read
    assert energy.joules_a_call(call, 0.25) is None
