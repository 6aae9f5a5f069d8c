"""``target: NAME`` in a spec: what a platform asks of a file, whether one is that, and what to do.

For the kinds that make files (quantize, export), whose parameter is
``target: PlatformName | None`` (runner.builtin), in the order in which they need it:

    platform = find("coral")                     a Platform; UsageError for a name that none has
    wrong += unmade(platform, formats=["onnx"])  and what of it can't be had of any file
    asked = requirements(platform)               format, precision, scheme, constraints, in a word
    wrong = conflicts(platform, formats=["onnx"], scheme="int8-dynamic")
                                                 what a spec says against it: for its validator
    counted = torchlib.costs.of_folder(model)    before a file is made: what it will be made of
    check_operators(platform, operators.lowered(counted.operators, asked.format).operators)
                                                 TaskError that names what the platform lacks
    check_operators(platform, [Operator(name="CONV_2D", version=3), ...])
                                                 the same of the file that was made
    lay_out(folder, platform, file, is_quantized=True)
                                                 the file, its compiler's command and a README

All of them are pure but ``lay_out``, none imports a framework or a runtime. Operators go by their
names in the file's own format, such as CONV_2D in LiteRT and Conv in ONNX.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.edge.platforms import Constraints, Format, Platform, Precision, Scheme, platforms
from runner.errors import TaskError, UsageError

README, SCRIPT = "README.md", "compile.sh"


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirements:
    """What a file must be to be taken. ``precision`` None: whatever the platform has a rate for."""

    format: Format
    precision: Precision | None
    scheme: Scheme | None
    constraints: Constraints


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """An operator of a file, by its name in that format.

    ``version`` is the format's own (LiteRT has one for each), ``count`` how often it stands there,
    ``where`` the line of the model that makes it, if known.
    """

    name: str
    version: int | None = None
    count: int = 1
    where: str = ""


def find(name: str) -> Platform:
    """The platform called ``name``, of those that come with runner.

    Raises UsageError, naming them all, if there is none.
    """
    known = platforms()
    if name not in known:
        raise UsageError(
            f"no platform is called '{name}'", hint=f"expected one of {', '.join(known)}"
        )
    return known[name]


def requirements(platform: Platform) -> Requirements:
    """What a file must be that is made for ``platform``."""
    return Requirements(
        format=platform.formats[0],
        precision=platform.precision,
        scheme=platform.scheme,
        constraints=platform.constraints,
    )


def conflicts(
    platform: Platform,
    *,
    formats: Sequence[str] | None = None,
    scheme: str | None = None,
    is_dynamic: bool = False,
    batch_size: int | None = None,
) -> list[str]:
    """What a spec asks for that ``platform`` does not take, each with what was expected.

    None means that the spec does not say, and ``auto`` that it leaves it open. ``is_dynamic`` is
    for shapes that are left open.
    """
    found = []
    for each in formats or ():
        if each != "auto" and each not in platform.formats:
            found.append(
                f"{platform.title} takes no {each}; expected {' or '.join(platform.formats)}"
            )
    if scheme not in (None, "auto") and _disagrees(platform, str(scheme)):
        made = f"no quantization, as its compiler makes {platform.precision} of floats"
        expected = platform.scheme or made
        found.append(f"{platform.title} takes no {scheme}; expected {expected}")
    if is_dynamic and platform.constraints.static_shapes:
        found.append(f"{platform.title} takes fixed shapes only; expected no dynamic ones")
    batch = platform.constraints.batch_size
    if batch_size is not None and batch is not None and batch_size != batch:
        found.append(f"{platform.title} takes a batch of {batch}; expected batch_size: {batch}")
    return found


def unmade(platform: Platform, *, formats: Sequence[str], scheme: str | None = None) -> list[str]:
    """What ``platform`` asks for that no file of these formats, quantized so, can be made to be.

    That is asked of platforms of the user's own; files for those of runner's can be had.
    """
    rules, found = platform.constraints, []
    for each in formats:
        if each == "executorch" and (rules.io or platform.operators is not None):
            found.append(
                f"{platform.title} limits 'operators' or 'io', which nobody here can read in "
                "executorch files; expected another format first among its 'formats'"
            )
        if scheme is not None and rules.full_integer and each != "litert":
            found.append(
                f"{platform.title} takes files of integers alone, which are made as litert only; "
                f"expected that as its format, and not {each}"
            )
        is_static = scheme in ("int8-static", "int8-qat")
        if is_static and rules.activations and (each, scheme) != ("onnx", "int8-static"):
            found.append(
                f"{platform.title} takes symmetric activations, which scheme int8-static makes in "
                f"onnx files only; expected those, and not {scheme} in {each}"
            )
    return found


def _disagrees(platform: Platform, scheme: str) -> bool:
    if platform.precision is None:
        return False
    # What is trained for int8 comes out as what is calibrated for it does.
    made = "int8-static" if scheme == "int8-qat" else scheme
    return made != platform.scheme


def lacking(platform: Platform, operators: Iterable[Operator]) -> list[str]:
    """What of ``operators`` the platform does not take, one line for each."""
    if platform.operators is None:
        return []
    found = []
    for operator in operators:
        at = f", from {operator.where}" if operator.where else ""
        often = f" ({operator.count} times)" if operator.count > 1 else ""
        if operator.name not in platform.operators:
            found.append(f"{operator.name}{often}{at}")
            continue
        newest = platform.operators[operator.name]
        if newest is not None and operator.version is not None and operator.version > newest:
            found.append(
                f"{operator.name} in version {operator.version}{often}, of which {newest} is the "
                f"newest that it takes{at}"
            )
    return found


def purpose(platform: Platform, folder: str) -> str:
    """What a report says of files that were made for ``platform`` and lie in ``folder``."""
    run = f"run {folder}/{SCRIPT} where its compiler is" if platform.compiler else "no compiler"
    return f"{platform.title}: {run}; figures are the file's on this machine, and not there"


def check_operators(platform: Platform, operators: Iterable[Operator]) -> None:
    """Raises TaskError, naming every operator that ``platform`` lacks, if there is one."""
    missing = lacking(platform, operators)
    if missing:
        raise TaskError(
            f"{platform.title} lacks operators of this model: {'; '.join(missing)}",
            hint="take a model without them, such as a convnet, or another target: 'runner "
            "platforms --model' shows which take it",
        )


def lay_out(
    folder: Path, platform: Platform, file: Path, *, is_quantized: bool = False
) -> list[Path]:
    """Makes ``folder`` ready for the platform's compiler: the file, a script and a README.

    The script holds the compiler's exact command, which may be another for a file that
    ``is_quantized``; where none is needed there is no script. What belongs to the file comes along:
    the weights of OpenVINO's .xml, and of an ONNX file that keeps them outside. Returns what was
    written. Raises TaskError if the file is not there.
    """
    if not file.is_file():
        raise TaskError(f"there is no {file} to lay out for {platform.title}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for each in (file, file.with_suffix(".bin"), file.with_name(file.name + ".data")):
        if each == file or each.is_file():
            target = folder / each.name
            if target.resolve() != each.resolve():
                shutil.copyfile(each, target)
            written.append(target)
    run = commands(platform, file.name, is_quantized=is_quantized)
    if run:
        script = folder / SCRIPT
        lines = ["#!/bin/sh", "set -eu", 'cd "$(dirname "$0")"', *run]
        script.write_text("\n".join(lines) + "\n", encoding="utf-8")
        script.chmod(0o755)
        written.append(script)
    readme = folder / README
    readme.write_text(instructions(platform, file.name, run), encoding="utf-8")
    return [*written, readme]


def commands(platform: Platform, file: str, *, is_quantized: bool) -> list[str]:
    """The compiler's commands for a file of this name, to be run where it lies."""
    compiler = platform.compiler
    if compiler is None:
        return []
    written = compiler.commands if is_quantized else compiler.commands_for_floats
    places = {"file": shlex.quote(file), "stem": shlex.quote(Path(file).stem)}
    return [command.format(**places) for command in written or compiler.commands]


def instructions(platform: Platform, file: str, run: Sequence[str]) -> str:
    """What the README beside a file says: what it is for, what to run where, and what comes out."""
    compiler = platform.compiler
    lines = [f"# {file} for {platform.title}", ""]
    if platform.status == "imagined":
        lines += ["This platform does not exist yet: its file imagines it.", ""]
    if compiler is None:
        lines += [
            f"No compiler is named for {platform.title}: its runtime takes the file as it is."
        ]
    else:
        version = f" {compiler.version}" if compiler.version else ""
        lines += [
            f"Run `./{SCRIPT}` where {compiler.name}{version} is installed ({compiler.runs_on}):",
            "",
            "```sh",
            *run,
            "```",
            "",
            f"It makes `{compiler.makes.format(file=file, stem=Path(file).stem)}`. This has not "
            "been done here.",
        ]
        lines += [f"Source of the command: {compiler.source}."] if compiler.source else []
    for title, items in (("What the platform takes", taken(platform)), ("Notes", platform.notes)):
        lines += ["", f"## {title}", "", *(f"* {item}" for item in items)] if items else []
    return "\n".join(lines) + "\n"


def taken(platform: Platform) -> list[str]:
    """What a file must be like for ``platform``, one line for each."""
    rules = platform.constraints
    found = [f"format: {' or '.join(platform.formats)}"]
    if platform.scheme:
        floats = "; floats will do, but not as well" if platform.takes_floats else ""
        found.append(f"numbers: {platform.precision}, quantized {platform.scheme}{floats}")
    elif platform.precision:
        found.append(f"numbers: floats, of which its compiler makes {platform.precision}")
    if rules.full_integer:
        found.append("integers only: no tensor is a float")
    if rules.io:
        found.append(f"inputs and outputs: {' or '.join(rules.io)}")
    if rules.static_shapes:
        batch = f", a batch of {rules.batch_size}" if rules.batch_size else ""
        found.append(f"fixed shapes{batch}")
    if rules.activations:
        found.append(f"activations quantized {rules.activations}")
    if rules.opset:
        found.append(f"ONNX opset {rules.opset} or older")
    if platform.operators is not None:
        found.append(f"operators: {', '.join(sorted(platform.operators))}")
    return found
