"""The platforms that come with runner, and those that a user describes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from runner.builtin import PlatformName
from runner.edge.platforms import OWN, Figure, Platform, Rate, platforms
from runner.errors import SpecError
from runner.spec.platforms import read

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PHOTONIC = """\
platforms:
  photon-1:
    title: A photonic mesh that nobody has built
    device: npu
    status: imagined
    memory_gb: 2
    memory_gb_per_s: {value: 1000, source: our own simulation}
    on_chip_mb: 64
    watts: 3
    tops: {int8: {value: 400, source: our own simulation}, int4: 800}
    formats: [onnx]
    precision: int8
    scheme: int8-static
    constraints: {static_shapes: true, batch_size: 1}
"""


def faults(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(text.encode(), file="mine.yaml")
    return [str(fault) for fault in caught.value.faults]


def test_what_a_spec_may_name_is_what_there_is() -> None:
    assert get_args(PlatformName) == tuple(platforms())


def test_the_file_that_comes_along_reads_as_a_users_own_does() -> None:
    assert read(OWN.read_bytes(), file="platforms.yaml") == platforms()


@pytest.mark.parametrize("name", platforms())
def test_each_can_be_estimated_and_says_who_says_so(name: str) -> None:
    platform = platforms()[name]
    assert platform.tops
    if platform.compiler is not None:
        assert platform.constraints.static_shapes  # so that no command has to say a shape
    if platform.precision is not None:
        assert platform.precision in platform.tops
    for figure in platform.figures().values():
        assert figure.source is None or len(figure.source) > 10
    # What nobody vouches for is so in the guesses at what people have, which say that they are.
    if not any(figure.is_verified for figure in platform.figures().values()):
        assert any("guess" in note for note in platform.notes)


def test_a_figure_is_a_number_or_says_where_it_is_from() -> None:
    platform = read(PHOTONIC.encode(), file="mine.yaml")["photon-1"]
    assert platform.watts == Figure(value=3.0, source=None)
    assert not platform.watts.is_verified
    assert platform.tops["int8"] == Rate(value=400.0, source="our own simulation")
    assert platform.tops["int8"].is_verified
    assert set(platform.figures()) == {
        "memory_gb", "memory_gb_per_s", "on_chip_mb", "watts", "tops.int8", "tops.int4",
    }  # fmt: skip


def test_of_sparse_operations_half_are_dense() -> None:
    assert Rate(value=67.0, sparse=True).dense == 33.5
    assert Rate(value=67.0).dense == 67.0


def test_every_fault_of_a_users_file_is_named_at_once_with_its_place() -> None:
    found = faults("""\
platforms:
  photon:
    title: A photonic mesh
    device: photonic
    status: imagined
    memory_gb: lots
    watts: {value: -1, sorce: me}
    tops: {int9: 100, int8: {value: 1000, sparse: yes}}
    formats: []
    compiler: {name: x, commands: ["go {model}"], makes: "{stem}.p", runs_on: paper}
  Chip let: {title: c, device: npu, status: imagined, tops: {int8: 3}, formats: [tflite]}
""")
    for place, words in (
        ("4:13", 'device is "photonic"; expected one of cpu, gpu, npu'),
        ("6:16", "memory_gb: expected a number, or a map such as {value: 4, source:"),
        ("7:20", "expected more than 0"),
        ("7:24", "unknown key 'sorce'; did you mean 'source'?"),
        ("8:18", "did you mean 'int8'?"),
        ("8:51", "expected true or false"),
        ("9:14", "formats is empty"),
        ("10:5", "'go {model}' has a place in braces other than {file} and {stem}"),
        ("11:3", "the name 'Chip let'"),
        ("11:82", "expected one of onnx, openvino, litert, executorch"),
    ):
        assert any(each.startswith(f"mine.yaml:{place}: ") and words in each for each in found), (
            place, found,
        )  # fmt: skip
    assert len(found) == 10


@pytest.mark.parametrize(
    ("instead", "words"),
    [
        ("precision: fp16\n    scheme: int8-static", "scheme int8-static makes int8"),
        ("scheme: int8-static", "'scheme' goes with 'precision'"),
        ("constraints: {full_integer: true}", "full_integer is what scheme: int8-static makes"),
    ],
)
def test_what_does_not_go_together_is_told(instead: str, words: str) -> None:
    head = PHOTONIC.partition("    precision: int8")[0]
    assert any(words in each for each in faults(f"{head}    {instead}\n"))


@pytest.mark.parametrize("text", ["", "- coral\n", "coral\n", "chips: {}\n", "platforms: {}\n"])
def test_a_file_without_platforms_says_what_is_expected(text: str) -> None:
    assert any("platforms" in each for each in faults(text))


def test_the_readmes_platform_is_one() -> None:
    (shown,) = [
        block.partition("```")[0]
        for block in README.split("```yaml\n")[1:]
        if block.startswith("platforms:\n")
    ]
    found = read(shown.encode(), file="README.md")["photonic-1"]
    assert found.tops["int8"].is_verified and not found.watts.is_verified  # type: ignore[union-attr]


def test_a_platform_travels_as_json() -> None:
    for platform in platforms().values():
        data: Mapping[str, Any] = json.loads(platform.model_dump_json())
        assert Platform.model_validate_json(json.dumps(data)) == platform
