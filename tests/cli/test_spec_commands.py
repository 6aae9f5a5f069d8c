"""init, validate, plan, kinds and schema as commands: what goes where, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from runner.cli import run
from runner.kinds import KINDS

REPOSITORY = Path(__file__).parent.parent.parent
JOBS = sorted((REPOSITORY / "jobs").glob("*.yaml"))

RIGHT = """\
name: job
tasks:
  a: {kind: train, model: {name: mlp}, data: {name: digits}, max_epochs: 1}
"""
WRONG = """\
name: a job
tasks:
  é日本: {kind: trian, env: {A: 1}}
  b:
    kind: train
    model: {name: mpl}
    data: {name: digits}
    max_epoch: 3
    teacher: ${tasks.c.outputs.model}
"""
SAID = """\
job.yaml:1:7: name is "a job"; expected letters (A-Z, a-z), digits, - and _, at most 63, beginning \
with a letter or digit
    name: a job
          ^
job.yaml:3:3: the task name 'é日本'; expected letters (A-Z, a-z), digits, - and _, at most 63, \
beginning with a letter or digit
      é日本: {kind: trian, env: {A: 1}}
      ^
job.yaml:3:15: no kind is called 'trian'; did you mean 'train'?
      é日本: {kind: trian, env: {A: 1}}
                    ^
job.yaml:3:31: A is 1; expected text in quotes, such as "1"
      é日本: {kind: trian, env: {A: 1}}
                                    ^
job.yaml:6:19: name is "mpl"; expected one of mlp, convnet, resnet, vit, gpt; did you mean 'mlp'?
        model: {name: mpl}
                      ^
job.yaml:8:5: unknown key 'max_epoch'; did you mean 'max_epochs'?
        max_epoch: 3
        ^
job.yaml:9:5: unknown key 'teacher'; see 'runner kinds'
        teacher: ${tasks.c.outputs.model}
        ^
job.yaml:9:14: no task is called 'c'; expected one of é日本, b
        teacher: ${tasks.c.outputs.model}
                 ^
8 faults
"""


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process, in a folder with a right and a wrong spec."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "job.yaml").write_text(WRONG)
    (tmp_path / "right.yaml").write_text(RIGHT)

    def invoke(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return invoke


def test_every_fault_is_shown_with_its_line_and_a_caret_under_the_right_character(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    assert call("validate", "job.yaml") == (2, "", SAID)


def test_a_right_spec_is_said_to_be_right(call: Callable[..., tuple[int, str, str]]) -> None:
    assert call("validate", "right.yaml") == (0, "right.yaml: job, 1 task, valid\n", "")
    code, out, err = call("validate", *map(str, JOBS))
    assert (code, out.count("valid\n"), err) == (0, len(JOBS), "")


def test_one_wrong_file_among_right_ones_is_enough(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, err = call("validate", "right.yaml", "job.yaml", "right.yaml", "none.yaml")
    assert (code, out.count("valid\n")) == (2, 2)
    assert err.startswith(SAID) and "error: none.yaml can't be read: No such file" in err


def test_json_is_on_standard_output_and_nothing_else(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, err = call("validate", "--json", "right.yaml", "job.yaml", "none.yaml")
    found = json.loads(out)
    assert (code, err) == (2, "")
    assert [each["valid"] for each in found] == [True, False, False]
    assert [len(each["faults"]) for each in found] == [0, 8, 1]
    assert found[1]["faults"][2] == {
        "file": "job.yaml", "line": 3, "column": 15, "source": WRONG.split("\n")[2],
        "message": "no kind is called 'trian'; did you mean 'train'?",
    }  # fmt: skip


def test_a_wide_line_is_cut_to_what_is_around_the_fault(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    filler = ", ".join(f"k{i}: 1" for i in range(40_000))
    (tmp_path / "wide.yaml").write_text(
        RIGHT.replace("{name: mlp}", f"{{args: {{{filler}}}, nam: x}}")
    )
    code, _, err = call("validate", "wide.yaml")
    lines = err.split("\n")
    assert code == 2
    [at] = [number for number, line in enumerate(lines) if "unknown key 'nam'" in line]
    assert max(map(len, lines)) < 200
    assert lines[at + 1][lines[at + 2].index("^") :].startswith("nam: x")


def test_overrides_are_checked_and_shown_as_typed(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    assert call("validate", "right.yaml", "--set", "tasks.a.max_epochs=0") == (
        2,
        "",
        "--set:1:20: max_epochs is 0; expected at least 1\n"
        "    tasks.a.max_epochs=0\n                       ^\n1 fault\n",
    )


MISTAKES = [
    (("validate",), "Missing argument 'FILES...'"),
    (("validate", "none.yaml"), "error: none.yaml can't be read: No such file or directory"),
    (("validate", "."), "error: . can't be read: Is a directory"),
    (("validate", "x" * 300), "can't be read: File name too long"),
    (("plan", "none.yaml"), "error: none.yaml can't be read: No such file or directory"),
    (("plan", "."), "error: . can't be read: Is a directory"),
    (("plan", "right.yaml", "--cluster", "none"), "error: none can't be read: No such file"),
    (("plan", "right.yaml", "--cluster", "right.yaml"), "no node types; expected"),
    (("plan", "job.yaml"), "8 faults"),
    (("plan", "right.yaml", "--set", "x"), "expected PATH=VALUE"),
    (("vaildate", "right.yaml"), "No such command 'vaildate'; did you mean 'validate'?"),
    (("bogus",), "Error: No such command 'bogus'\n"),
    (
        ("validate", "--set", "seed=1", "tasks.a.seed=2"),
        "hint: a value to override needs a --set of its own: --set tasks.a.seed=2",
    ),
    (("validate", "--jsn", "right.yaml"), "No such option"),
    (("schema", "more"), "unexpected extra argument"),
    (("kinds", "trian"), "error: no kind is called 'trian'; did you mean 'train'?"),
    (("init", "distil"), "error: no kind is called 'distil'; did you mean 'distill'?"),
    (("init",), "Missing argument 'KIND'"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=lambda value: " ".join(value)[:40])
def test_a_mistake_is_told_on_standard_error_and_ends_with_2(
    arguments: tuple[str, ...], said: str, call: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err and "\x1b" not in err


def test_a_file_that_may_not_be_read(call: Callable[..., tuple[int, str, str]]) -> None:
    # A device that answers every read with an error, as root may read any file.
    code, _, err = call("validate", "/proc/self/mem")
    assert code == 2
    assert err.startswith("error: /proc/self/mem can't be read: Input/output error\n")


def test_what_never_fits_ends_with_3_and_says_why(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    cluster = str(REPOSITORY / "cluster.yaml")
    arguments = (
        "plan",
        "right.yaml",
        "--cluster",
        cluster,
        "--set",
        "resources.accelerators=H100:8",
    )
    code, out, err = call(*arguments)
    assert (code, out) == (3, "")
    assert "task 'a' asks for 8 workers of H100:1, cpus:1 on one node, which nothing" in err
    assert "asks for H100:8, node type gpu-l4 has 0 (but L4:1); the largest offers 0" in err
    assert (
        "nearest: num_workers: 1, num_nodes: 1, accelerators: L4:1, cpus: 1 would fit gpu-l4" in err
    )


def test_sizes_and_times_of_a_plan_are_for_people(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    cluster = str(REPOSITORY / "cluster.yaml")
    plan = ("plan", "right.yaml", "--cluster", cluster)
    assert "  limit    2 h 0 min\n" in call(*plan, "--set", "timeout=2h")[1]
    code, _, err = call(*plan, "--set", "resources={memory: 1TB, cpus: 2000}")
    assert code == 3
    assert "asks for cpus:2000, memory:1TB, which nothing here can hold" in err
    assert "e+" not in err


def test_a_plan_is_shown_and_printed_as_json(call: Callable[..., tuple[int, str, str]]) -> None:
    cluster = str(REPOSITORY / "cluster.yaml")
    arguments = ("plan", str(REPOSITORY / "jobs" / "distill.yaml"), "--cluster", cluster)
    code, out, err = call(*arguments)
    assert (code, err) == (0, "")
    assert "student  (distill, after teacher)" in out and "order  teacher → student" in out
    assert "steps    180, 12 per epoch of 1,437 samples" in out
    code, out, err = call(*arguments, "--json")
    assert (code, err) == (0, "")
    assert [each["wave"] for each in json.loads(out)["tasks"]] == [0, 1]


def test_a_plan_says_how_workers_divide_a_training(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    cluster = str(REPOSITORY / "cluster.yaml")
    arguments = (str(REPOSITORY / "jobs" / "train-3d.yaml"), "--cluster", cluster)
    on_cpus = ("--set", "tasks.model.resources.accelerators=cpu")
    code, out, err = call("plan", *arguments, *on_cpus)
    assert (code, err) == (0, "")
    assert (
        "  workers  8: shards over 2 workers (fsdp) x layers over 2 (tensor parallel) x 2 stages "
        "(pipeline parallel); auto: fsdp, as whole copies don't go with tp\n"
        "  stages   2 of about as many parameters each; a step in 2 micro-batches of 4 samples, by "
        "1f1b\n"
        "  batch    16 = 8 per device x 1 accumulated x 2 groups of 4 workers\n"
    ) in out
    [planned] = json.loads(call("plan", *arguments, *on_cpus, "--json")[1])["tasks"]
    assert planned["placement"]["bundles"] == [2, 2, 2, 2]
    assert planned["batches"]["num_workers"] == 2
    assert planned["parallelism"].startswith("shards over 2 workers (fsdp)")


def test_a_plan_of_one_worker_says_nothing_of_workers(
    call: Callable[..., tuple[int, str, str]],
) -> None:
    out = call("plan", "right.yaml", "--cluster", str(REPOSITORY / "cluster.yaml"))[1]
    assert "batch    64 = 64 per device x 1 accumulated x 1 worker\n" in out
    assert "  workers " not in out


@pytest.mark.parametrize("kind", KINDS)
def test_a_starter_is_printed_and_is_right(
    kind: str, call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, out, err = call("init", kind)
    assert (code, err) == (0, "")
    (tmp_path / "new.yaml").write_text(out)
    assert call("validate", "new.yaml")[0] == 0


def test_kinds_are_listed_and_described(call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = call("kinds")
    assert (code, err) == (0, "") and all(f"\n{kind} " in f"\n{out}" for kind in KINDS)
    for kind in KINDS:
        code, out, err = call("kinds", kind)
        assert (code, err) == (0, "")
        assert f"kind: {kind}\n" in out and "resources.accelerators" in out
        assert max(map(len, out.split("\n"))) <= 100
        code, out, err = call("kinds", kind, "--json")
        [described] = json.loads(out)
        assert described["kind"] == kind and described["parameters"][0]["description"]


def test_the_schema_is_printed(call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = call("schema")
    assert (code, err) == (0, "")
    jsonschema.Draft202012Validator.check_schema(json.loads(out))


@pytest.mark.parametrize("name", ["init", "validate", "plan", "kinds", "schema"])
def test_help_is_no_error(name: str, call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = call(name, "--help")
    assert (code, err) == (0, "") and out.startswith(f"Usage: runner {name}")


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    return subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        env={**kept, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_as_a_process(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(WRONG)
    wrong = process("validate", str(tmp_path / "job.yaml"))
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.endswith("8 faults\n") and "\x1b" not in wrong.stderr
    right = process("validate", *map(str, JOBS))
    assert (right.returncode, right.stderr) == (0, "")


def test_a_terminal_sees_colour_unless_it_asks_for_none(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(WRONG)
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        ours, theirs = os.openpty()
        kept = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        with subprocess.Popen(
            [sys.executable, "-m", "runner", "validate", str(tmp_path / "job.yaml")],
            stderr=theirs, env={**kept, **environment},
        ) as child:  # fmt: skip
            assert child.wait(timeout=60) == 2
        said = os.read(ours, 100_000)
        os.close(ours)
        os.close(theirs)
        assert (b"\x1b[" in said) is coloured
        assert b"8 faults" in said
