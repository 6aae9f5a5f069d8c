"""The report as one self-contained page: no network, no script; all that is shown is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib import resources
from urllib.parse import quote

from runner.report import chain, figures
from runner.report import format as form
from runner.report.appendix import definitions, surroundings
from runner.report.comparison import Column, compare
from runner.report.failure import Failure, failures
from runner.report.headline import headline
from runner.report.particulars import figures_beside, particulars, path_in_run
from runner.report.roofline import rooflines
from runner.report.spec import spec_text
from runner.report.summary import Report, TaskReport
from runner.report.text import one_line, printable
from runner.report.timeline import timeline
from runner.report.trade_off import trade_offs

# The page asks a browser to load nothing at all, whatever may have slipped into it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
HEADING_LIMIT = 48


def to_html(report: Report) -> str:
    """The text of ``report.html``, to be written as UTF-8."""
    style = resources.files("runner.report").joinpath("style.css").read_text(encoding="utf-8")
    body = "\n".join(
        part
        for part in (
            _header(report),
            *(_failure(report, task, wrong) for task, wrong in failures(report)),
            _chain(report),
            _comparison(report),
            _section("What was tried", trade_offs(report)),
            _section("Curves", _curves(report)),
            _section("Roofline", rooflines(report)),
            _section("Timeline", timeline(report)),
            _section("Tasks", "\n".join(_task(report, task) for task in report.tasks)),
            _section("How it was measured", _pairs(definitions(report))),
            _section("Environment", _pairs(surroundings(report))),
            _section("Spec", f"<pre>{_block(spec_text(report))}</pre>"),
            _footer(report),
        )
        if part
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{_line(report.job)}: {_line(headline(report))}</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _header(report: Report) -> str:
    took = form.at_work(report.duration_s, len(report.pauses))
    when = f"{form.moment(report.started_s)} · {took}"
    facts = [when, str(report.cluster.get("source") or "")]
    shown = " ".join(f"<span>{_line(fact)}</span>" for fact in facts if fact)
    return (
        f'<header>\n<p class="job"><strong>{_line(report.job)}</strong> {_status(report.status)} '
        f"{shown}</p>\n<h1>{_line(headline(report))}.</h1>\n"
        f'<pre class="command">{_block(report.command)}</pre>\n</header>'
    )


def _chain(report: Report) -> str:
    found = chain.links(report)
    return _section(chain.title(found), chain.to_html(found)) if found else ""


def _comparison(report: Report) -> str:
    comparison = compare(report)
    if not comparison.columns:
        return ""
    head = "".join(_heading(column) for column in comparison.columns)
    rows = "".join(
        f'<tr><th scope="row">{_line(label)}</th>'
        + "".join(
            f'<td class="{column.role}">{_line(column.cells[index])}</td>'
            for column in comparison.columns
        )
        + "</tr>\n"
        for index, label in enumerate(comparison.labels)
    )
    caption = f'<p class="caption">{comparison.caption}</p>' if comparison.caption else ""
    return _section(
        comparison.title,
        f'<div class="scroll"><table class="comparison">\n<thead><tr><td></td>{head}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody>\n</table></div>{caption}",
    )


def _heading(column: Column) -> str:
    note = f" <small>{_line(column.note)}</small>" if column.note else ""
    heading = _line(one_line(column.heading, HEADING_LIMIT))
    return f'<th scope="col" class="{column.role}">{heading}{note}</th>'


def _curves(report: Report) -> str:
    parts = []
    for number, task in enumerate(report.tasks):
        drawn = figures.panels(task.series)
        if not drawn:
            continue
        pictures = "".join(
            f"<figure><figcaption>{panel.title} {figures.legend(panel)}</figcaption>"
            + figures.curve(
                panel,
                name=f"curve-{number}-{index}",
                title=f"{panel.title} of {task.name} over its steps",
            )
            + "</figure>\n"
            for index, panel in enumerate(drawn)
        )
        parts.append(f'<h3>{_line(task.name)}</h3>\n<div class="panels">\n{pictures}</div>')
    return "\n".join(parts)


def _task(report: Report, task: TaskReport) -> str:
    took = f"<span>{form.duration(task.duration_s)}</span>" if task.attempts else ""
    parts = [
        f"<h3>{_line(task.name)} <small>{_line(task.kind)}</small> {_status(task.status)} "
        f"{took}</h3>",
        _pairs(particulars(task)),
    ]
    beside = figures_beside(report, task)
    if beside:
        figures_shown = "".join(
            f"<div><dt>{_line(name)}</dt><dd>{_line(value)}</dd></div>" for name, value in beside
        )
        parts.append(f'<dl class="figures">{figures_shown}</dl>')
    if task.artifacts:
        rows = "".join(
            f"<tr><td>{_line(name)}</td><td>{form.size(made.get('bytes'))}</td>"
            f"<td><code>{_line(str(made.get('sha256') or '')[:12])}</code></td><td><code>"
            f"{_line(path_in_run(str(made.get('path') or ''), report.run))}</code></td></tr>"
            for name, made in task.artifacts.items()
        )
        parts.append(
            '<div class="scroll"><table class="artifacts"><thead><tr><th>artifact</th>'
            f"<th>size</th><th>sha256</th><th>path</th></tr></thead><tbody>{rows}</tbody>"
            "</table></div>"
        )
    return f"<article>\n{chr(10).join(part for part in parts if part)}\n</article>"


def _failure(report: Report, task: TaskReport, wrong: Failure) -> str:
    lines = [*wrong.details, *wrong.frames]
    parts = [f"<h2>{_line(task.name)}: {_line(wrong.summary)}</h2>"]
    if wrong.hint:
        parts.append(f"<p>{_line(wrong.hint)}</p>")
    if lines:
        parts.append(f"<pre>{_block(chr(10).join(lines))}</pre>")
    if wrong.log:
        parts.append(f'<p class="log">Log: {_log(report, task, wrong.log)}</p>')
    return f'<section class="failure">{"".join(parts)}</section>'


def _log(report: Report, task: TaskReport, path: str) -> str:
    """Where the log lies: a link from the page, which lies in the run's folder, if it does too."""
    inside = path_in_run(path, report.run)
    if not inside.startswith(f"{task.name}/"):
        return f"<code>{_line(path)}</code>"
    return f'<a href="./{quote(inside)}"><code>{_line(inside)}</code></a>'


def _footer(report: Report) -> str:
    where = f" in {_line(report.storage)}" if report.storage else ""
    return f"<footer><p>Run <code>{_line(report.run)}</code>{where}</p></footer>"


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>" if content else ""


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{_line(term)}</dt><dd>{_line(text)}</dd>\n" for term, text in pairs)
    return f"<dl>\n{rows}</dl>" if rows else ""


def _status(status: str) -> str:
    return f'<span class="status {escape(status)}">{escape(status.replace("_", " "))}</span>'


def _line(text: str) -> str:
    """Text on one line, escaped for an element or a quoted attribute."""
    return escape(one_line(text), quote=True)


def _block(text: str) -> str:
    """Text with its lines, escaped."""
    return escape(printable(text), quote=True).strip("\n")
