"""One attempt in this process: an order in, records out, whatever the task's code does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.errors import TaskError
from runner.kinds import KINDS, Yield
from runner.model import Artifact, Context, Metric, Progress, Record
from runner.worker.attempt import FLUSH_S, Interrupted, attempt
from tests.worker.orders import DIGITS, MLP, order, use_kind


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def points(records: list[Record]) -> list[list[list[Any]]]:
    return [record.data["points"] for record in records if record.event == "metrics"]


def summary(records: list[Record]) -> dict[str, float]:
    return {name: value for batch in points(records) for name, step, value in batch if step is None}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    folder = tmp_path_factory.mktemp("trained")
    params = {"model": MLP, "data": DIGITS, "max_steps": 30}
    return list(attempt(order(folder / "1", "train", params)))


def model_of(records: list[Record]) -> str:
    (path,) = [
        record.data["path"]
        for record in records
        if record.event == "artifact" and record.data["name"] == "model"
    ]
    return str(path)


def test_training_tells_where_it_runs_how_far_it_is_and_what_it_made(
    trained: list[Record],
) -> None:
    first, last = trained[0], trained[-1]
    assert first.event == "attempt_running"
    assert {"python", "torch", "device", "threads", "cpu", "platform"} <= set(
        first.data["environment"]
    )
    assert (last.event, last.data) == ("attempt_ended", {"status": "finished", "error": None})
    assert {record.task for record in trained} == {"t"}
    assert {record.attempt for record in trained} == {1}
    assert "progress" in {record.event for record in trained}
    assert summary(trained)["size/parameters"] == 64 * 8 + 8 + 8 * 10 + 10
    assert sorted(p.name for p in Path(model_of(trained)).iterdir()) == [
        "model.json",
        "model.safetensors",
    ]


@pytest.mark.parametrize("kind", ["distill", "evaluate"])
def test_the_kinds_that_take_a_model_take_what_training_left(
    trained: list[Record], tmp_path: Path, kind: str
) -> None:
    model = model_of(trained)
    params: dict[str, dict[str, Any]] = {
        "distill": {"teacher": model, "model": MLP, "data": DIGITS, "max_steps": 5},
        "evaluate": {"model": model, "data": DIGITS},
    }
    records = list(attempt(order(tmp_path, kind, params[kind])))
    assert records[-1].data == {"status": "finished", "error": None}
    found = summary(records)
    same = "baseline/test/accuracy" if kind == "distill" else "test/accuracy"
    assert found[same] == summary(trained)["test/accuracy"]


def test_a_bench_tells_facts_of_its_device_and_how_fast_it_is(tmp_path: Path) -> None:
    params = {"precisions": ["fp32"], "sizes": [64], "seconds": 0.1}
    records = list(attempt(order(tmp_path, "bench", params)))
    assert records[-1].data == {"status": "finished", "error": None}
    facts = {
        record.data["name"]: record.data["text"] for record in records if record.event == "fact"
    }
    assert set(facts) == {"cpu cores", "cpu instructions"} and all(facts.values())
    assert summary(records)["bench/matmul_fp32_tflops"] > 0


def test_no_kind_goes_untested() -> None:
    here = {"train", "distill", "evaluate", "bench"}
    others = Path(__file__).parent.parent / "kinds"
    elsewhere = {kind for kind in KINDS if any(others.glob(f"test_{kind}*.py"))}
    assert set(KINDS) == here | elsewhere


def test_metrics_travel_together_until_time_is_up_or_something_else_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()

    def run(context: Context) -> Iterator[Yield]:
        for step in range(4):
            yield Metric(name="loss", value=step / 2, step=step)
        clock.now_s += FLUSH_S
        yield Metric(name="loss", value=9.0, step=9)
        yield Metric(name="after", value=1.0)
        yield Progress(step=1, total_steps=2)
        yield Metric(name="last", value=2.0)

    use_kind(monkeypatch, run)
    records = list(attempt(order(tmp_path, "scripted", {}), clock=clock))
    assert [record.event for record in records] == [
        "attempt_running",
        "metrics",
        "metrics",
        "progress",
        "metrics",
        "attempt_ended",
    ]
    assert points(records) == [
        [["loss", 0, 0.0], ["loss", 1, 0.5], ["loss", 2, 1.0], ["loss", 3, 1.5], ["loss", 9, 9.0]],
        [["after", None, 1.0]],
        [["last", None, 2.0]],
    ]
    assert records[0].at_s == 1000.0
    assert records[-1].at_s == 1000.0 + FLUSH_S


def test_ten_thousand_metrics_in_a_second_are_two_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()

    def run(context: Context) -> Iterator[Yield]:
        for step in range(10_000):
            clock.now_s += 1e-4
            yield Metric(name="loss", value=0.5, step=step)

    use_kind(monkeypatch, run)
    found = points(list(attempt(order(tmp_path, "scripted", {}), clock=clock)))
    assert sum(len(batch) for batch in found) == 10_000
    assert len(found) in (2, 3)


def test_what_was_measured_before_the_code_raised_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(context: Context) -> Iterator[Yield]:
        yield Metric(name="loss", value=0.5, step=1)
        raise ValueError("no more data")

    use_kind(monkeypatch, run)
    records = list(attempt(order(tmp_path, "scripted", {})))
    assert [record.event for record in records[1:]] == ["metrics", "attempt_ended"]
    assert points(records) == [[["loss", 1, 0.5]]]
    error = records[-1].data["error"]
    assert records[-1].data["status"] == "failed"
    assert (error["type"], error["message"]) == ("ValueError", "no more data")
    logged = capsys.readouterr().err
    assert logged.startswith("Traceback")
    assert "ValueError: no more data" in logged


@pytest.mark.parametrize(
    ("code", "message"), [(None, "the code called sys.exit"), (0, "0"), ("enough", "enough")]
)
def test_code_that_exits_has_failed_whatever_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | str | None, message: str
) -> None:
    def run(context: Context) -> Iterator[Yield]:
        yield Metric(name="loss", value=0.5)
        sys.exit(code)

    use_kind(monkeypatch, run)
    last = list(attempt(order(tmp_path, "scripted", {})))[-1]
    assert last.data["status"] == "failed"
    assert (last.data["error"]["type"], last.data["error"]["message"]) == ("SystemExit", message)


class OddError(BaseException):
    def __str__(self) -> str:
        raise RuntimeError("not even its message")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OddError])
def test_whatever_the_code_raises_is_the_tasks_failure(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: type[BaseException],
) -> None:
    def run(context: Context) -> Iterator[Yield]:
        raise error
        yield

    use_kind(monkeypatch, run)
    last = list(attempt(order(tmp_path, "scripted", {})))[-1]
    assert last.data["status"] == "failed"
    assert last.data["error"]["type"] == error.__name__
    assert "in run" in last.data["error"]["frames"][0]
    assert capsys.readouterr().err.startswith("Traceback")


def test_an_interrupt_of_the_process_is_not_the_tasks_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(context: Context) -> Iterator[Yield]:
        raise Interrupted
        yield

    use_kind(monkeypatch, run)
    with pytest.raises(Interrupted):
        list(attempt(order(tmp_path, "scripted", {})))


def test_an_attempt_that_is_closed_ends_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    def run(context: Context) -> Iterator[Yield]:
        try:
            yield Progress(step=1, total_steps=2)
        finally:
            closed.append(True)

    use_kind(monkeypatch, run)
    going = attempt(order(tmp_path, "scripted", {}))
    assert [next(going).event, next(going).event] == ["attempt_running", "progress"]
    going.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_an_error_of_ours_keeps_its_hint_and_needs_no_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(context: Context) -> Iterator[Yield]:
        raise TaskError("the labels are no classes", hint="name the label column")
        yield

    use_kind(monkeypatch, run)
    assert list(attempt(order(tmp_path, "scripted", {})))[-1].data["error"] == {
        "type": "TaskError",
        "message": "the labels are no classes",
        "hint": "name the label column",
        "frames": [],
    }


def test_an_artifact_that_is_not_there_fails_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(context: Context) -> Iterator[Yield]:
        yield Artifact(name="model", path=context.folder / "nowhere")

    use_kind(monkeypatch, run)
    last = list(attempt(order(tmp_path, "scripted", {})))[-1]
    assert last.data["status"] == "failed"
    assert "'model' was announced at" in last.data["error"]["message"]


def test_the_context_is_the_orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Context] = []

    def run(context: Context) -> Iterator[Yield]:
        seen.append(context)
        yield Progress(
            step=1, total_steps=1, epoch=0.5, samples_per_s=2.0, loss=0.1, phase="measure"
        )

    use_kind(monkeypatch, run)
    folder = tmp_path / "made" / "on" / "demand"
    about = {"seed": 3, "threads": 2, "ready_at_s": 7.5, "rank": 1, "world_size": 4}
    records = list(attempt(order(folder, "scripted", {"a": [1]}, **about)))
    (context,) = seen
    assert context.folder == folder
    assert folder.is_dir()
    assert context.params.a == [1]
    assert {name: getattr(context, name) for name in about} == about
    assert records[1].data == {
        "step": 1,
        "total_steps": 1,
        "epoch": 0.5,
        "samples_per_s": 2.0,
        "loss": 0.1,
        "phase": "measure",
    }


def test_a_folder_that_cannot_be_made_is_an_error_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    use_kind(monkeypatch, lambda context: iter(()))
    last = list(attempt(order(tmp_path / "file" / "1", "scripted", {})))[-1]
    assert last.data["status"] == "failed"
    assert "can't be written" in last.data["error"]["message"]
    assert "--storage" in last.data["error"]["hint"]


def test_parameters_that_the_kind_refuses_fail_the_task(tmp_path: Path) -> None:
    last = list(attempt(order(tmp_path, "train", {"model": MLP, "data": DIGITS, "max_stepz": 1})))[
        -1
    ]
    assert last.data["status"] == "failed"
    assert "max_stepz" in last.data["error"]["message"]


def test_a_missed_gate_ends_the_attempt_after_all_was_kept(tmp_path: Path) -> None:
    params = {"model": MLP, "data": DIGITS, "max_steps": 1, "gates": {"accuracy": 0.999}}
    records = list(attempt(order(tmp_path / "1", "train", params)))
    ended = records[-1].data
    assert ended["status"] == "failed" and ended["error"]["type"] == "GateMissed"
    assert ended["error"]["message"].startswith("gate accuracy: 0.")
    assert ended["error"]["frames"] == []
    assert "test/accuracy" in summary(records)
    assert Path(model_of(records)).is_dir()
