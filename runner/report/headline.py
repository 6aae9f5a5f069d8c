"""The report in one sentence: what came out, or which task kept it from coming out, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping

from runner.model import CAVEAT
from runner.report import chain, rates
from runner.report import format as form
from runner.report.comparison import BASELINE, COSINE, origin
from runner.report.failure import failure
from runner.report.forms import forms
from runner.report.language import accuracy_name
from runner.report.summary import Report, TaskReport
from runner.report.text import one_line

SENTENCES = 3
MESSAGE_LIMIT = 160
NAME_LIMIT = 40
SPEEDUP, ACCURACY_DROP = "compression/speedup", "compression/accuracy_drop"
_CHANGES = ("compression/size_ratio", SPEEDUP, ACCURACY_DROP, COSINE)


def headline(report: Report) -> str:
    """One plain sentence without its full stop. Names in it come from outside: escape it.

    What keeps figures from being what was asked for comes before them.
    """
    caveats = _caveats(report)
    return f"{caveats}: {_sentence(report)}" if caveats else _sentence(report)


def _caveats(report: Report) -> str:
    """'model ran on one CPU and not a TPU': what tasks say of themselves that way."""
    said: dict[str, list[str]] = {}
    for task in report.tasks:
        text = task.environment.get(CAVEAT)
        if isinstance(text, str) and text:
            said.setdefault(one_line(text, MESSAGE_LIMIT), []).append(_name(task.name))
    parts = [f"{_listed_names(names)} ran on {text}" for text, names in said.items()]
    return "; ".join(parts[:SENTENCES])


def _listed_names(names: list[str]) -> str:
    shown = names[:SENTENCES]
    if len(names) > len(shown):
        return f"{len(names)} tasks"
    return " and ".join(shown)


def _sentence(report: Report) -> str:
    culprits = _culprits(report)
    if culprits:
        return f"{_name(culprits[0].name)} {_why(culprits[0])}{_beside(report, culprits[1:])}"
    if report.status == "finished":
        return _outcome(report)
    done = _done(report)
    if report.status == "running":
        return f"Still running: {done}"
    if report.status == "cancelled":
        return f"Cancelled after {form.duration(report.duration_s)}: {done}"
    if report.status == "lost":
        after = form.duration(report.duration_s)
        return f"Lost: the driver of the run went away after {after}, {done}"
    return f"The run {report.status.replace('_', ' ')}: {done}"


def _outcome(report: Report) -> str:
    if whole := _chain(report):
        return whole
    changes = [text for task in report.tasks if (text := _compression(report, task))]
    if changes:
        return "; ".join(changes[-SENTENCES:])
    trained = [task for task in report.tasks if any(n.startswith("train/") for n in task.metrics)]
    scored = [task for task in trained if _finite(task, "test/accuracy") is not None]
    scored = scored or [t for t in report.tasks if _finite(t, "test/accuracy") is not None]
    if scored:
        best = max(scored, key=lambda task: task.metrics["test/accuracy"])
        score = _score(best, accuracy_name(report, [best]))
        return f"{_name(best.name)} reached {score}{_against(len(scored))}"
    lossy = [task for task in report.tasks if _finite(task, "test/loss") is not None]
    if lossy:
        best = min(lossy, key=lambda task: task.metrics["test/loss"])
        loss = form.loss(best.metrics["test/loss"])
        return f"{_name(best.name)} reached a test loss of {loss}{_against(len(lossy))}"
    return _devices(report) or f"{_done(report)} in {form.duration(report.duration_s)}"


def _devices(report: Report) -> str:
    """'node-1 does 918 GFLOP/s in bf16 and copies 27.9 GB/s': the fastest that was measured."""
    speeds = [(best, task) for task in report.tasks if (best := rates.fastest(task.metrics))]
    if not speeds:
        return ""
    _, task = max(speeds, key=lambda each: each[0])
    among = f", the fastest of {len(speeds)}" if len(speeds) > 1 else ""
    return f"{_name(task.name)} {rates.in_words(task.metrics)}{among}"


def _compression(report: Report, task: TaskReport) -> str:
    """'student is 18.2x smaller and 2.3x faster than teacher, and 0.6 points less accurate'.

    Of a task that made nothing but forms of a model, it is the fastest of these: 'onnx of files'.
    """
    text = _changes(report, task, _name(task.name), task.metrics)
    if text or not any(name.startswith(BASELINE) for name in task.metrics):
        return text
    made = forms(task.metrics, _CHANGES)
    fastest = max(made, key=lambda name: made[name].get(SPEEDUP, 0.0), default=None)
    if fastest is None:
        return ""
    return _changes(report, task, f"{fastest} of {_name(task.name)}", made[fastest])


def _chain(report: Report) -> str:
    """'int8 is 28.8x smaller and 19.7x faster than teacher': the fastest of what came of it."""
    found = chain.links(report)
    known = [each for each in found[1:] if each.faster]
    if not known:
        return ""
    first, best = found[0], max(known, key=lambda each: each.faster or 0.0)
    ratios = chain.ratios(first, best)
    task = next(each for each in report.tasks if each.name == best.task)
    return _changes(report, task, _name(best.name), ratios, before=first.name)


def _changes(
    report: Report,
    task: TaskReport,
    name: str,
    figures: Mapping[str, float],
    before: str | None = None,
) -> str:
    sizes = (
        ("compression/size_ratio", "smaller", "larger", "about as large"),
        (
            "compression/gzip_ratio",
            "smaller once gzipped",
            "larger once gzipped",
            "as large gzipped",
        ),
        (SPEEDUP, "faster", "slower", "about as fast"),
    )
    changes: list[str] = []
    rest: list[str] = []
    for ratio_of, more, less, same in sizes:
        ratio = _finite_in(task, figures, ratio_of)
        if ratio is not None and ratio > 0:
            text = form.change(ratio, more, less, same)
            (rest if text == same else changes).append(text)
    if not changes and not rest:
        return ""
    drop = _finite_in(task, figures, ACCURACY_DROP)
    if drop is not None:
        rest.append(_accuracy(drop))
    cosine = _finite_in(task, figures, COSINE)
    if drop is None and cosine is not None:
        rest.append(f"at a cosine of {form.cosine(cosine)} to it")
    before = before or origin(report, task)
    than = _name(before) if before else "its original"
    if not changes:
        return f"compared to {than}, {name} is {_listed(rest)}"
    start = f"{name} is {' and '.join(changes)} than {than}"
    return f"{start}, {_listed(['', *rest]).removeprefix(', ')}" if rest else start


def _listed(phrases: list[str]) -> str:
    *most, last = phrases
    return f"{', '.join(most)}, and {last}" if most else last


def _accuracy(drop: float) -> str:
    lost = round(drop * 100, 1)
    if lost == 0:
        return "just as accurate"
    size = f"{abs(lost):.1f} point{'' if abs(lost) == 1 else 's'}"
    return f"{size} {'less' if lost > 0 else 'more'} accurate"


def _score(task: TaskReport, accuracy: str) -> str:
    text = f"{form.percent(task.metrics['test/accuracy'])} {accuracy}"
    parameters = _finite(task, "size/parameters")
    return f"{text} with {form.count(parameters)} parameters" if parameters else text


def _against(tasks: int) -> str:
    return f", the best of {tasks}" if tasks > 1 else ""


def _culprits(report: Report) -> list[TaskReport]:
    """The tasks that ended the run otherwise than well, the one that ended first at the head."""
    guilty = [task for task in report.tasks if task.status in ("failed", "timed_out")]
    if report.ended_s is not None and report.status != "cancelled":
        guilty += [task for task in report.tasks if task.status == "lost"]
    return sorted(guilty, key=lambda task: task.ended_s or math.inf)


def _why(task: TaskReport) -> str:
    tried = f" after {len(task.attempts)} attempts" if len(task.attempts) > 1 else ""
    word = _how(task)
    cause = failure(task.error).summary if task.error else ""
    return f"{word}{tried}: {one_line(cause, MESSAGE_LIMIT)}" if cause else f"{word}{tried}"


def _how(task: TaskReport) -> str:
    return {"timed_out": "ran out of time", "lost": "was lost"}.get(task.status, "failed")


def _beside(report: Report, others: list[TaskReport]) -> str:
    """What else went wrong, in parentheses: other tasks themselves, and those skipped for it."""
    parts = []
    if len(others) == 1:
        parts.append(f"{_name(others[0].name)} {_how(others[0])} too")
    elif others:
        words = {_how(task) for task in others}
        how = words.pop() if len(words) == 1 else "went wrong"
        parts.append(f"{len(others)} other tasks {how.replace('was', 'were')} too")
    skipped = [task for task in report.tasks if task.status == "skipped"]
    if skipped:
        one = len(skipped) == 1
        what = f"{_name(skipped[0].name)} was" if one else f"{len(skipped)} tasks were"
        parts.append(f"{what} skipped")
    return f" ({'; '.join(parts)})" if parts else ""


def _done(report: Report) -> str:
    finished = sum(task.status == "finished" for task in report.tasks)
    total = len(report.tasks)
    return f"{finished} of {total} task{'' if total == 1 else 's'} finished"


def _finite(task: TaskReport, name: str) -> float | None:
    return _finite_in(task, task.metrics, name)


def _finite_in(task: TaskReport, figures: Mapping[str, float], name: str) -> float | None:
    value = figures.get(name, math.nan)
    return value if task.status == "finished" and math.isfinite(value) else None


def _name(name: str) -> str:
    return one_line(name, NAME_LIMIT)
