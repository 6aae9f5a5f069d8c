"""What a spec's target asks of a file, whether a file is that, and the folder for its compiler."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from runner.edge.platforms import platforms
from runner.edge.targets import (
    Operator,
    check_operators,
    commands,
    conflicts,
    find,
    lacking,
    lay_out,
    requirements,
    taken,
)
from runner.errors import TaskError, UsageError

CORAL = find("coral")


def test_coral_takes_integers_of_fixed_shape_in_litert() -> None:
    asked = requirements(CORAL)
    assert (asked.format, asked.precision, asked.scheme) == ("litert", "int8", "int8-static")
    rules = asked.constraints
    assert (rules.full_integer, rules.static_shapes, rules.batch_size) == (True, True, 1)
    assert rules.io == ["int8", "uint8"]


def test_only_what_is_of_integers_alone_takes_no_floats() -> None:
    assert [name for name in platforms() if not find(name).takes_floats] == [
        "coral", "coral-dev-board",
    ]  # fmt: skip


def test_what_is_taken_is_said_in_lines() -> None:
    assert taken(CORAL)[:5] == [
        "format: litert",
        "numbers: int8, quantized int8-static",
        "integers only: no tensor is a float",
        "inputs and outputs: int8 or uint8",
        "fixed shapes, a batch of 1",
    ]
    assert "numbers: floats, of which its compiler makes fp16" in taken(find("myriad-x"))
    assert taken(find("jetson-orin-nx"))[1:] == [
        "numbers: int8, quantized int8-static; floats will do, but not as well",
        "fixed shapes",
        "activations quantized symmetric",
        "ONNX opset 17 or older",
    ]


def test_an_unknown_platform_is_told_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no platform is called 'corral'") as caught:
        find("corral")
    assert "coral" in caught.value.hint and "raspberry-pi-5" in caught.value.hint


@pytest.mark.parametrize(
    ("target", "asked", "words"),
    [
        ("coral", {"formats": ["onnx"]}, "takes no onnx; expected litert"),
        ("coral", {"scheme": "int8-dynamic"}, "takes no int8-dynamic; expected int8-static"),
        ("coral", {"is_dynamic": True}, "fixed shapes only"),
        ("coral", {"batch_size": 8}, "expected batch_size: 1"),
        (
            "myriad-x",
            {"scheme": "int8-static"},
            "no quantization, as its compiler makes fp16 of floats",
        ),
        ("raspberry-pi-5", {"formats": ["litert", "aotinductor"]}, "takes no aotinductor"),
    ],
)
def test_what_a_platform_does_not_take_is_told_with_what_it_does(
    target: str, asked: dict[str, object], words: str
) -> None:
    (found,) = conflicts(find(target), **asked)  # type: ignore[arg-type]
    assert words in found and found.startswith(find(target).title)


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        ("coral", {}),
        ("coral", {"formats": ["litert"], "scheme": "int8-static", "batch_size": 1}),
        ("coral", {"formats": ["auto"], "scheme": "auto"}),
        ("coral", {"scheme": "int8-qat"}),  # which makes the file that is asked for
        ("x86-cpu", {"formats": ["onnx"], "scheme": "int4-weight", "is_dynamic": True}),
    ],
)
def test_what_it_takes_is_no_conflict(target: str, asked: dict[str, object]) -> None:
    assert conflicts(find(target), **asked) == []  # type: ignore[arg-type]


def test_operators_that_a_target_lacks_are_all_named_with_the_line_that_makes_them() -> None:
    used = [
        Operator(name="CONV_2D", version=3, count=4),
        Operator(name="BATCH_MATMUL", version=2, count=8, where="model.py:12"),
        Operator(name="GELU"),
        Operator(name="CONV_2D", version=6),
    ]
    assert lacking(CORAL, used) == [
        "BATCH_MATMUL (8 times), from model.py:12",
        "GELU",
        "CONV_2D in version 6, of which 5 is the newest that it takes",
    ]
    with pytest.raises(TaskError, match="lacks operators of this model: BATCH_MATMUL") as caught:
        check_operators(CORAL, used)
    assert "another target" in caught.value.hint
    check_operators(CORAL, used[:1])


def test_a_platform_that_lists_none_takes_any() -> None:
    assert lacking(find("raspberry-pi-5"), [Operator(name="WHATEVER")]) == []


@pytest.mark.parametrize("name", platforms())
def test_the_folder_holds_the_file_and_the_exact_command(name: str, tmp_path: Path) -> None:
    platform = find(name)
    file = tmp_path / "my model.tflite"
    file.write_bytes(b"weights")
    written = lay_out(tmp_path / "out", platform, file)
    assert (tmp_path / "out" / file.name).read_bytes() == b"weights"
    readme = (tmp_path / "out" / "README.md").read_text()
    assert platform.title in readme
    expected = {file.name, "README.md"} | ({"compile.sh"} if platform.compiler else set())
    assert {path.name for path in written} == expected
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected
    for line in commands(platform, file.name, is_quantized=False):
        assert line in readme
        assert any("my model" in word for word in shlex.split(line))
    if platform.compiler is not None:
        assert "This has not been done here." in readme
        assert platform.compiler.makes.format(stem="my model", file=file.name) in readme


@pytest.mark.parametrize(("is_quantized", "has_int8"), [(True, True), (False, False)])
def test_a_file_of_floats_is_not_compiled_as_if_it_were_quantized(
    is_quantized: bool, has_int8: bool, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_text("x")
    lay_out(tmp_path, find("jetson-orin-nano"), tmp_path / "model.onnx", is_quantized=is_quantized)
    script = (tmp_path / "compile.sh").read_text()
    assert ("--int8" in script) == has_int8
    assert ("--int8" in (tmp_path / "README.md").read_text().partition("## ")[0]) == has_int8
    assert "--fp16" in script


def test_the_script_runs_the_compiler_on_the_file_from_anywhere(tmp_path: Path) -> None:
    file = tmp_path / "a b.tflite"
    file.write_bytes(b"x")
    lay_out(tmp_path / "out", CORAL, file)
    # Stands in for the vendor's, which is not to be had: it says where it was run, and on what.
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "edgetpu_compiler").write_text('#!/bin/sh\npwd\nfor each; do echo "$each"; done\n')
    (programs / "edgetpu_compiler").chmod(0o755)
    done = subprocess.run(
        [tmp_path / "out" / "compile.sh"],
        env={"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [str(tmp_path / "out"), "--show_operations", "a b.tflite"]


def test_what_belongs_to_a_file_comes_along(tmp_path: Path) -> None:
    for name in ("model.xml", "model.bin", "other.bin"):
        (tmp_path / name).write_text(name)
    written = lay_out(tmp_path / "out", find("intel-npu"), tmp_path / "model.xml")
    assert [path.name for path in written] == ["model.xml", "model.bin", "compile.sh", "README.md"]


def test_a_file_may_lie_in_the_folder_already(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_text("weights")
    lay_out(tmp_path, CORAL, tmp_path / "model.tflite")
    assert (tmp_path / "model.tflite").read_text() == "weights"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="there is no"):
        lay_out(tmp_path / "out", CORAL, tmp_path / "model.tflite")
    assert not (tmp_path / "out").exists()
