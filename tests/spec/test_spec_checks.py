"""What reads well but can't be: types, ranges, kinds, defaults, what lies beside a spec."""

from __future__ import annotations

from pathlib import Path

import pytest
from refusing import A_REFERENCE, STUDENT, TASK, faults, refused

from runner.errors import SpecError
from runner.kinds import KINDS
from runner.spec import load

MISPLACED = "a reference to a task's output can't stand here; expected it in a parameter of a task"
NAMED = "expected letters (A-Z, a-z), digits, - and _, at most 63, beginning with a letter or digit"


def test_a_list_where_a_map_belongs_is_said_at_each_level() -> None:
    wanted = {
        "name: x\ntasks: [a]\n": "2:8: tasks is a list; expected a map",
        "name: x\ntasks:\n": "2:7: tasks is empty; expected a map",
        "name: x\ntasks: {}\n": "2:8: tasks is empty; expected at least one",
        "name: x\ntasks:\n  a: [1]\n": (
            "3:6: the task 'a' is not a map; expected its 'kind' and parameters"
        ),
        TASK.replace("{name: mlp}", "[mlp]"): "5:12: model is a list; expected a map",
        TASK + "    resources: [1]\n": "8:16: resources is a list; expected a map",
        "resources: [1]\n" + TASK: "1:12: resources is a list; expected a map",
        TASK.replace("{name: mlp}", "{name: mlp, args: [1]}"): (
            "5:30: args is a list; expected a map"
        ),
    }
    assert {text: refused(text) for text in wanted} == {t: [m] for t, m in wanted.items()}


def test_an_unknown_kind_hides_nothing_that_any_task_may_say() -> None:
    given = "    seed: -1\n    retry: {max_restart: 1}\n    timeout: soon\n    colour: red\n"
    common = [
        "8:11: seed is -1; expected at least 0",
        "9:13: unknown key 'max_restart'; did you mean 'max_restarts'?",
        "10:14: timeout: 'soon' is no duration; expected such as 90s, 10m or 2h",
    ]
    for kind, fault in {
        "    kind: trian\n": "4:11: no kind is called 'trian'; did you mean 'train'?",
        "    kind: [train]\n": f"4:11: kind is not a word; expected one of {', '.join(KINDS)}",
        "    kind:\n": f"4:10: kind is empty; expected one of {', '.join(KINDS)}",
    }.items():
        assert refused(TASK.replace("    kind: train\n", kind) + given) == [fault, *common]
    assert [
        each.partition(": ")[2] for each in refused(TASK.replace("    kind: train\n", "") + given)
    ] == [
        f"the task 'a' has no 'kind'; expected one of {', '.join(KINDS)}",
        *(each.partition(": ")[2] for each in common),
    ]


def test_what_is_wrong_in_a_default_is_said_once_for_a_task_of_no_kind_too() -> None:
    text = "seed: -1\n" + TASK.replace("train", "trian")
    assert refused(text) == [
        "1:7: seed is -1; expected at least 0",
        "5:11: no kind is called 'trian'; did you mean 'train'?",
    ]


LINES = {
    "max_epoch: 3": "8:5: unknown key 'max_epoch'; did you mean 'max_epochs'?",
    "learning_rate: 3": "8:5: unknown key 'learning_rate'; did you mean 'optimizer.learning_rate'?",
    "lr: 3": "8:5: unknown key 'lr'; did you mean 'optimizer.learning_rate'?",
    "epochs: 3": "8:5: unknown key 'epochs'; did you mean 'max_epochs'?",
    "batch_size: 3": "8:5: unknown key 'batch_size'; did you mean 'global_batch_size'?",
    "gpus: 1": "8:5: unknown key 'gpus'; did you mean 'resources.accelerators'?",
    "cpu: 1": "8:5: unknown key 'cpu'; did you mean 'resources.cpus'?",
    "path: x": "8:5: unknown key 'path'; did you mean 'data.path'?",
    "factory: x": "8:5: unknown key 'factory'; see 'runner kinds'",
    "max_steps: 3": "7:5: a: expected exactly one of 'max_epochs' and 'max_steps'",
    "seed: -1": "8:11: seed is -1; expected at least 0",
    "seed: 1.0": "8:11: seed is 1.0; expected a whole number",
    "seed: '3'": '8:11: seed is "3"; expected a whole number, without quotes',
    "seed: yes": '8:11: seed is "yes"; expected a whole number',
    "seed: true": "8:11: seed is true; expected a whole number",
    "seed:": "8:10: seed is empty; expected a whole number",
    "seed: 2147483648": "8:11: seed is 2147483648; expected less than 2147483648",
    f"seed: {'9' * 300}": f"8:11: seed is {'9' * 57}...; expected less than 2147483648",
    "seed: 1e999": "8:11: 1e999 is out of range; expected a finite number",
    "label_smoothing: .inf": "8:22: .inf is out of range; expected a finite number",
    "label_smoothing: .nan": "8:22: .nan is out of range; expected a finite number",
    "max_grad_norm: 0": "8:20: max_grad_norm is 0; expected more than 0",
    "global_batch_size: 1000000000000000": (
        "8:24: global_batch_size is 1000000000000000; expected at most 1000000000000"
    ),
    "optimizer: {name: adm}": (
        '8:23: name is "adm"; expected one of adamw, adam, sgd, adafactor, muon; did you '
        "mean 'adam'?"
    ),
    "optimizer: {lr: 1}": "8:17: unknown key 'lr'; did you mean 'learning_rate'?",
    "optimizer: {WD: 1}": "8:17: unknown key 'WD'; did you mean 'weight_decay'?",
    "optimizer: {eps: 1}": (
        "8:17: unknown key 'eps'; expected one of name, learning_rate, weight_decay, momentum, "
        "betas"
    ),
    "optimizer: adamw": '8:16: optimizer is "adamw"; expected a map, such as {name: adamw}',
    "optimizer: ''": "8:16: optimizer is empty; expected a map",
    "optimizer: {betas: [0.9]}": "8:17: betas has no item 2; expected one",
    "optimizer: {betas: [0.9, x]}": '8:30: item 2 of betas is "x"; expected a number',
    "optimizer: {betas: [0.1, 0.2, 0.3]}": "8:24: betas is a list; expected at most 2 items",
    "env: {A: 1}": '8:14: A is 1; expected text in quotes, such as "1"',
    "env: {1B: x}": (
        "8:11: the name '1B'; expected letters (A-Z, a-z), digits and _, not beginning with a digit"
    ),
    "secrets: [A, B C]": (
        '8:18: item 2 of secrets is "B C"; expected letters (A-Z, a-z), digits and _, not '
        "beginning with a digit"
    ),
    "depends_on: a": '8:17: depends_on is "a"; expected a list',
    "depends_on: [3]": '8:18: item 1 of depends_on is 3; expected text in quotes, such as "3"',
    "depends_on: [c]": "8:18: no task is called 'c'; expected one of a",
    "depends_on: [a]": "8:18: the task 'a' waits for itself; expected another task",
    "timeout: 0": "8:14: timeout: expected more than 0 seconds, and at most a year (365d)",
    "timeout: 366d": "8:14: timeout: expected more than 0 seconds, and at most a year (365d)",
    "timeout: 10 years": (
        "8:14: timeout: '10 years' is no duration; expected such as 90s, 10m or 2h"
    ),
    "timeout: {float: 1}": "8:14: timeout is a map; expected a number or text",
    "resources: {cpus: 0}": "8:23: cpus is 0; expected more than 0",
    "resources: {memory: 8}": (
        "8:25: memory: 8 is without a unit; expected such as 512MB, 8GB or 4GiB"
    ),
    "resources: {memory: 8 gigs}": (
        "8:25: memory: '8 gigs' is no amount of memory; expected such as 512MB, 8GB or 4GiB"
    ),
    "resources: {memory: 8gb}": (
        "8:25: memory: '8gb' is no amount of memory; did you mean '8GB'?"
    ),
    "resources: {memory: 1.5 gi}": (
        "8:25: memory: '1.5 gi' is no amount of memory; did you mean '1.5GiB'?"
    ),
    "resources: {memory: 0GB}": "8:25: memory: '0GB' is nothing; leave it out, or ask for more",
    "resources: {accelerators: H10:8}": (
        "8:31: accelerators: 'H10' is no accelerator that is known here; did you mean 'H100'?"
    ),
    "resources: {accelerators: h1000}": (
        "8:31: accelerators: 'h1000' is no accelerator that is known here; did you mean 'H100'?"
    ),
    "resources: {accelerators: GPUs:1}": (
        "8:31: accelerators: 'GPUs' is no accelerator that is known here; did you mean 'gpu'?"
    ),
    "resources: {accelerators: 8}": (
        "8:31: accelerators: 8 names no device; expected such as gpu:1 or H100:8"
    ),
    "resources: {gpus: 1}": "8:17: unknown key 'gpus'; did you mean 'accelerators'?",
    "resources: {accelerators: [gpu, 8]}": (
        "8:37: item 2 of accelerators: 8 names no device; expected such as gpu:1 or H100:8"
    ),
    "resources: {accelerators: {H100: 8}}": (
        "8:32: accelerators: a map; expected one word, such as H100:8"
    ),
    "resources: {accelerators: {a: 1, str: 1}}": (
        "8:31: accelerators is a map; expected text or a list"
    ),
    "resources: {accelerators: []}": "8:31: accelerators is empty; expected at least one",
    "resources: {accelerators: [gpu, x y]}": (
        "8:37: item 2 of accelerators: 'x y' names no accelerator; expected such as gpu:1, H100:8 "
        "or cpu"
    ),
    "resources: {accelerators: [cpu, gpu]}": (
        "8:31: accelerators: what follows 'cpu' would never be taken; expected 'cpu' last"
    ),
    "resources: {accelerators: gpu:1.5}": (
        "8:31: accelerators: 'gpu:1.5': only a share of one gpu may be asked for, such as gpu:0.5"
    ),
    "resources: {accelerators: TPU-V6E:3}": (
        "8:31: accelerators: 'TPU-V6E:3': a worker takes 1, 2, 4 or 8 chips of a TPU host"
    ),
    "resources: {accelerators: [gpu, npu-coral]}": (
        "8:37: accelerators: the kind train does not run on npu-coral:1; expected cpu or gpu or npu"
    ),
    "retry: {max_restarts: -1}": "8:27: max_restarts is -1; expected at least 0",
    f"env: {{A: '{A_REFERENCE}'}}": f"8:14: {MISPLACED}",
    f"seed: {A_REFERENCE}": f"8:11: {MISPLACED}",
    f"depends_on: ['{A_REFERENCE}']": f"8:18: {MISPLACED}",
    f"resources: {{memory: '{A_REFERENCE}'}}": f"8:25: {MISPLACED}",
}  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_a_wrong_line_is_one_fault(line: str) -> None:
    assert refused(f"{TASK}    {line}\n") == [LINES[line]]


CHANGES = {
    ("name: job", "name: my job"): f'1:7: name is "my job"; {NAMED}',
    (
        "name: job\n",
        "",
    ): "1:1: no 'name'; expected it: the job's name: letters (A-Z, a-z), digits, - and _",
    ("name: job", f"name: {A_REFERENCE}"): f"1:7: {MISPLACED}",
    ("  a:", "  a b:"): f"3:3: the task name 'a b'; {NAMED}",
    ("kind: train", "kind: trian"): "4:11: no kind is called 'trian'; did you mean 'train'?",
    ("kind: train", "kind: [train]"): (
        f"4:11: kind is not a word; expected one of {', '.join(KINDS)}"
    ),
    ("    kind: train\n", ""): (
        f"3:3: the task 'a' has no 'kind'; expected one of {', '.join(KINDS)}"
    ),
    ("    model: {name: mlp}\n", ""): "3:3: 'a' has no 'model'; expected it: what to train",
    ("{name: mlp}", "{}"): "5:5: model: expected exactly one of 'name' and 'factory'",
    ("{name: mlp}", "{name: mlp, factory: 'a:b'}"): (
        "5:13: model: expected exactly one of 'name' and 'factory'"
    ),
    ("{name: mlp}", "{factory: ab}"): '5:22: factory is "ab"; expected package.module:function',
    ("{name: digits}", "{path: ''}"): "6:18: path is empty; expected text",
    ("{name: digits}", "{name: digits, format: csv}"): "6:26: data: 'format' goes with 'path' only",
    ("max_epochs: 1", "max_epochs: 1\n    global_batch_size: 10\n    per_device_batch_size: 4"): (
        "8:5: a: global_batch_size 10 is not divisible by per_device_batch_size 4; the nearest "
        "that is: 8 or 12"
    ),
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change[1] or change[0])
def test_a_wrong_change_is_one_fault(change: tuple[str, str]) -> None:
    assert refused(TASK.replace(*change)) == [CHANGES[change]]


def test_defaults_hold_for_every_task_and_are_overridden() -> None:
    text = "seed: 3\nresources: {cpus: 4, memory: 2GB}\nenv: {A: x, B: y}\n" + TASK
    text += "    resources: {cpus: 1}\n    env: {B: z}\n" + STUDENT.format(teacher="folder")
    a, b = load(text.encode(), file="x", environment={}).tasks
    assert (a.seed, a.resources.cpus, a.resources.memory_bytes) == (3, 1.0, 2_000_000_000)
    assert (b.seed, b.resources.cpus, b.resources.memory_bytes) == (3, 4.0, 2_000_000_000)
    assert (a.env, b.env) == ({"A": "x", "B": "z"}, {"A": "x", "B": "y"})


def test_a_wrong_default_is_said_once_and_at_its_place() -> None:
    text = "seed: x\nresources: {cpu: 1}\n" + TASK + STUDENT.format(teacher="folder")
    assert refused(text) == [
        '1:7: seed is "x"; expected a whole number',
        "2:13: unknown key 'cpu'; did you mean 'cpus'?",
    ]


def test_all_faults_of_a_file_at_once_and_in_order() -> None:
    text = """\
name: two words
seed: -1
tasks:
  teacher:
    kind: train
    model: {name: mpl}
    data: {name: digits}
    max_epochs: 0
    max_epochs: 3
  student:
    kind: distil
    teacher: ${tasks.teacher.outputs.weights}
  check:
    kind: evaluate
    model: ${tasks.studnet.outputs.model}
    dat: {name: digits}
    resources: {accelerators: H100}
    env: {HOME: ${env:HOME}}
"""
    # What YAML itself can't read ends the reading.
    assert refused(text) == [
        "9:5: the key 'max_epochs' stands twice; expected it once (it is first on line 8)",
        '18:17: a reference inside { } or [ ] without quotes; expected "${...}"',
    ]
    text = text.replace("{HOME: ${env:HOME}}", "{HOME: '${env:HOME}'}")
    assert refused(text) == [
        f'1:7: name is "two words"; {NAMED}',
        "2:7: seed is -1; expected at least 0",
        '6:19: name is "mpl"; expected one of mlp, convnet, resnet, vit, gpt; '
        "did you mean 'mlp'?",
        "8:17: max_epochs is 0; expected at least 1",
        "9:5: the key 'max_epochs' stands twice; expected it once (it is first on line 8)",
        "11:11: no kind is called 'distil'; did you mean 'distill'?",
        "12:14: the task 'teacher' (kind train) has no output 'weights'; expected one of model",
        "13:3: 'check' has no 'data'; expected it: what to measure on",
        "15:12: no task is called 'studnet'; did you mean 'student'?",
        "16:5: unknown key 'dat'; did you mean 'data'?",
        "18:17: the environment has no variable HOME; expected it to be set: HOME=... runner ...",
    ]


def test_what_lies_beside_a_spec_is_looked_up(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import os\ndef make_model(): ...\nx, (y, z) = 1, (2, 3)\n")
    (tmp_path / "torn.py").write_text("def f(:\n")
    (tmp_path / "table.csv").write_text("a,b\n")
    wrong = {
        "{path: tabel.csv}": f"nothing lies at {tmp_path}/tabel.csv; did you mean 'table.csv'?",
        "{path: ~/x.csv}": (
            f"nothing lies at {tmp_path}/~/x.csv; '~' means nothing here, expected "
            "${env:HOME}/x.csv"
        ),
        "{path: none/x.csv}": f"nothing lies at {tmp_path}/none/x.csv",
        f"{{path: {'x' * 300}}}": f"{'x' * 57}... can't be looked up: File name too long",
        '{path: "a\\0b"}': "a\\x00b can't be looked up: embedded null byte",
        "{factory: 'mine:make_modle'}": "mine.py has no 'make_modle'; did you mean 'make_model'?",
        "{factory: 'mnie:z'}": (
            f"no module 'mnie' is in {tmp_path}; did you mean 'mine:z'?"
        ),
        "{factory: 'torn:f'}": "torn.py:1 is not valid Python: invalid syntax",
        f"{{factory: '{'m' * 300}:f'}}": f"{'m' * 57}... can't be read: File name too long",
    }  # fmt: skip
    for data, message in wrong.items():
        text = TASK.replace("{name: digits}", data)
        with pytest.raises(SpecError) as caught:
            load(text.encode(), file="x", environment={}, folder=tmp_path)
        assert [fault.message for fault in caught.value.faults] == [message]
    for data in ("{path: table.csv}", "{path: /no/such/file.csv}", "{factory: 'mine:z'}",
                 "{factory: 'elsewhere:f'}"):  # fmt: skip
        text = TASK.replace("{name: digits}", data)
        job = load(text.encode(), file="x", environment={}, folder=tmp_path)
        if data == "{path: table.csv}":
            assert job.tasks[0].params["data"]["path"] == str(tmp_path / "table.csv")


def test_data_to_calibrate_with_is_looked_up_beside_the_spec(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n")
    text = """\
name: x
tasks:
  a:
    kind: quantize
    model: {folder}
    data: {{name: digits}}
    calibration: {{data: {source}}}
"""
    sources = {"{path: table.csv}": [], "{path: tabel.csv}": [
        f"nothing lies at {tmp_path}/tabel.csv; did you mean 'table.csv'?"
    ]}  # fmt: skip
    for source, messages in sources.items():
        written = text.format(folder=tmp_path, source=source).encode()
        if messages:
            with pytest.raises(SpecError) as caught:
                load(written, file="x", environment={}, folder=tmp_path)
            assert [fault.message for fault in caught.value.faults] == messages
        else:
            job = load(written, file="x", environment={}, folder=tmp_path)
            calibration = job.tasks[0].params["calibration"]["data"]
            assert calibration["path"] == str(tmp_path / "table.csv")


def test_keys_that_stand_a_level_too_high_are_told_where_they_belong() -> None:
    text = "name: x\ntasks:\n  a:\n  kind: train\n  resources: {cpus: 1}\nmax_epochs: 3\nlr: 1\n"
    assert refused(text) == [
        "3:5: the task 'a' is not a map; expected its 'kind' and parameters",
        "4:3: 'kind' stands where a task's name is expected; expected it indented, in its task",
        "5:3: 'resources' stands where a task's name is expected; expected it indented, in its "
        "task",
        "6:1: unknown key 'max_epochs'; expected it in a task",
        "7:1: unknown key 'lr'; expected one of resources, retry, timeout, env, secrets, seed, "
        "name, workdir, tasks, or x-... for what only anchors use",
    ]
    assert refused("cpus: 3\n" + TASK) == [
        "1:1: unknown key 'cpus'; did you mean 'resources.cpus'?"
    ]


def test_an_empty_kind_is_said_where_it_stands() -> None:
    expected = f"kind is empty; expected one of {', '.join(KINDS)}"
    assert refused(TASK.replace("kind: train", "kind:")) == [f"4:10: {expected}"]


def test_what_begins_with_x_holds_anchors_and_nothing_else() -> None:
    text = "x-base: &base {max_epochs: 3, seed: 2}\nx-: [1]\nx-more: ${tasks.b.outputs.nothing}\n"
    text += TASK.replace("    max_epochs: 1\n", "    <<: *base\n    seed: 5\n")
    job = load(text.encode(), file="x", environment={})
    assert (job.tasks[0].params["max_epochs"], job.tasks[0].seed) == (3, 5)
    assert set(job.spec) == {"name", "tasks"}
    assert refused(text.replace("max_epochs: 3", "max_epochs: x")) == [
        '1:28: max_epochs is "x"; expected a whole number'
    ]
    # Only at the top: a task that is called so is one.
    assert refused(TASK.replace("  a:", "  x-a:")) == []
    assert refused(TASK + "    x-note: 1\n") == ["8:5: unknown key 'x-note'; see 'runner kinds'"]


def test_a_fault_carries_its_line() -> None:
    [fault] = faults(TASK + "    seed: x  # a comment\n")
    assert (fault.line, fault.column, fault.source) == (8, 11, "    seed: x  # a comment")
