"""What a spec says of teachers, of layers and of samples without labels, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import SpecError
from runner.kinds import find
from runner.kinds.distill import DistillParams
from runner.model import Inventory, Node
from runner.plan import place
from runner.spec import load
from tests.spec.refusing import refused

# The first free line is 21.
SPEC = """\
name: job
tasks:
  one:
    kind: train
    model: {name: mlp}
    data: {name: digits}
    max_epochs: 1
  two:
    kind: train
    model: {name: mlp}
    data: {name: digits}
    max_epochs: 1
  a:
    kind: distill
    model: {name: mlp}
    max_epochs: 1
    data: {name: digits}
    teacher: ${tasks.one.outputs.model}
"""
SEVERAL = SPEC.replace(
    "    teacher: ${tasks.one.outputs.model}\n",
    "    teacher:\n      - ${tasks.one.outputs.model}\n      - ${tasks.two.outputs.model}\n",
)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("    features: [{student: '1', teacher: '1'}]\n    compile: true\n",
         "'features' looks at layers in every step, which does not go with compile, which hides "
         "them; expected compile: false, or no 'features'"),
        ("    attention: [{student: '1', teacher: '1'}]\n    activation_checkpointing: true\n",
         "'attention' looks at layers"),
        ("    features: [{student: '1', teacher: '1'}]\n    cache_teacher: disk\n",
         "answers that are kept; expected cache_teacher auto or never"),
        ("    features: [{student: '1', teacher: '1'}]\n    parallelism: {tp: 2}\n"
         "    resources: {num_workers: 2}\n", "tp and pp, which divide layers; expected ddp"),
        ("    features: [{student: '1', teacher: '1', weight: 0}]\n", "expected more than 0"),
        ("    features: [{student: '1'}]\n", "has no 'teacher'"),
        ("    decoupled: {}\n    teacher_top_k: 3\n", "expected one of them"),
        ("    decoupled: {gamma: 1}\n", "unknown key 'gamma'"),
        ("    decoupled: {beta: -1}\n", "expected at least 0"),
        ("    teacher_top_k: 3\n    cache_teacher: never\n", "'teacher_top_k' is of answers"),
        ("    teacher_top_k: 3\n    augment: {crop: 2}\n", "'teacher_top_k' is of answers"),
        ("    augment: {crop: 2}\n    cache_teacher: disk\n", "expected auto or never"),
        ("    teacher_weights: [1, 2]\n", "teacher_weights has 2 items for 1 teachers"),
        ("    teacher_weights: [0]\n", "expected more than 0"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(more: str, message: str) -> None:
    (fault,) = refused(SPEC + more)
    assert message in fault


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{name: digits, train_samples: 1438}",
         "train_samples is 1,438, and digits has 1,437 that are not held out"),
        ("{name: digits, train_samples: 0}", "expected at least 1"),
        ("{name: digits, unlabelled: rest}", "'unlabelled: rest' is what train_samples leaves out"),
        ("{name: digits, train_samples: 9, unlabelled: all}", "expected rest or a map"),
        ("{name: digits, unlabelled: {}}", "expected exactly one of 'name', 'path' and 'factory'"),
        ("{name: digits, unlabelled: {name: digits}}", "with what is held out of it"),
        ("{name: digits, unlabelled: {path: nowhere/}}", "nothing lies at"),
        ("{name: digits, unlabelled: {factory: own:make}}", "own.py has no 'make'"),
        ("{path: ., stream: true, train_samples: 9}", "'train_samples' does not go with 'stream'"),
        ("{path: ., stream: true, unlabelled: {name: digits}}",
         "'unlabelled' does not go with 'stream'"),
    ],
)  # fmt: skip
def test_what_is_no_way_to_limit_labels(data: str, message: str, tmp_path: Path) -> None:
    text = SPEC.replace(
        "max_epochs: 1\n    data: {name: digits}", f"max_epochs: 1\n    data: {data}"
    )
    (tmp_path / "own.py").write_text("def made(): ...\n")
    with pytest.raises(SpecError) as caught:
        load(text.encode(), file="job.yaml", folder=tmp_path, environment={})
    (fault,) = caught.value.faults
    assert message in str(fault)


def test_decoupled_needs_labels_and_text_has_them_all() -> None:
    limited = SPEC.replace(
        "max_epochs: 1\n    data: {name: digits}\n    teacher",
        "max_epochs: 1\n    data: {name: digits, train_samples: 99, unlabelled: rest}\n    teacher",
    )
    assert refused(limited) == []
    (fault,) = refused(limited + "    decoupled: {}\n")
    assert "data.unlabelled has none; expected one of them" in fault
    (fault,) = refused(limited.replace("name: digits, train", "name: stdlib, train").replace(
        "    model: {name: mlp}\n    max_epochs: 1\n    data: {name: stdlib",
        "    model: {name: gpt}\n    max_epochs: 1\n    data: {name: stdlib"))  # fmt: skip
    assert "the data is text; expected no 'unlabelled'" in fault


def test_only_a_student_has_samples_without_labels() -> None:
    text = SPEC.replace("data: {name: digits}", "data: {name: digits, unlabelled: rest}", 1)
    (fault,) = refused(text)
    assert "unknown key 'unlabelled'" in fault
    assert refused(SPEC.replace("{name: digits}", "{name: digits, train_samples: 50}")) == []


def test_several_teachers_are_dependencies() -> None:
    job = load(SEVERAL.encode(), file="job.yaml", environment={})
    (student,) = [task for task in job.tasks if task.name == "a"]
    assert set(student.depends_on) == {"one", "two"}
    params = DistillParams.model_validate(dict(student.params), strict=False)
    assert params.teachers == ["${tasks.one.outputs.model}", "${tasks.two.outputs.model}"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "    features: [{student: '1', teacher: '1'}]\n",
            "several teachers; expected one teacher",
        ),
        ("    teacher_weights: [1]\n", "teacher_weights has 1 items for 2 teachers"),
    ],
)
def test_what_does_not_go_with_several_teachers(more: str, message: str) -> None:
    (fault,) = refused(SEVERAL + more)
    assert message in fault


def test_a_list_of_teachers_is_looked_up_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    text = SEVERAL.replace("${tasks.one.outputs.model}", "kept").replace(
        "${tasks.two.outputs.model}", "lost"
    )
    with pytest.raises(SpecError) as caught:
        load(text.encode(), file="job.yaml", folder=tmp_path, environment={})
    (fault,) = caught.value.faults
    assert "nothing lies at" in str(fault)
    job = load(text.replace("lost", "kept").encode(), file="job.yaml", folder=tmp_path,
               environment={})  # fmt: skip
    (student,) = [task for task in job.tasks if task.name == "a"]
    assert student.params["teacher"] == [str(tmp_path / "kept")] * 2
    assert refused(SEVERAL.replace("two.outputs", "tow.outputs"))[0].endswith("did you mean 'two'?")


def test_answers_are_an_artifact_where_they_are_kept_on_disk() -> None:
    assert find("distill").outputs_of({"cache_teacher": "disk"}) == ("model", "logits")
    second = (
        SPEC[SPEC.index("  a:") :]
        .replace("  a:", "  b:")
        .replace("one.outputs.model", "a.outputs.logits")
    )
    (fault,) = refused(SPEC + second)
    assert "the task 'a' (kind distill) has no output 'logits'" in fault
    assert refused(SPEC + "    cache_teacher: disk\n" + second) == []


@pytest.mark.parametrize(
    ("data", "steps"),
    [
        ("{name: digits}", 23),
        ("{name: digits, train_samples: 100}", 2),
        ("{name: digits, train_samples: 100, unlabelled: rest}", 23),
        ("{name: digits, train_samples: 100, unlabelled: {name: mnist5k}}", 80),
    ],
)
def test_the_plan_counts_the_samples_that_are_trained_on(data: str, steps: int) -> None:
    text = SPEC.replace("max_epochs: 1\n    data: {name: digits}\n    teacher",
                        f"max_epochs: 1\n    data: {data}\n    teacher")  # fmt: skip
    job = load(text.encode(), file="job.yaml", environment={})
    here = Node(name="here", id="id", cpus=2, memory_bytes=4 * 10**9)
    plan = place(job, Inventory(source="by hand", nodes=(here,)))
    (batches,) = [each.batches for each in plan.tasks if each.task.name == "a"]
    assert batches is not None
    assert batches.total_steps == steps
