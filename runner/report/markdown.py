"""The report as GitHub-flavoured Markdown: the same sentence, table, tasks and spec as the page."""

from __future__ import annotations

import re
from collections.abc import Iterable

from runner.report import chain, pareto
from runner.report import format as form
from runner.report.appendix import definitions, surroundings
from runner.report.comparison import compare
from runner.report.failure import Failure, failures
from runner.report.headline import headline
from runner.report.particulars import figures_beside, particulars
from runner.report.spec import spec_text
from runner.report.summary import Report, TaskReport
from runner.report.text import one_line, printable

SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$])")


def to_markdown(report: Report) -> str:
    """The text of ``report.md``. Everything that comes from outside is escaped or fenced."""
    blocks = [
        f"# {escaped(headline(report))}.",
        f"{escaped(report.job)} · {report.status.replace('_', ' ')} · "
        f"{form.moment(report.started_s)} · "
        f"{form.at_work(report.duration_s, len(report.pauses))} · "
        f"{escaped(report.run)}",
        fenced(report.command, "sh"),
        *_chain(report),
        *_comparison(report),
        *_tried(report),
        "## Tasks",
        _tasks(report),
        *(block for task, wrong in failures(report) for block in _failure(task, wrong)),
        *_artifacts(report),
        "## Environment",
        table(("", ""), surroundings(report)),
        "## How it was measured",
        "\n".join(f"* **{term}**: {escaped(text)}" for term, text in definitions(report)),
        "## Spec",
        fenced(spec_text(report), "yaml"),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def escaped(text: str) -> str:
    """``text`` on one line, with nothing in it that Markdown or GitHub would act upon."""
    line = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(r"\\\1", line).replace("@", "&#64;").replace("://", "&#58;//")


def fenced(text: str, language: str = "") -> str:
    """``text`` as a code block, whose fence is longer than any run of backticks inside."""
    text = printable(text).strip("\n")
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    heads = [escaped(each) for each in headings]
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    lines += [[escaped(cell) for cell in row] for row in rows]
    if len(lines) == 2:
        return ""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _chain(report: Report) -> list[str]:
    found = chain.links(report)
    if not found:
        return []
    heading = f"## {escaped(chain.title(found))}"
    return [heading, table(chain.headings(found), chain.rows(found)), escaped(chain.CAPTION)]


def _comparison(report: Report) -> list[str]:
    comparison = compare(report)
    if not comparison.columns:
        return []
    headings = [
        f"{each.heading} ({each.note})" if each.note else each.heading
        for each in comparison.columns
    ]
    rows = [
        (label, *(column.cells[index] for column in comparison.columns))
        for index, label in enumerate(comparison.labels)
    ]
    return [table(("", *headings), rows), escaped(comparison.caption)]


def _tried(report: Report) -> list[str]:
    blocks = []
    for task in report.tasks:
        found = pareto.points(report, task)
        if found:
            blocks += [f"## What {escaped(task.name)} tried"]
            blocks += [table(pareto.headings(found), pareto.rows(found))]
    return blocks


def _tasks(report: Report) -> str:
    lines = []
    for task in report.tasks:
        took = f", {form.duration(task.duration_s)}" if task.attempts else ""
        status = f"{task.kind}, {task.status.replace('_', ' ')}{took}"
        lines.append(f"* **{escaped(task.name)}** ({escaped(status)})")
        for label, text in (*particulars(task), *figures_beside(report, task)):
            lines.append(f"  * {escaped(label)}: {escaped(text)}")
    return "\n".join(lines)


def _failure(task: TaskReport, wrong: Failure) -> list[str]:
    lines = [wrong.summary, *wrong.details, *wrong.frames]
    after = [text for text in (wrong.hint, wrong.log and f"Log: {wrong.log}") if text]
    return [
        f"### {escaped(task.name)}: {escaped(wrong.summary)}",
        fenced("\n".join(lines)),
        *(escaped(text) for text in after),
    ]


def _artifacts(report: Report) -> list[str]:
    rows = [
        (task.name, name, form.size(made.get("bytes")), str(made.get("sha256") or "")[:12])
        for task in report.tasks
        for name, made in task.artifacts.items()
    ]
    return ["## Artifacts", table(("task", "artifact", "size", "sha256"), rows)] if rows else []
